// Who did what: every act that somebody asked this farm for, for admins.

import { chosen, queryOf } from "/page/farm/address.js";
import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";

const FILTERS = ["who", "act", "job", "run", "since"];

export function create(at) {
  const filters = chosen(at.query, ...FILTERS);
  return {
    asks: () => ({
      page: `/api/v1/audit${queryOf({ ...filters, after: at.query.after })}`,
    }),
    follows: () => null,
    title: () => "Audit",
    draw: ({ page }) => [
      h("h1", {}, "Audit"),
      parts.filters(FILTERS, at),
      page ? table(page.audit) : h("p", { class: "empty" }, "Reading …"),
      page ? parts.older(page, at) : null,
    ],
  };
}

function table(acts) {
  return parts.table(
    "Acts",
    [
      ["When", "narrow"],
      ["Who", ""],
      ["Did", "narrow"],
      ["To", ""],
      ["Outcome", "narrow"],
      ["From", "narrow"],
      ["More", ""],
    ],
    acts.map((act) => ({
      key: `act ${act.id}`,
      cells: [
        parts.when(act.at),
        parts.name(act.who),
        act.act,
        [
          act.job ? parts.jobLink(act.job, `job ${act.job}`) : null,
          act.run ? parts.link("runs", act.run, ` run ${act.run}`) : null,
          act.worker ? [" ", parts.link("workers", act.worker)] : null,
        ],
        act.outcome === "done"
          ? parts.sign("✓", "good")
          : h("span", { class: "bad" }, act.outcome || "not known"),
        h("span", { class: "quiet" }, act.address),
        h(
          "span",
          { class: "quiet" },
          parts.name(
            Object.entries(act.facts || {})
              .map(
                ([name, value]) =>
                  `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`,
              )
              .join(", "),
          ),
        ),
      ],
    })),
    "Nobody did anything like that.",
  );
}
