// The whole farm at a glance: what waits, what runs, what failed and nobody has looked at.

import { queryOf } from "/page/farm/address.js";
import { cells } from "/page/show/cells.js";
import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { BAD, UNFINISHED, isRed, look } from "/page/show/states.js";
import { count, number } from "/page/show/words.js";

const RUNS = 60; // of which failures are gathered
const SHOWN = 12;
const GRID = `/api/v1/grid?limit=${RUNS}`;

export function create() {
  return {
    snapshot: "overview",
    optional: ["grid"],
    asks: () => ({ overview: "/api/v1/overview", grid: GRID }),
    follows: () => "/api/v1/overview",
    title: () => "Overview",
    draw: ({ overview, grid }) => [
      h("h1", { class: "unseen" }, "Overview"),
      overview
        ? numbers(overview)
        : h("p", { class: "empty" }, "Reading the state of the farm …"),
      h(
        "div",
        { class: "columns" },
        h(
          "div",
          { "data-key": "left" },
          overview && byArchitecture(overview),
          overview && byOwner(overview),
          overview && workers(overview),
        ),
        h("div", { "data-key": "right" }, grid && failures(grid), grid && newest(grid)),
      ),
    ],
  };
}

const sum = (rows) => rows.reduce((all, row) => all + row.jobs, 0);
const jobsAt = (query) => `#/jobs${queryOf(query)}`;

function numbers(told) {
  const inState = (state) => sum(told.jobs.filter((row) => row.state === state));
  const slots = told.workers
    .filter((row) => row.state === "connected")
    .reduce((all, row) => all + row.slots, 0);
  const oldest = told.oldest_ready;
  const open = (told.classifications || []).find((row) => !row.classification);
  return h(
    "div",
    { class: "numbers" },
    figure(
      "running",
      number(inState("running") + inState("assigned")),
      jobsAt({ state: "running,assigned" }),
      "busy",
    ),
    figure("ready", number(inState("ready")), jobsAt({ state: "ready" })),
    figure("waiting for others", number(inState("waiting")), jobsAt({ state: "waiting" })),
    inState("parked")
      ? figure("parked", number(inState("parked")), jobsAt({ state: "parked" }))
      : null,
    figure("slots in use", `${number(told.running)} of ${number(slots)}`, "#/workers"),
    figure(
      "longest in line",
      oldest && oldest.ready_at ? parts.took(oldest.ready_at, null) : "nobody",
      oldest ? `#/jobs/${oldest.job}` : "#/queue",
    ),
    open
      ? figure(
          "failed in 7 days, cause open",
          number(open.jobs),
          jobsAt({ result: BAD.join(","), classification: "none" }),
          open.jobs ? "bad" : "good",
        )
      : null,
    ...workflows(told.workflows),
    told.held
      ? figure(told.held === 1 ? "hold" : "holds", number(told.held), "#/queue", "busy")
      : null,
  );
}

function workflows(told) {
  if (!told) return [];
  const many = (count) => (count >= 10_000 ? `${number(count)}+` : number(count));
  return [
    told.open > told.parked
      ? figure(
          "workflows under way",
          many(told.open - told.parked),
          `#/workflows${queryOf({ state: "open" })}`,
        )
      : null,
    told.parked
      ? figure(
          told.parked === 1 ? "workflow parked" : "workflows parked",
          many(told.parked),
          `#/workflows${queryOf({ state: "parked" })}`,
          "bad",
        )
      : null,
  ];
}

function figure(word, value, address, tone = "") {
  return h(
    "a",
    { class: `figure ${tone}`, href: address, "data-key": `figure ${word}` },
    h("strong", {}, value),
    h("span", {}, word),
  );
}

function byArchitecture(told) {
  const names = [...new Set(told.jobs.map((row) => row.architecture))].sort();
  const states = UNFINISHED.filter((state) => told.jobs.some((row) => row.state === state));
  const results = ["success", ...BAD, "unrun", "cancelled"].filter((result) =>
    told.jobs.some((row) => row.result === result),
  );
  const cell = (architecture, state, result) => {
    const jobs = sum(
      told.jobs.filter(
        (row) =>
          row.architecture === architecture &&
          row.state === state &&
          (!result || row.result === result),
      ),
    );
    if (!jobs) return h("span", { class: "quiet" }, "·");
    const query = { architecture, ...(result ? { result } : { state }) };
    return h(
      "a",
      { href: jobsAt(query), class: result ? look("done", result).tone : "" },
      number(jobs),
    );
  };
  const head = (state, result) => {
    const found = look(state, result);
    return h("span", {}, parts.sign(found.sign, found.tone), " ", found.word);
  };
  return parts.section(
    "Jobs by architecture",
    parts.table(
      "Jobs by architecture",
      [
        [parts.unseen("Architecture"), ""],
        ...states.map((state) => [head(state), "number"]),
        ...results.map((result) => [head("done", result), "number"]),
      ],
      names.map((name) => ({
        key: `architecture ${name}`,
        cells: [
          name || "any",
          ...states.map((state) => cell(name, state)),
          ...results.map((result) => cell(name, "done", result)),
        ],
      })),
      "No job was ever asked for.",
    ),
  );
}

