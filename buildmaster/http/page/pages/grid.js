// The grid: runs as rows, jobs as columns, ten thousand cells and more at once.

import { changed, chosen, queryOf } from "/page/farm/address.js";
import { read } from "/page/farm/client.js";
import { GridModel } from "/page/draw/gridmodel.js";
import { GridView } from "/page/draw/grid.js";
import { h, keep } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { CLASSIFICATIONS, RESULTS, STATES } from "/page/show/states.js";
import { count } from "/page/show/words.js";

const FIRST = 100; // runs of the first page: soon there
const MORE = 1000;
const ENOUGH = 10_000; // cells that are read without being asked for
const NEWEST = 30; // runs that are asked for when something new came
const AT_ONCE = 20; // runs that are asked for by themselves
const SOON = 300; // ms in which news are gathered
const FILTERS = ["repository", "owner", "architecture", "kind", "cells"];

export function create(at, page) {
  const model = new GridModel();
  const view = new GridView(model);
  const filters = chosen(at.query, ...FILTERS);
  const path = (query) => `/api/v1/grid${queryOf({ ...filters, ...query })}`;
  const go = (query) => {
    location.hash = changed(at, query);
  };
  const arrangement = () => ({
    redFirst: at.query.order !== "newest",
    only: at.query.only || "",
  });
  const rest = { next: null, isReading: false, isStarted: false, isComplete: false };
  let wanted = ENOUGH;
  let timer = null;
  const stale = new Set(); // runs that the farm knows better
  let hasNew = false;

  function arrange() {
    model.arrange(arrangement());
    view.show();
  }

  // Read on until there is enough; the first page is drawn long before.
  async function readOn(first) {
    rest.isStarted = true;
    rest.isReading = true;
    let next = first.next;
    try {
      while (next !== null && model.cellCount < wanted) {
        const found = await read(path({ after: next, limit: MORE }), page.signal);
        model.add(found);
        next = found.next;
        arrange();
      }
    } finally {
      rest.next = next;
      rest.isReading = false;
    }
    rest.isComplete = true;
    view.root.dataset.complete = "true";
    page.draw();
  }

  // What came meanwhile, of which no event tells all: new runs, and some that are here.
  function renew(runs, isNew) {
    for (const run of runs) stale.add(run);
    hasNew ||= isNew;
    if (timer !== null || (!stale.size && !hasNew)) return;
    timer = setTimeout(async () => {
      timer = null;
      const asked = [...stale]
        .slice(0, AT_ONCE)
        .map((run) => ({ after: run + 1, limit: 1 }));
      if (hasNew) asked.push({ limit: NEWEST });
      stale.clear();
      hasNew = false;
      try {
        for (const query of asked) model.add(await read(path(query), page.signal));
        arrange();
        page.draw();
      } catch {
        /* the line will tell */
      }
    }, SOON);
  }

  return {
    asks: () => ({ grid: path({ limit: FIRST }) }),
    follows: () => `/api/v1/grid${queryOf(filters)}`,
    title: () => "Grid",
    close: () => {
      view.close();
      clearTimeout(timer);
    },
    keys: {
      j: ["a row down", () => view.step(1, 0)],
      k: ["a row up", () => view.step(-1, 0)],
      r: [
        "failures first, or newest first",
        () => go({ order: at.query.order === "newest" ? null : "newest" }),
      ],
    },
    happened(events) {
      for (const event of events) {
        const found = model.happened(event);
        for (const cell of found.cells) {
          view.update(cell.run, cell.column);
          view.update(cell.run);
        }
        for (const run of found.rows) view.update(run);
        renew(found.ask, found.isNew);
      }
      return true;
    },
    draw({ grid }) {
      if (grid && !rest.isStarted) {
        model.add(grid);
        arrange();
        readOn(grid).catch((error) => {
          if (error.name !== "AbortError") page.again();
        });
      }
      return [
        h(
          "div",
          { class: "title" },
          h("h1", {}, "Grid"),
          h(
            "p",
            { class: "quiet", id: "grid-count" },
            grid
              ? `${count(model.cellCount, "job")} of ${count(model.rows.size, "run")}${rest.isComplete ? "" : " so far"}`
              : "Reading …",
          ),
        ),
        h(
          "div",
          { class: "filters", role: "search" },
          parts.choice(
            "First",
            [
              ["", "open failures"],
              ["newest", "newest"],
            ],
            at.query.order,
            (order) => go({ order }),
          ),
          parts.choice(
            "Only",
            [
              ["", "all"],
              ["red", "open failures"],
              ["unfinished", "unfinished"],
            ],
            at.query.only,
            (only) => go({ only }),
          ),
          parts.choice(
            "Cells",
            [
              ["", "jobs"],
              ["pipeline_jobs", "pipeline jobs"],
            ],
            at.query.cells,
            (cells) => go({ cells }),
          ),
          parts.field(
            "Repository",
            at.query.repository || "",
            (repository) => go({ repository }),
            { "data-search": true },
          ),
          parts.field("Architecture", at.query.architecture || "", (architecture) =>
            go({ architecture }),
          ),
          parts.field("Owner", at.query.owner || "", (owner) => go({ owner })),
          parts.field("Kind", at.query.kind || "", (kind) => go({ kind })),
        ),
        grid && !model.shown.length
          ? h("p", { class: "empty" }, "No run is like that.")
          : null,
        keep(view.root),
        keep(view.told),
        rest.next !== null && !rest.isReading
          ? parts.button(
              "Read older ones",
              () => {
                wanted = model.cellCount + ENOUGH;
                readOn({ next: rest.next });
              },
              { class: "plain", id: "older" },
            )
          : null,
        legend(),
      ];
    },
  };
}

function legend() {
  const one = (word, [sign, tone]) =>
    h("li", {}, h("span", { class: `cell ${tone}`, "aria-hidden": "true" }, sign), word);
  return h(
    "details",
    { class: "legend" },
    h("summary", {}, "Signs"),
    h(
      "ul",
      {},
      Object.entries(RESULTS).map(([word, look]) => one(word, look)),
      ["waiting", "ready", "assigned", "running", "parked"].map((word) =>
        one(word, STATES[word]),
      ),
      h(
        "li",
        {},
        h("span", { class: "cell bad red", "aria-hidden": "true" }, "✗"),
        "failed, cause open",
      ),
      h(
        "li",
        {},
        h("span", { class: "cell bad known", "aria-hidden": "true" }, "✗"),
        `a cause is known: ${Object.values(CLASSIFICATIONS)
          .map(([, word]) => word)
          .join(", ")}`,
      ),
    ),
  );
}
