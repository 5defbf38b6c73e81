// Workers, and one of them: what it can, what it does and did, and what an operator
// decides.

import * as acts from "/page/farm/acts.js";
import { changed, chosen, part, queryOf } from "/page/farm/address.js";
import { may } from "/page/farm/me.js";
import { TimelineView } from "/page/draw/timeline.js";
import { timelinePath } from "/page/pages/timeline.js";
import { h, keep } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { number, span } from "/page/show/words.js";

const STATES = [
  ["", "all"],
  ["connected", "connected"],
  ["unreachable", "unreachable"],
  ["offline", "offline"],
];
const DUTIES = [
  ["", "all"],
  ["active", "active"],
  ["paused", "paused"],
  ["draining", "draining"],
  ["retired", "retired"],
];

export function create(at, page) {
  return at.id ? one(at, page) : list(at, page);
}

function list(at, page) {
  const filters = chosen(at.query, "state", "duty", "after");
  const go = (query) => {
    location.hash = changed(at, query);
  };
  return {
    asks: () => ({ workers: `/api/v1/workers${queryOf(filters)}` }),
    follows: () => `/api/v1/workers${queryOf(filters)}`,
    title: () => "Workers",
    draw: ({ workers }) => [
      h("h1", {}, "Workers"),
      h(
        "div",
        { class: "filters", role: "search" },
        parts.choice("State", STATES, at.query.state, (state) => go({ state })),
        parts.choice("Duty", DUTIES, at.query.duty, (duty) => go({ duty })),
      ),
      workers
        ? parts.table(
            "Workers",
            [
              ["Worker", ""],
              ["State", "narrow"],
              ["Duty", "narrow"],
              ["Busy", "narrow number"],
              ["Runs", ""],
              ["Offers", ""],
              ["Last heard", "narrow"],
              [parts.unseen("Acts"), "narrow"],
            ],
            workers.workers.map((worker) => row(worker, page)),
            "No worker is like that.",
          )
        : h("p", { class: "empty" }, "Reading …"),
      workers ? parts.older(workers, at) : null,
    ],
  };
}

function standing(worker) {
  return [
    parts.duty(worker.duty),
    worker.quarantined_at
      ? [
          " ",
          h(
            "span",
            { class: "badge bad", title: worker.quarantine_reason },
            parts.sign("⚠", "bad"),
            "quarantine",
          ),
        ]
      : null,
  ];
}

function row(worker, page) {
  return {
    key: `worker ${worker.name}`,
    tone: worker.quarantined_at ? "red" : "",
    cells: [
      parts.link("workers", worker.name),
      parts.badge(worker.state, null),
      standing(worker),
      `${worker.running.length} of ${worker.slots}`,
      worker.running.slice(0, 6).map((each) => [parts.jobLink(each.job), " "]),
      h("span", { class: "quiet" }, offers(worker)),
      parts.when(worker.last_heard_at),
      buttons(worker, page, "plain"),
    ],
  };
}

function offers(worker) {
  return [
    ...new Set(worker.offers.map((offer) => `${offer.architecture} ${offer.isolation}`)),
  ].join(", ");
}

function buttons(worker, page, kind) {
  if (!may("operate")) return null;
  const one = (text, duty) =>
    parts.button(
      text,
      async () => {
        if ((await acts.setDuty(worker.name, duty, worker.duty)) !== null) page.again();
      },
      { class: kind, "aria-label": `${text} ${worker.name}` },
    );
  return h(
    "span",
    { class: "buttons" },
    worker.quarantined_at
      ? one("Release", "active")
      : worker.duty !== "active"
        ? one("Resume", "active")
        : null,
    worker.duty === "active" ? [one("Drain", "draining"), one("Pause", "paused")] : null,
  );
}

