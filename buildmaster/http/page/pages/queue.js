// The queue: who waits for a worker, in which order, until when, and what is in the way.

import * as acts from "/page/farm/acts.js";
import { changed, chosen, href, queryOf } from "/page/farm/address.js";
import { may } from "/page/farm/me.js";
import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { count, number } from "/page/show/words.js";

const FILTERS = ["architecture", "owner", "kind", "repository"];

export function create(at, page) {
  const filters = chosen(at.query, ...FILTERS);
  const go = (query) => {
    location.hash = changed(at, query);
  };
  const path = `/api/v1/queue${queryOf({ ...filters, after: at.query.after, limit: 200 })}`;
  return {
    snapshot: "queue",
    isRenewed: true, // where one stands changes with almost every event
    asks: () => ({
      queue: path,
      holds: "/api/v1/holds",
      semaphores: "/api/v1/semaphores?limit=200",
    }),
    optional: ["queue", "semaphores"],
    follows: () => path,
    title: ({ queue } = {}) =>
      queue
        ? `${count(
            queue.classes.reduce((all, each) => all + each.ready, 0),
            "job",
          )} in line`
        : "Queue",
    draw: ({ queue, holds, semaphores }) => [
      h(
        "div",
        { class: "title" },
        h("h1", {}, "Queue"),
        may("operate")
          ? parts.button(
              "Hold …",
              async () => {
                if ((await acts.hold()) !== null) page.again();
              },
              { id: "hold" },
            )
          : null,
      ),
      holds && heldNow(holds.holds, page),
      queue && classes(queue.classes),
      h(
        "div",
        { class: "filters", role: "search" },
        parts.field("Architecture", at.query.architecture || "", (architecture) =>
          go({ architecture }),
        ),
        parts.field("Owner", at.query.owner || "", (owner) => go({ owner }), {
          "data-search": true,
        }),
        parts.field("Repository", at.query.repository || "", (repository) =>
          go({ repository }),
        ),
        parts.field("Kind", at.query.kind || "", (kind) => go({ kind })),
      ),
      queue === undefined ? h("p", { class: "empty" }, "Reading …") : null,
      queue && line(queue.jobs, page, queue.classes),
      queue && queue.next
        ? h(
            "p",
            { class: "more" },
            h(
              "a",
              { href: href("queue", null, { ...at.query, after: queue.next }) },
              "Further down the line",
            ),
          )
        : null,
      semaphores && limits(semaphores.semaphores),
    ],
  };
}

function heldNow(holds, page) {
  if (!holds.length) return null;
  return parts.section(
    "Holds",
    parts.table(
      "Holds",
      [
        ["What", ""],
        ["Why", ""],
        ["By", ""],
        ["Since", "narrow"],
        ["Until", "narrow"],
        [parts.unseen("Acts"), "narrow"],
      ],
      holds.map((each) => ({
        key: `hold ${each.id}`,
        cells: [
          [h("strong", {}, each.scope), " ", parts.name(each.name)],
          parts.name(each.reason),
          parts.name(each.by),
          parts.when(each.created_at),
          each.until ? parts.when(each.until) : "released by hand",
          may("operate")
            ? parts.button(
                "Release",
                async () => {
                  if ((await acts.endHold(each.scope, each.name)) !== null) page.again();
                },
                { class: "plain", "aria-label": `Release ${each.name || "the farm"}` },
              )
            : null,
        ],
      })),
      "",
    ),
  );
}

function classes(list) {
  return parts.section(
    "By class",
    parts.table(
      "Classes of jobs",
      [
        ["Architecture", "narrow"],
        ["Needs", ""],
        ["Ready", "number narrow"],
        ["Running", "number narrow"],
        ["Free slots", "number narrow"],
        ["Longest in line", "narrow"],
      ],
      list.map((each) => ({
        key: `class ${each.id}`,
        tone: each.ready && !each.free_slots && !each.running ? "red" : "",
        cells: [
          h(
            "a",
            { href: href("queue", null, { architecture: each.architecture }) },
            each.architecture || "any",
          ),
          [
            each.performs ? parts.name(each.performs) : each.isolation,
            " ",
            each.series.join(", "),
            " ",
            each.tags.map((tag) => [h("span", { class: "chip" }, parts.name(tag)), " "]),
          ],
          number(each.ready),
          number(each.running),
          each.ready && !each.free_slots
            ? h("span", { class: "bad" }, "none")
            : number(each.free_slots),
          parts.when(each.oldest_ready_at),
        ],
      })),
      "No job is ready or running.",
    ),
  );
}

function start(job) {
  if (job.held_by) {
    return h(
      "span",
      { class: "held" },
      "held: ",
      job.held_by.what,
      " ",
      parts.name(job.held_by.name),
    );
  }
  if (!job.likely_start) return h("span", { class: "quiet" }, "not known");
  if (Date.parse(job.latest_start) < Date.now()) return h("span", {}, "any moment");
  return h(
    "span",
    {},
    parts.when(job.likely_start),
    h(
      "span",
      { class: "quiet" },
      " (",
      parts.when(job.earliest_start),
      " – ",
      parts.when(job.latest_start),
      ")",
    ),
  );
}

function line(jobs, page) {
  const then = (act) => async () => {
    if ((await act()) !== null) page.again();
  };
  return parts.section(
    "In line",
    parts.table(
      "Jobs in line",
      [
        [parts.unseen("Place"), "narrow number"],
        ["Job", "narrow"],
        ["Name", ""],
        ["For", "narrow"],
        ["Owner", ""],
        ["Source", ""],
        ["Score", "narrow number"],
        ["In line for", "narrow"],
        ["Likely to start", ""],
        [parts.unseen("Acts"), "narrow"],
      ],
      jobs.map((job) => ({
        key: `job ${job.id}`,
        cells: [
          number(job.place),
          parts.jobLink(job.id),
          parts.name(job.name),
          [job.architecture || "any", " ", job.series],
          parts.name(job.owner),
          parts.project(job.repository),
          job.manual_score === null
            ? number(job.score)
            : h("strong", { title: `its own: ${job.score}` }, number(job.manual_score)),
          parts.took(job.ready_at, null),
          start(job),
          may("operate", job.repository)
            ? [
                parts.button(
                  "Score",
                  then(() => acts.rescore(job.id, job.manual_score)),
                  { class: "plain", "aria-label": `Score of job ${job.id}` },
                ),
                parts.button(
                  "Move",
                  then(() => acts.move(job.id)),
                  { class: "plain", "aria-label": `Move job ${job.id}` },
                ),
              ]
            : null,
        ],
      })),
      "Nobody waits for a worker.",
    ),
  );
}

function limits(list) {
  if (!list.length) return null;
  return parts.section(
    "Semaphores",
    parts.table(
      "Semaphores",
      [
        ["Name", ""],
        ["At work", "number narrow"],
        ["Capacity", "number narrow"],
        ["Stand aside", "number narrow"],
        ["Held by", ""],
      ],
      list.map((each) => ({
        key: `semaphore ${each.name}`,
        cells: [
          parts.name(each.name),
          number(each.held_by.length),
          number(each.capacity),
          each.aside ? number(each.aside) : "",
          each.held_by.slice(0, 10).map((id) => [parts.jobLink(id), " "]),
        ],
      })),
      "",
    ),
  );
}
