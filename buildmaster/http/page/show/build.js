// The parts of a job's page: facts, pipeline jobs, files, history, attempts, dependencies.

import { durations, interval, trend } from "/page/draw/bars.js";
import { href, part } from "/page/farm/address.js";
import { h } from "/page/show/dom.js";
import { cellOf } from "/page/show/jobs.js";
import * as parts from "/page/show/parts.js";
import { place } from "/page/show/reuse.js";
import { look } from "/page/show/states.js";
import { size, span } from "/page/show/words.js";

export function about(job) {
  return parts.facts([
    ...place(job.node),
    [
      "Source",
      job.repository ? [parts.project(job.repository), " ", parts.revision(job)] : "",
    ],
    ["Refs", job.refs.length ? parts.name(job.refs.join(", ")) : ""],
    ["Cell", cellOf(job) ? parts.name(cellOf(job)) : ""],
    ["Run", job.runs.map((id) => [parts.link("runs", id, `#${id}`), " "])],
    ["Owner", parts.name(job.owner)],
    ["Worker", job.worker ? parts.link("workers", job.worker) : ""],
    ["Asked", parts.when(job.created_at)],
    [
      "Waited",
      job.ready_at && job.started_at
        ? span((Date.parse(job.started_at) - Date.parse(job.ready_at)) / 1000)
        : "",
    ],
    ["Began", parts.when(job.started_at)],
    ["Took", parts.took(job.started_at, job.finished_at)],
    ["Attempt", job.attempt > 1 ? job.attempt : ""],
  ]);
}

export function pipelineJobs(job) {
  if (!job.pipeline_jobs.length) return null;
  const moments = job.pipeline_jobs
    .flatMap((each) => [each.started_at, each.finished_at])
    .filter(Boolean)
    .map(Date.parse);
  const from = Math.min(...moments);
  const to = job.state === "done" ? Math.max(...moments) : Date.now();
  return parts.section(
    "Pipeline jobs",
    parts.table(
      "Pipeline jobs, stage by stage",
      [
        ["Stage", "narrow"],
        ["State", "narrow"],
        ["Pipeline job", ""],
        ["Took", "narrow number"],
        ["When", "bar"],
        ["Reason", ""],
      ],
      job.pipeline_jobs.map((each) => ({
        key: `pipeline job ${each.title}`,
        cells: [
          each.stage + 1,
          parts.badge(each.state, each.result),
          h(
            "a",
            {
              href: href(
                "jobs",
                job.id,
                { attempt: job.attempt, name: each.name, index: each.index },
                "log",
              ),
            },
            parts.name(each.title),
          ),
          parts.took(each.started_at, each.finished_at),
          each.started_at
            ? interval(
                from,
                to,
                Date.parse(each.started_at),
                each.finished_at ? Date.parse(each.finished_at) : to,
                look(each.state, each.result).tone,
                `${each.title} began ${span((Date.parse(each.started_at) - from) / 1000)} after the first`,
              )
            : null,
          [
            parts.name(each.reason),
            each.kept_from
              ? h("span", { class: "quiet" }, ` kept from attempt ${each.kept_from}`)
              : null,
          ],
        ],
      })),
      "",
    ),
  );
}

export function files(job) {
  const all = job.pipeline_jobs.flatMap((each) => each.artifacts);
  if (!all.length) return null;
  return parts.section(
    "Files",
    h(
      "ul",
      { class: "files" },
      all.slice(0, 200).map((file) =>
        h(
          "li",
          { "data-key": `file ${file.path}` },
          h(
            "a",
            {
              href: `/api/v1/artifacts/${part(file.sha256)}`,
              download: file.path.split("/").pop(),
            },
            parts.name(file.path),
          ),
          h("span", { class: "quiet number" }, size(file.size)),
        ),
      ),
    ),
    all.length > 200 ? h("p", {}, `and ${all.length - 200} more`) : null,
  );
}

export function past(job, whole) {
  if (!whole) return null;
  const similar = whole.similar || [];
  const days = Array.isArray(whole.history) ? whole.history : (whole.history || {}).trend;
  return parts.section(
    "History",
    durations(similar, job.id),
    trend(days),
    h(
      "p",
      {},
      h(
        "a",
        {
          href: href("history", null, {
            name: job.name,
            repository: job.repository,
            architecture: job.architecture,
          }),
        },
        "All of its kind",
      ),
    ),
  );
}

export function attempts(job) {
  return parts.section(
    "Attempts",
    parts.table(
      "Attempts",
      [
        [parts.unseen("Attempt"), "narrow"],
        ["Result", ""],
        ["Worker", "narrow"],
        ["Took", "narrow number"],
        ["Log", "narrow number"],
      ],
      [...job.attempts]
        .sort((one, other) => other.number - one.number)
        .map((each) => ({
          key: `attempt ${each.number}`,
          cells: [
            each.number,
            [
              each.result
                ? parts.badge("done", each.result)
                : h("span", { class: "quiet" }, "under way"),
              each.reason && each.number !== job.attempt
                ? h("p", { class: "quiet" }, parts.name(each.reason))
                : null,
            ],
            each.worker ? parts.link("workers", each.worker) : "",
            parts.took(each.started_at, each.finished_at),
            h(
              "a",
              {
                href: href("jobs", job.id, { attempt: each.number }, "log"),
                "aria-label": `${size(each.log_length)}, log of attempt ${each.number}`,
              },
              size(each.log_length),
            ),
          ],
        })),
      "There was none yet.",
    ),
  );
}

export function edges(title, list) {
  if (!list.length) return null;
  return parts.section(
    title,
    h(
      "ul",
      {},
      list
        .slice(0, 50)
        .map((edge) =>
          h(
            "li",
            {},
            parts.jobLink(edge.job, `job ${edge.job}`),
            edge.stage === null ? "" : `, stage ${edge.stage + 1}`,
            `, ${edge.require}`,
            edge.resolved_at ? ", there" : "",
          ),
        ),
    ),
    list.length > 50 ? h("p", {}, `and ${list.length - 50} more`) : null,
  );
}

export function asked(job) {
  const needs = job.requirements;
  return parts.section(
    "Asked for",
    parts.facts([
      ["Performs", job.performs ? parts.name(job.performs) : ""],
      ["Arguments", job.arguments ? parts.name(JSON.stringify(job.arguments)) : ""],
      ["Isolation", job.isolation],
      ["Tags", needs.tags.length ? parts.name(needs.tags.join(", ")) : ""],
      ["Slots", needs.slots > 1 ? needs.slots : ""],
      ["Only on", needs.worker ? parts.link("workers", needs.worker) : ""],
      [
        "Score",
        job.manual_score === null
          ? job.score
          : `${job.manual_score} (its own: ${job.score})`,
      ],
      ["Semaphores", job.semaphores.length ? parts.name(job.semaphores.join(", ")) : ""],
      ["Group", job.group ? parts.name(job.group) : ""],
    ]),
  );
}
