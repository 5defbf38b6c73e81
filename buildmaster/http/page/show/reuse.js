// What only jobs of a .headrace.yaml have: where they stand in it, whose result stands for
// theirs and why, and who has to let them go.

import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { isBad } from "/page/show/states.js";

const SCOPES = {
  each: "each package",
  top: "packages that no other one needs",
  component: "packages that hang together",
  run: "the whole run",
};
const POLICIES = {
  never: "never: it always runs",
  inputs: "if all that it builds upon has the same keys",
  outputs: "also if what it builds upon made the same files",
};
const KEY = 12; // letters of a key that are shown

export const keyOf = (node) => node.key || node.inputs;

// Facts about where a job stands in its file: none for other jobs.
export function place(node) {
  if (!node) return [];
  return [
    ["Job of the file", parts.name(node.job)],
    ["Package", node.package ? parts.name(node.package) : ""],
    ["One for", SCOPES[node.scope] || node.scope],
    ["Covers", node.covers.length > 1 ? parts.name(node.covers.join(", ")) : ""],
    [
      "Changed packages",
      node.changed && node.changed.length ? parts.name(node.changed.join(", ")) : "",
    ],
    ["Reuse", POLICIES[node.reuse] || node.reuse],
    ["Content key", h("code", { title: keyOf(node) }, keyOf(node).slice(0, KEY))],
  ];
}

const attempt = (id, number) => [
  parts.jobLink(id, `job ${id}`),
  number > 1 ? `, attempt ${number}` : "",
];

// Sentences on why it did not run, or does not yet; none where there is nothing to say.
export function reuse(job) {
  const { node } = job;
  if (!node) return [];
  return [
    reused(job, node),
    skipped(job),
    verified(job, node),
    gate(job, node),
    node.allow_failure && isBad(job.result)
      ? h("p", {}, "Its failure is allowed: it counts as a pass for the run.")
      : null,
  ].filter(Boolean);
}

function reused(job, node) {
  if (job.result !== "reused" || !node.reused_from) return null;
  return h(
    "p",
    {},
    h("strong", {}, "Reused. "),
    "It did not run: ",
    attempt(node.reused_from, node.reused_attempt),
    " passed with the same content key ",
    h("code", { title: keyOf(node) }, keyOf(node).slice(0, KEY)),
    ", and its result and its files stand for this job's.",
  );
}

function skipped(job) {
  if (job.result !== "skipped") return null;
  const why = job.reason.startsWith("unchanged")
    ? "Skipped as unchanged: there is nothing in it that has not gone out as it is."
    : job.reason.startsWith("not_top")
      ? "Skipped: another package of the file needs this one, and has the job for both."
      : null;
  return why ? h("p", {}, h("strong", {}, why)) : null;
}

function verified(job, node) {
  if (!node.verifies) return null;
  const same =
    node.is_same === null
      ? "to see whether it makes the same files"
      : node.is_same
        ? "and made the same files"
        : h("strong", { class: "bad" }, "and made other files: it does not build the same");
  return h(
    "p",
    {},
    "It could have been reused from ",
    parts.jobLink(node.verifies, `job ${node.verifies}`),
    ", but ran all the same ",
    same,
    ".",
  );
}

function gate(job, node) {
  if (!node.gate || job.state === "done") return null;
  return h(
    "p",
    {},
    h(
      "strong",
      {},
      job.state === "parked" ? "Waits to be let go. " : "Will wait to be let go. ",
    ),
    parts.name(node.gate),
  );
}
