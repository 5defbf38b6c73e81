// The timeline: what each worker did, and when.

import { TimelineView } from "/page/draw/timeline.js";
import { changed, queryOf } from "/page/farm/address.js";
import { h, keep } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";

const HOURS = [
  ["0.25", "15 min"],
  ["1", "1 h"],
  ["6", "6 h"],
  ["24", "24 h"],
  ["168", "7 d"],
];

// The address of what happened within the last so many hours.
export function timelinePath(hours, worker = null) {
  const since = new Date(Date.now() - hours * 3600e3)
    .toISOString()
    .replace(/\.[0-9]+Z$/, "Z");
  return `/api/v1/timeline${queryOf({ since, worker })}`;
}

export function create(at) {
  const view = new TimelineView();
  const hours = Number(at.query.hours) || 1;
  let drawn = null;
  return {
    asks: () => ({ timeline: timelinePath(hours, at.query.worker) }),
    follows: () => "/api/v1/events",
    title: () => "Timeline",
    close: () => view.close(),
    keys: { "+": ["zoom in", () => view.zoom(0.5)], "-": ["zoom out", () => view.zoom(2)] },
    draw({ timeline }) {
      if (timeline && timeline !== drawn) {
        drawn = timeline;
        view.show(timeline);
      }
      return [
        h(
          "div",
          { class: "title" },
          h("h1", {}, "Timeline"),
          h(
            "div",
            { class: "filters" },
            parts.choice("The last", HOURS, String(hours), (value) => {
              location.hash = changed(at, { hours: value });
            }),
            keep(view.tools),
          ),
        ),
        timeline && !timeline.bars.length
          ? h("p", { class: "empty" }, "No worker did anything in this time.")
          : null,
        timeline === undefined ? h("p", { class: "empty" }, "Reading …") : null,
        timeline && timeline.more
          ? h("p", { class: "quiet" }, "There was more than can be shown: the latest is.")
          : null,
        keep(view.root),
        keep(view.told),
        keep(view.table),
      ];
    },
  };
}
