// Runs and their jobs as rows and columns, from pages of the grid and from events. Pure.

import { isRed } from "/page/show/states.js";

const micros = (moment) => Date.parse(moment) * 1000;
const nameOf = (column) =>
  JSON.stringify([
    column.name,
    column.index ?? 0,
    column.cell || "",
    column.architecture,
    column.series,
    column.part || 0,
    column.kind,
  ]);

export class GridModel {
  columns = []; // in the order in which they were met; `order` says where they stand
  rows = new Map(); // run -> row
  order = [];
  shown = []; // rows as they stand
  cellCount = 0;
  #places = new Map(); // name of a column -> its number
  #jobs = new Map(); // job -> [{row, column}]

  // Take a page of the API in; rows that are known are replaced.
  add(page) {
    const numbers = page.columns.map((column) => this.#column(column));
    for (const told of page.rows) {
      const before = this.rows.get(told.run);
      if (before) this.cellCount -= before.cells.size;
      const row = { ...told, cells: new Map() };
      for (const cell of told.cells) {
        const column = numbers[cell[0]];
        row.cells.set(column, cell);
        const known = this.#jobs.get(cell[1]);
        const place = { run: told.run, column };
        if (!known) this.#jobs.set(cell[1], [place]);
        else if (!known.some((each) => each.run === place.run && each.column === column))
          known.push(place);
      }
      row.red = redOf(row);
      this.cellCount += row.cells.size;
      this.rows.set(told.run, row);
    }
  }

  #column(column) {
    const name = nameOf(column);
    let number = this.#places.get(name);
    if (number === undefined) {
      number = this.columns.length;
      this.columns.push(column);
      this.#places.set(name, number);
      this.order = this.columns
        .map((_, place) => place)
        .sort((one, other) =>
          nameOf(this.columns[one]).localeCompare(nameOf(this.columns[other]), "en", {
            numeric: true,
          }),
        );
    }
    return number;
  }

  // Put the rows in order: those with failures of an open cause first, or the newest first.
  arrange({ redFirst, only }) {
    const found = [...this.rows.values()].filter((row) =>
      only === "red" ? row.red > 0 : only === "unfinished" ? row.state !== "done" : true,
    );
    found.sort(
      (one, other) =>
        (redFirst ? (other.red > 0) - (one.red > 0) : 0) || other.run - one.run,
    );
    this.shown = found;
  }

  // What an event changes: {cells: [{run, column}], rows: [run]} are others now; of the
  // runs in `ask` only the farm knows what became of them; `isNew` tells of others.
  happened({ kind, run, job, payload, at }) {
    const found = { cells: [], rows: [], ask: [], isNew: false };
    if (kind === "run.created") found.isNew = true;
    if (run !== null && job === null && this.rows.has(run)) {
      const row = this.rows.get(run);
      if (kind === "run.done") {
        row.state = "done";
        row.result = payload.result ?? null;
        row.finished_at = at;
      } else if (kind === "run.reopened") {
        row.state = "sealed";
        row.result = null;
      }
      found.rows.push(run);
    }
    if (job === null || !/^(job|pipeline-job)\./.test(kind)) return found;
    const places = this.#jobs.get(job);
    if (!places) {
      found.isNew = !kind.startsWith("pipeline-job.");
      return found;
    }
    const isPart = ({ run: one, column }) =>
      this.rows.get(one).cells.get(column)[8] !== null;
    if (places.some(isPart) || kind === "job.retried") {
      found.ask.push(...new Set(places.map((each) => each.run)));
    } else if (kind.startsWith("job.") && (payload.state || kind === "job.classified")) {
      for (const place of places) {
        const row = this.rows.get(place.run);
        row.cells.set(
          place.column,
          changed(row.cells.get(place.column), kind, payload, at),
        );
        row.red = redOf(row);
      }
      found.cells.push(...places);
    }
    return found;
  }
}

function changed(cell, kind, payload, at) {
  const next = [...cell];
  if (kind === "job.classified") {
    next[6] = payload.classification ?? null;
    return next;
  }
  next[2] = payload.state;
  next[3] = payload.state === "done" ? (payload.result ?? null) : null;
  if (payload.attempt) next[7] = payload.attempt;
  if (payload.state === "running") {
    next[4] = micros(at);
    next[5] = null;
  }
  if (payload.state === "done") next[5] = micros(at);
  if (payload.state !== "done") next[6] = null;
  return next;
}

function redOf(row) {
  let red = 0;
  for (const cell of row.cells.values()) if (isRed(cell[3], cell[6])) red += 1;
  return red;
}
