// The list of jobs; one job is a page of its own.

import { changed, chosen, queryOf } from "/page/farm/address.js";
import { create as createBuild } from "/page/pages/build.js";
import { h } from "/page/show/dom.js";
import { jobTable } from "/page/show/jobs.js";
import * as parts from "/page/show/parts.js";
import { BAD } from "/page/show/states.js";

const STATES = [
  ["", "all"],
  ["running,assigned", "running"],
  ["ready", "ready"],
  ["waiting", "waiting"],
  ["parked", "parked"],
  ["done", "done"],
];
const RESULTS = [
  ["", "all"],
  ["success", "success"],
  [BAD.join(","), "failed"],
  ["unrun", "unrun"],
  ["cancelled", "cancelled"],
];
const KINDS = [
  ["", "builds and jobs"],
  ["build", "builds"],
  ["native", "native jobs"],
];
const CAUSES = [
  ["", "all"],
  ["none", "open"],
  ["known_issue", "known issue"],
  ["infrastructure", "infrastructure"],
  ["flaky", "flaky"],
];
const FILTERS = [
  "run",
  "classification",
  "state",
  "result",
  "kind",
  "name",
  "repository",
  "source_digest",
  "owner",
  "architecture",
  "worker",
];

export function create(at, page) {
  return at.id ? createBuild(at, page) : list(at);
}

function list(at) {
  const filters = chosen(at.query, ...FILTERS, "after");
  const go = (query) => {
    location.hash = changed(at, query);
  };
  const field = (label, name, more) =>
    parts.field(label, at.query[name] || "", (text) => go({ [name]: text }), more);
  // A choice that is none of the usual ones, for example from a link, is one more.
  const options = (usual, value) =>
    value && !usual.some(([each]) => each === value) ? [...usual, [value, value]] : usual;
  return {
    asks: () => ({ jobs: `/api/v1/jobs${queryOf({ limit: 100, ...filters })}` }),
    follows: () =>
      `/api/v1/jobs${queryOf(chosen(filters, "run", "kind", "name", "repository", "owner", "architecture"))}`,
    title: () => "Jobs",
    draw: ({ jobs }) => [
      h("h1", {}, at.query.run ? `Jobs of run ${at.query.run}` : "Jobs"),
      h(
        "div",
        { class: "filters", role: "search" },
        parts.choice("Kind", options(KINDS, at.query.kind), at.query.kind, (kind) =>
          go({ kind }),
        ),
        parts.choice("State", options(STATES, at.query.state), at.query.state, (state) =>
          go({ state }),
        ),
        parts.choice(
          "Result",
          options(RESULTS, at.query.result),
          at.query.result,
          (result) => go({ result }),
        ),
        parts.choice(
          "Cause",
          options(CAUSES, at.query.classification),
          at.query.classification,
          (classification) => go({ classification }),
        ),
        field("Name", "name", { "data-search": true }),
        field("Architecture", "architecture"),
        field("Owner", "owner"),
        field("Repository", "repository"),
        field("Worker", "worker"),
      ),
      jobs
        ? jobTable(jobs.jobs, "No job is like that.")
        : h("p", { class: "empty" }, "Reading …"),
      jobs ? parts.older(jobs, at) : null,
    ],
  };
}
