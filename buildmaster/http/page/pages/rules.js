// Rules that classify failures by what their logs say.

import * as acts from "/page/farm/acts.js";
import { may } from "/page/farm/me.js";
import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { classWord } from "/page/show/states.js";
import { number } from "/page/show/words.js";

export function create(at, page) {
  return {
    asks: () => ({ rules: "/api/v1/rules" }),
    follows: () => "/api/v1/events",
    title: () => "Rules",
    draw: ({ rules }) => [
      h(
        "div",
        { class: "title" },
        h("h1", {}, "Rules for failures"),
        may("operate")
          ? parts.button(
              "Add a rule",
              async () => {
                if ((await acts.addRule()) !== null) page.again();
              },
              { id: "add-rule" },
            )
          : null,
      ),
      h(
        "p",
        { class: "quiet" },
        "A failure whose log has a line that a rule's pattern finds is classified by it.",
      ),
      rules
        ? parts.table(
            "Rules",
            [
              ["Rule", "narrow"],
              ["Pattern", ""],
              ["Is", "narrow"],
              ["Note", ""],
              ["Only", ""],
              ["By", ""],
              ["Since", "narrow"],
              ["Has found", "narrow number"],
              [parts.unseen("Acts"), "narrow"],
            ],
            rules.rules.map((rule) => ({
              key: `rule ${rule.id}`,
              cells: [
                rule.id,
                h("code", {}, parts.name(rule.pattern)),
                [parts.tag(rule.classification), " ", classWord(rule.classification)],
                [parts.name(rule.note), " ", rule.link ? parts.outside(rule.link) : null],
                [
                  rule.name ? ["jobs named ", parts.name(rule.name), " "] : null,
                  rule.project ? ["below ", parts.name(rule.project)] : null,
                ],
                parts.name(rule.by),
                parts.when(rule.created_at),
                rule.failures >= 1000 ? "1,000+" : number(rule.failures),
                may("operate")
                  ? parts.button(
                      "Remove",
                      async () => {
                        if ((await acts.removeRule(rule.id)) !== null) page.again();
                      },
                      { class: "plain", "aria-label": `Remove rule ${rule.id}` },
                    )
                  : null,
              ],
            })),
            "There is no rule yet.",
          )
        : h("p", { class: "empty" }, "Reading …"),
    ],
  };
}
