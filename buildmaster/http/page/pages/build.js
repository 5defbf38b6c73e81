// One job whole: what became of it and why, its pipeline jobs, log, files, attempts,
// history.

import { chosen, href, part, queryOf } from "/page/farm/address.js";
import * as acts from "/page/farm/acts.js";
import { may } from "/page/farm/me.js";
import { LogView } from "/page/log/view.js";
import * as shown from "/page/show/build.js";
import { h, keep } from "/page/show/dom.js";
import { place } from "/page/show/jobs.js";
import * as parts from "/page/show/parts.js";
import { reuse } from "/page/show/reuse.js";
import { classWord, isBad, isRed, look } from "/page/show/states.js";
import { count } from "/page/show/words.js";

const WHO = {
  success: null,
  failure: "the job's own fault",
  error: "the farm's fault, or that of what it needs",
  timeout: "it took too long",
  malformed: "what was asked for makes no sense",
  unrun: "another job's end",
};

export function create(at, page) {
  const id = part(at.id);
  const isLog = at.rest[0] === "log";
  const query = chosen(at.query, "attempt", "name", "index");
  const log = new LogView({
    address: (lines) => href("jobs", at.id, query, "log", lines),
    raw: `/api/v1/jobs/${id}/log${queryOf(query)}`,
  });
  log.mark(isLog ? at.rest[1] : null);

  function read(job) {
    if (!job || !job.attempts.length) return;
    log.rule =
      isBad(job.result) && may("operate")
        ? async (line) => {
            if ((await acts.addRule(line, { name: job.name, job: job.id })) !== null)
              page.again();
          }
        : null;
    const number = Number(query.attempt || job.attempt);
    const attempt = job.attempts.find((each) => each.number === number);
    const titles = job.pipeline_jobs.map((each) => each.title);
    const isOver = attempt && attempt.result && !query.name;
    log.read(
      `/api/v1/jobs/${id}/log${queryOf({ ...query, attempt: number })}`,
      titles,
      isOver ? attempt.log_length : null,
    );
  }

  // A farm that has no whole builds yet is asked for the parts.
  let isWhole = true;
  return {
    asks: () =>
      isWhole
        ? { whole: `/api/v1/jobs/${id}/whole?tail=0` }
        : { job: `/api/v1/jobs/${id}`, explanation: `/api/v1/jobs/${id}/explain` },
    optional: ["whole"],
    follows: () => `/api/v1/events?job=${id}`,
    title: (documents) => {
      const job = documents && (documents.job || (documents.whole && documents.whole.job));
      return job
        ? `${job.result || job.state}: ${job.name} · job ${at.id}`
        : `Job ${at.id}`;
    },
    keys: log.keys,
    close: () => log.close(),
    moved(to) {
      if (!isLog || to.rest[0] !== "log" || queryOf(to.query) !== queryOf(at.query))
        return false;
      log.mark(to.rest[1]);
      return true;
    },
    draw(documents) {
      const { whole } = documents;
      if (whole === null && isWhole) {
        isWhole = false;
        page.again();
      }
      const job = whole ? whole.job : documents.job;
      if (!job)
        return [h("h1", {}, `Job ${at.id}`), h("p", { class: "empty" }, "Reading …")];
      read(job);
      const explanation = whole ? whole.explanation : documents.explanation;
      return isLog
        ? [head(job, true, at), keep(log.root)]
        : [
            head(job, false, at),
            verdict(job, explanation),
            actions(job, page),
            shown.about(job),
            h(
              "div",
              { class: "columns wide-left" },
              h(
                "div",
                { "data-key": "left" },
                shown.pipelineJobs(job),
                hasLog(job) ? parts.section("Log", keep(log.root)) : null,
              ),
              h(
                "div",
                { "data-key": "right" },
                shown.files(job),
                shown.past(job, whole),
                shown.attempts(job),
                shown.edges("Needs", job.needs),
                shown.edges("Wanted by", job.wanted_by),
                shown.asked(job),
              ),
            ),
          ];
    },
  };
}

// Whether there may be one: nobody ran what was reused, skipped or made impossible.
function hasLog(job) {
  const wasRun = !["reused", "skipped", "unrun"].includes(job.result);
  return job.attempts.some((each) => wasRun || each.worker || each.log_length);
}