function byOwner(told) {
  const owners = new Map();
  for (const row of told.owners || []) {
    if (!owners.has(row.owner)) owners.set(row.owner, {});
    owners.get(row.owner)[row.state] = (owners.get(row.owner)[row.state] || 0) + row.jobs;
  }
  const states = UNFINISHED.filter((state) =>
    (told.owners || []).some((row) => row.state === state),
  );
  const rows = [...owners]
    .map(([owner, jobs]) => ({
      owner,
      jobs,
      all: states.reduce((all, state) => all + (jobs[state] || 0), 0),
    }))
    .filter((row) => row.all)
    .sort((one, other) => other.all - one.all);
  if (!rows.length) return null;
  return parts.section(
    "Unfinished jobs by owner",
    parts.table(
      "Unfinished jobs by owner",
      [["Owner", ""], ...states.map((state) => [state, "number"])],
      rows.slice(0, SHOWN).map((row) => ({
        key: `owner ${row.owner}`,
        cells: [
          h("a", { href: jobsAt({ owner: row.owner }) }, parts.name(row.owner)),
          ...states.map((state) =>
            row.jobs[state] ? number(row.jobs[state]) : h("span", { class: "quiet" }, "·"),
          ),
        ],
      })),
      "",
    ),
    rows.length > SHOWN
      ? h("p", { class: "quiet" }, `and ${count(rows.length - SHOWN, "other owner")}`)
      : null,
  );
}

function workers(told) {
  return parts.section(
    "Workers",
    parts.table(
      "Workers by state",
      [
        ["State", ""],
        ["Duty", ""],
        ["Workers", "number"],
        ["Slots", "number"],
        ["In quarantine", "number"],
      ],
      told.workers.map((row) => ({
        key: `workers ${row.state} ${row.duty}`,
        cells: [
          parts.badge(row.state, null),
          parts.duty(row.duty),
          h(
            "a",
            { href: `#/workers${queryOf({ state: row.state, duty: row.duty })}` },
            number(row.workers),
          ),
          number(row.slots),
          row.quarantined
            ? h("span", { class: "bad" }, number(row.quarantined))
            : h("span", { class: "quiet" }, "·"),
        ],
      })),
      "No worker has ever connected.",
    ),
  );
}

function newest(grid) {
  return parts.section(
    "Newest runs",
    h(
      "ol",
      { class: "runs" },
      grid.rows
        .slice(0, SHOWN)
        .map((run) =>
          h(
            "li",
            { "data-key": `run ${run.run}`, "data-row": true },
            h(
              "span",
              { class: "what" },
              parts.link("runs", run.run, `#${run.run}`),
              " ",
              parts.project(run.repository) || parts.name(run.name || ""),
              " ",
              parts.revision(run),
            ),
            h(
              "span",
              { class: "quiet who" },
              parts.name(run.requester),
              " ",
              parts.when(run.created_at),
            ),
            cells(run, grid.columns),
          ),
        ),
    ),
    grid.rows.length
      ? null
      : h("p", { class: "empty" }, "Nothing was asked of this farm yet."),
  );
}

function failures(grid) {
  const found = grid.rows
    .flatMap((run) =>
      run.cells
        .filter((cell) => isRed(cell[3], cell[6]))
        .map((cell) => ({ run, cell, column: grid.columns[cell[0]] })),
    )
    .sort((one, other) => (other.cell[5] || 0) - (one.cell[5] || 0));
  const title = "Failed, and nobody has said why";
  if (!found.length) {
    return grid.rows.length
      ? parts.section(
          title,
          h(
            "p",
            { class: "empty good" },
            `None in the newest ${count(grid.rows.length, "run")}.`,
          ),
        )
      : null;
  }
  return parts.section(
    title,
    h(
      "ul",
      { class: "failures" },
      found
        .slice(0, 8)
        .map(({ run, cell, column }) =>
          h(
            "li",
            { "data-key": `failure ${cell[1]}`, "data-row": true },
            h(
              "span",
              { class: "what" },
              parts.badge(cell[2], cell[3]),
              " ",
              parts.link(
                "jobs",
                cell[1],
                h("bdi", {}, column.name),
                column.architecture ? ` on ${column.architecture}` : "",
              ),
            ),
            h(
              "span",
              { class: "quiet who" },
              parts.project(run.repository),
              " ",
              cell[5] ? parts.when(new Date(cell[5] / 1000).toISOString()) : null,
            ),
          ),
        ),
    ),
    found.length > 8
      ? h(
          "p",
          {},
          h("a", { href: "#/grid?only=red" }, `All ${number(found.length)} in the grid`),
        )
      : null,
  );
}
