// History: attempts that ended, and how the time that they took has changed.

import { durations, trend } from "/page/draw/bars.js";
import { chosen, queryOf } from "/page/farm/address.js";
import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { span } from "/page/show/words.js";

const FILTERS = ["name", "repository", "architecture", "series", "kind", "owner"];

export function create(at) {
  const filters = chosen(at.query, ...FILTERS);
  return {
    asks: () => ({
      history: `/api/v1/history${queryOf({ ...filters, after: at.query.after, limit: 100 })}`,
    }),
    follows: () =>
      `/api/v1/jobs${queryOf(chosen(filters, "name", "repository", "architecture", "kind", "owner"))}`,
    title: () => "History",
    draw: ({ history }) => [
      h("h1", {}, "History"),
      parts.filters(FILTERS, at),
      history
        ? [
            h("div", { class: "charts" }, trend(history.trend), durations(history.entries)),
            history.trend.length ? days(history.trend) : null,
            entries(history.entries),
            parts.older(history, at),
          ]
        : h("p", { class: "empty" }, "Reading …"),
    ],
  };
}

function entries(list) {
  return parts.section(
    "Attempts",
    parts.table(
      "Attempts that ended",
      [
        ["Job", "narrow"],
        ["Result", "narrow"],
        ["Name", ""],
        ["For", "narrow"],
        ["Source", ""],
        ["Worker", "narrow"],
        ["Ended", "narrow"],
        ["Waited", "narrow number"],
        ["Ran", "narrow number"],
      ],
      list.map((each) => ({
        key: `attempt ${each.job} ${each.attempt}`,
        cells: [
          parts.jobLink(each.job),
          parts.badge("done", each.result, each.classification),
          parts.name(each.name),
          [each.architecture || "any", " ", each.series],
          parts.project(each.repository),
          each.worker ? parts.link("workers", each.worker) : null,
          parts.when(each.finished_at),
          span(each.waited),
          span(each.ran),
        ],
      })),
      "Nothing like that has ended yet.",
    ),
  );
}

function days(list) {
  return h(
    "details",
    { "data-key": "days" },
    h("summary", {}, "By day, as a table"),
    parts.table(
      "By day",
      [
        ["Day", ""],
        ["Jobs", "number"],
        ["Good", "number"],
        ["Bad", "number"],
        ["Median", "number"],
        ["95 of 100 below", "number"],
      ],
      list.map((day) => ({
        key: day.day,
        cells: [day.day, day.jobs, day.good, day.bad, span(day.p50), span(day.p95)],
      })),
      "",
    ),
  );
}