function one(at, page) {
  const name = part(at.id);
  const view = new TimelineView();
  let drawn = null;
  return {
    asks: () => ({ worker: `/api/v1/workers/${name}`, timeline: timelinePath(6, at.id) }),
    optional: ["timeline"],
    follows: () => `/api/v1/workers/${name}`,
    title: () => `Worker ${at.id}`,
    close: () => view.close(),
    draw: ({ worker, timeline }) => {
      if (!worker)
        return [
          h("h1", {}, "Worker ", parts.name(at.id)),
          h("p", { class: "empty" }, "Reading …"),
        ];
      if (timeline && timeline !== drawn) {
        drawn = timeline;
        view.show(timeline);
      }
      return [
        h(
          "h1",
          {},
          "Worker ",
          parts.name(worker.name),
          " ",
          parts.badge(worker.state, null),
        ),
        h("div", { class: "actions" }, buttons(worker, page, "")),
        worker.quarantined_at
          ? h(
              "div",
              { class: "verdict bad" },
              h(
                "p",
                {},
                h("strong", {}, "In quarantine "),
                "since ",
                parts.when(worker.quarantined_at),
                ": ",
                parts.name(worker.quarantine_reason),
              ),
            )
          : null,
        worker.duty !== "active"
          ? h(
              "div",
              { class: "verdict busy" },
              h(
                "p",
                {},
                parts.duty(worker.duty),
                " ",
                parts.name(worker.duty_reason),
                h(
                  "span",
                  { class: "quiet" },
                  " by ",
                  parts.name(worker.duty_by),
                  worker.duty_until ? [", until ", parts.when(worker.duty_until)] : null,
                ),
              ),
            )
          : null,
        parts.facts([
          ["Slots", `${worker.running.length} of ${worker.slots} in use`],
          [
            "Busy in 24 h",
            worker.busy_24h === undefined
              ? ""
              : `${span(worker.busy_24h)} (${Math.round((100 * worker.busy_24h) / (86400 * Math.max(1, worker.slots)))} %)`,
          ],
          [
            "Results in 24 h",
            Object.entries(worker.results_24h || {}).map(([result, jobs]) => [
              parts.badge("done", result),
              ` ${number(jobs)} `,
            ]),
          ],
          [
            "Offers",
            h(
              "ul",
              { class: "plain" },
              worker.offers.map((offer) =>
                h(
                  "li",
                  {},
                  `${offer.architecture} ${offer.isolation}: `,
                  parts.name(
                    offer.series
                      .map((each) => (each === "*" ? "any series" : each))
                      .join(", "),
                  ),
                ),
              ),
            ),
          ],
          [
            "Tags",
            worker.tags.map((tag) => [h("span", { class: "chip" }, parts.name(tag)), " "]),
          ],
          ["Software", parts.name(worker.software)],
          ["Master", worker.master ? parts.name(worker.master) : ""],
          ["Connected", parts.when(worker.connected_at)],
          ["Last heard", parts.when(worker.last_heard_at)],
        ]),
        timeline
          ? parts.section(
              "The last six hours",
              keep(view.root),
              keep(view.told),
              keep(view.tools),
              keep(view.table),
            )
          : null,
        worker.attempts
          ? parts.section("Newest attempts", attempts(worker.attempts))
          : null,
        worker.faults && worker.faults.length
          ? parts.section("Faults of the last day", faults(worker.faults))
          : null,
        parts.section(
          "More",
          h(
            "p",
            {},
            h(
              "a",
              { href: `#/jobs${queryOf({ worker: worker.name })}` },
              "All jobs of this worker",
            ),
          ),
        ),
      ];
    },
  };
}

function attempts(list) {
  return parts.table(
    "Newest attempts",
    [
      ["Job", "narrow"],
      ["Result", "narrow"],
      ["Name", ""],
      ["For", "narrow"],
      ["Began", "narrow"],
      ["Took", "narrow number"],
    ],
    list.map((each) => ({
      key: `attempt ${each.job} ${each.attempt}`,
      cells: [
        parts.jobLink(each.job),
        each.result ? parts.badge("done", each.result) : parts.badge("running", null),
        parts.name(each.name),
        each.architecture || "any",
        parts.when(each.started_at),
        parts.took(each.started_at, each.finished_at),
      ],
    })),
    "It had no job yet.",
  );
}

function faults(list) {
  return parts.table(
    "Faults",
    [
      ["When", "narrow"],
      ["Job", "narrow"],
      ["Reason", ""],
      [parts.unseen("Whose"), "narrow"],
    ],
    list.map((each) => ({
      key: `fault ${each.job} ${each.attempt}`,
      cells: [
        parts.when(each.at),
        parts.jobLink(each.job),
        parts.name(each.reason),
        each.is_forgiven ? h("span", { class: "quiet" }, "an outage's") : null,
      ],
    })),
    "",
  );
}
