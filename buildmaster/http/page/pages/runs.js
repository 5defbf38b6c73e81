// The list of runs, and one run: its facts, its jobs, and its graph.

import { changed, chosen, href, part, queryOf } from "/page/farm/address.js";
import { cancelRun } from "/page/farm/acts.js";
import { may } from "/page/farm/me.js";
import { GraphView } from "/page/draw/graph.js";
import { h, keep } from "/page/show/dom.js";
import { jobTable } from "/page/show/jobs.js";
import * as parts from "/page/show/parts.js";
import { BAD } from "/page/show/states.js";

const STATES = [
  ["", "all"],
  ["open,sealed", "unfinished"],
  ["done", "done"],
];
const RESULTS = [
  ["", "all"],
  ["success", "success"],
  [BAD.join(","), "failed"],
  ["cancelled", "cancelled"],
];

export function create(at, page) {
  return at.id ? one(at, page) : list(at);
}

function list(at) {
  const filters = chosen(
    at.query,
    "state",
    "result",
    "repository",
    "owner",
    "requester",
    "after",
  );
  const go = (query) => {
    location.hash = changed(at, query);
  };
  return {
    asks: () => ({ runs: `/api/v1/runs${queryOf({ limit: 100, ...filters })}` }),
    follows: () =>
      `/api/v1/runs${queryOf(chosen(filters, "repository", "owner", "requester"))}`,
    title: () => "Runs",
    draw: ({ runs }) => [
      h("h1", {}, "Runs"),
      h(
        "div",
        { class: "filters", role: "search" },
        parts.choice("State", STATES, at.query.state, (state) => go({ state })),
        parts.choice("Result", RESULTS, at.query.result, (result) => go({ result })),
        parts.field(
          "Repository",
          at.query.repository || "",
          (repository) => go({ repository }),
          { "data-search": true },
        ),
        parts.field("Owner", at.query.owner || "", (owner) => go({ owner })),
      ),
      runs ? table(runs) : h("p", { class: "empty" }, "Reading …"),
      runs ? parts.older(runs, at) : null,
    ],
  };
}

function table(page) {
  return parts.table(
    "Runs",
    [
      ["Run", "narrow"],
      ["State", "narrow"],
      ["Source", "source"],
      ["Jobs", ""],
      ["By", ""],
      ["Asked", "narrow"],
      ["Took", "narrow number"],
    ],
    page.runs.map((run) => ({
      key: `run ${run.id}`,
      cells: [
        parts.link("runs", run.id, `#${run.id}`),
        parts.badge(run.state, run.result),
        [
          parts.project(run.repository) || parts.name(run.name || ""),
          " ",
          parts.revision(run),
        ],
        h(
          "span",
          { class: "cells" },
          run.jobs.map((job) => dot(job)),
          run.job_count > run.jobs.length
            ? h("span", { class: "quiet" }, ` +${run.job_count - run.jobs.length}`)
            : null,
        ),
        parts.name(run.requester),
        parts.when(run.created_at),
        parts.took(run.created_at, run.finished_at),
      ],
    })),
    "No run is like that.",
  );
}

function dot(job) {
  const title = `${job.name}${job.architecture ? ` on ${job.architecture}` : ""} ${job.series}: ${job.result || job.state}`;
  const found = parts.look(job.state, job.result);
  return h(
    "a",
    {
      class: `cell ${found.tone}`,
      href: href("jobs", job.id),
      title,
      "aria-label": title,
      "data-key": `jobs/${job.id}`,
    },
    found.sign,
  );
}

function one(at, page) {
  const id = part(at.id);
  const view = new GraphView(`run ${at.id}`);
  const isGraph = at.rest[0] === "graph";
  return {
    optional: ["graph"],
    asks: () => ({ run: `/api/v1/runs/${id}`, graph: `/api/v1/runs/${id}/graph` }),
    follows: () => `/api/v1/runs/${id}`,
    title: () => `Run ${at.id}`,
    close: () => view.close(),
    keys: view.keys,
    draw: ({ run, graph }) => {
      if (!run)
        return [h("h1", {}, `Run ${at.id}`), h("p", { class: "empty" }, "Reading …")];
      if (graph) view.show(graph);
      return [
        h("h1", {}, `Run ${run.id} `, parts.badge(run.state, run.result)),
        actions(run, page),
        parts.facts([
          ["Name", run.name ? parts.name(run.name) : ""],
          ["Source", run.repository ? parts.name(run.repository) : ""],
          ["Revision", parts.revision(run)],
          ["Refs", run.refs.length ? parts.name(run.refs.join(", ")) : ""],
          ["Asked by", parts.name(run.requester)],
          ["Owner", parts.name(run.owner)],
          ["Asked", parts.when(run.created_at)],
          ["Took", parts.took(run.created_at, run.finished_at)],
          ["Jobs", run.job_count],
          ["Reused", ended(run, "reused")],
          ["Skipped", ended(run, "skipped")],
          ["To be let go", waiting(graph)],
        ]),
        graph && graph.nodes.length > 1
          ? parts.section(
              "Graph",
              keep(view.root),
              graph.more
                ? h(
                    "p",
                    { class: "quiet" },
                    "This run has more jobs than a drawing can show.",
                  )
                : null,
            )
          : null,
        isGraph ? null : parts.section("Jobs", jobTable(run.jobs, "This run has no jobs.")),
        run.job_count > run.jobs.length
          ? h(
              "p",
              {},
              h(
                "a",
                { href: `#/jobs${queryOf({ run: run.id })}` },
                `All ${run.job_count} jobs`,
              ),
            )
          : null,
        run.skipped.length
          ? parts.section(
              "Left out",
              parts.table(
                "Left out",
                [
                  ["For", "narrow"],
                  ["Jobs", ""],
                  ["Reason", ""],
                ],
                run.skipped.map((each, place) => ({
                  key: `skipped ${place}`,
                  cells: [
                    [each.architecture, each.series].filter(Boolean).join(" "),
                    parts.name((each.jobs || []).join(", ")),
                    parts.name(each.reason),
                  ],
                })),
                "",
              ),
            )
          : null,
        run.notes.length
          ? parts.section(
              "Notes",
              h(
                "ul",
                {},
                run.notes.map((note) =>
                  h(
                    "li",
                    {},
                    parts.name(typeof note === "string" ? note : JSON.stringify(note)),
                  ),
                ),
              ),
            )
          : null,
      ];
    },
  };
}

// How many of the jobs that are shown ended so; nothing where none did.
function ended(run, result) {
  const found = run.jobs.filter((job) => job.result === result).length;
  if (!found) return "";
  const least = run.job_count > run.jobs.length ? "at least " : "";
  return `${least}${found} of ${run.job_count}`;
}

// The jobs that somebody has to let go.
function waiting(graph) {
  if (!graph) return "";
  return graph.nodes
    .filter((node) => node.gate && node.state !== "done")
    .slice(0, 20)
    .map((node) => [parts.jobLink(node.id, parts.name(node.name)), " "]);
}

function actions(run, page) {
  const shown = [
    run.state !== "done" && may("cancel", run.repository)
      ? parts.button(
          "Cancel the run",
          async () => {
            if ((await cancelRun(run.id)) !== null) page.again();
          },
          { id: "cancel-run" },
        )
      : null,
    run.repository &&
      h(
        "a",
        { class: "button", href: `#/grid${queryOf({ repository: run.repository })}` },
        "Its repository's grid",
      ),
  ];
  return h("div", { class: "actions" }, shown);
}