function head(job, isLog, at) {
  return h(
    "div",
    { class: "title" },
    h(
      "h1",
      {},
      parts.badge(job.state, job.result, job.classification),
      " ",
      parts.name(job.name),
      " ",
      h(
        "span",
        { class: "quiet" },
        `${place(job)} · job `,
        h("a", { href: href("jobs", job.id) }, job.id),
      ),
    ),
    isLog
      ? h(
          "p",
          { class: "quiet" },
          at.query.name
            ? ["Log of ", parts.name(`${at.query.name}:${at.query.index}`)]
            : "Log",
          at.query.attempt ? `, attempt ${at.query.attempt}` : "",
          " · ",
          h("a", { href: href("jobs", job.id) }, "to the job"),
        )
      : h(
          "p",
          {},
          h("a", { href: href("jobs", job.id, {}, "log") }, "Log on a page of its own"),
        ),
  );
}

// What happened, whose fault it is, and what somebody said about it.
function verdict(job, explanation) {
  const fault = WHO[job.result] || null;
  const summary = (explanation && explanation.summary) || job.reason;
  const start = explanation && explanation.start;
  const found = job.classified;
  const own = reuse(job);
  // What is said more plainly is not said twice.
  const isSaid = own.length && ["reused", "skipped"].includes(job.result);
  return h(
    "div",
    { class: `verdict ${look(job.state, job.result).tone}`, "data-key": "verdict" },
    own,
    summary && !isSaid
      ? h(
          "p",
          {},
          fault ? h("strong", {}, `${fault[0].toUpperCase()}${fault.slice(1)}. `) : null,
          parts.name(summary),
        )
      : null,
    start
      ? h(
          "p",
          {},
          "Starts ",
          parts.when(start.likely),
          " (between ",
          parts.when(start.earliest),
          " and ",
          parts.when(start.latest),
          ")",
        )
      : null,
    explanation && explanation.end
      ? h("p", {}, "Should end ", parts.when(explanation.end.likely))
      : null,
    explanation && explanation.position
      ? h(
          "p",
          { class: "quiet" },
          `${explanation.position.of_workers.exact ? "" : "about "}` +
            `${count(explanation.position.of_workers.before, "job")} before it`,
        )
      : null,
    job.root_cause
      ? h("p", {}, "Root cause: ", parts.jobLink(job.root_cause, `job ${job.root_cause}`))
      : null,
    job.superseded_by
      ? h(
          "p",
          {},
          "Its place took ",
          parts.jobLink(job.superseded_by, `job ${job.superseded_by}`),
        )
      : null,
    found
      ? h(
          "p",
          {},
          h("strong", {}, classWord(found.classification)),
          found.note ? [": ", parts.name(found.note)] : null,
          found.link ? [" ", parts.outside(found.link)] : null,
          h(
            "span",
            { class: "quiet" },
            found.rule ? ` by rule ${found.rule}` : [" by ", parts.name(found.by || "")],
            " ",
            parts.when(found.at),
          ),
        )
      : null,
    isRed(job.result, job.classification)
      ? h("p", { class: "quiet" }, "Nobody has said yet what the cause is.")
      : null,
  );
}

function actions(job, page) {
  const then = (act) => async () => {
    if ((await act()) !== null) page.again();
  };
  const is = (scope) => may(scope, job.repository);
  const buttons = [
    job.state !== "done" && is("cancel")
      ? parts.button(
          "Cancel",
          then(() => acts.cancelJob(job.id)),
          { id: "cancel" },
        )
      : null,
    job.state !== "done" && job.node && job.node.gate && is("submit")
      ? parts.button(
          "Let it go",
          then(() => acts.releaseJob(job.id)),
          { id: "release" },
        )
      : null,
    job.state === "done" && is("submit")
      ? parts.button(
          "Run again",
          then(() => acts.retry(job.id)),
          { id: "retry" },
        )
      : null,
    isBad(job.result) && is("operate")
      ? parts.button(
          job.classification ? "Classify anew" : "Classify",
          then(() => acts.classify(job.id, job.classified)),
          { id: "classify" },
        )
      : null,
    job.state !== "done" && is("operate")
      ? parts.button(
          "Score",
          then(() => acts.rescore(job.id, job.manual_score)),
          { id: "rescore" },
        )
      : null,
    ["waiting", "ready", "parked"].includes(job.state) && is("operate")
      ? parts.button(
          "Move",
          then(() => acts.move(job.id)),
          { id: "move" },
        )
      : null,
  ].filter(Boolean);
  return buttons.length ? h("div", { class: "actions" }, buttons) : null;
}
