// The cells of one run in a row: a sign for each job, which leads to it.

import { h } from "/page/show/dom.js";
import { cellOf } from "/page/show/jobs.js";
import { classWord, isRed, look } from "/page/show/states.js";

const SHOWN = 60;

// What stands in a column, and for what.
export function columnWords(column) {
  const name =
    column.index === null || column.index === undefined
      ? column.name
      : `${column.name}:${column.index}`;
  const cell = cellOf(column);
  const more = [cell, column.part ? `part ${column.part}` : ""].filter(Boolean).join(", ");
  return more ? `${name} (${more})` : name;
}

// What a cell says in words.
export function cellWords(cell, column, run) {
  const found = look(cell[2], cell[3]);
  const where = [column.architecture, column.series].filter(Boolean).join(" ");
  const cause = cell[6]
    ? `, ${classWord(cell[6])}`
    : isRed(cell[3], cell[6])
      ? ", cause open"
      : "";
  return `${columnWords(column)}${where ? ` on ${where}` : ""} of run ${run}: ${found.word}${cause}`;
}

export function cells(run, columns) {
  const worst = (cell) => (isRed(cell[3], cell[6]) ? 0 : 1);
  const shown = [...run.cells]
    .sort((one, other) => worst(one) - worst(other))
    .slice(0, SHOWN);
  return h(
    "span",
    { class: "cells" },
    shown.map((cell) => {
      const found = look(cell[2], cell[3]);
      const told = cellWords(cell, columns[cell[0]], run.run);
      return h(
        "a",
        {
          class: `cell ${found.tone}${cell[6] ? " known" : ""}`,
          href: `#/jobs/${cell[1]}`,
          "aria-label": told,
          title: told,
          "data-key": `cell ${cell[1]} ${cell[8] ?? ""}`,
        },
        found.sign,
      );
    }),
    run.cells.length > SHOWN
      ? h("span", { class: "quiet" }, ` +${run.cells.length - SHOWN}`)
      : null,
  );
}
