// Schedules: when they come next, what became of their last times, and what they start.

import { changed, href, queryOf } from "/page/farm/address.js";
import { may } from "/page/farm/me.js";
import * as acts from "/page/farm/workflows.js";
import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { look } from "/page/show/states.js";
import { exactly } from "/page/show/words.js";

const OVERLAP = {
  skip: "passed over while the last one goes on",
  queue: "waits for the last one to end",
  replace: "takes the place of the last one",
};
const MISSED = {
  none: "missed ones are left out",
  last: "of missed ones the last is made up for",
};
const FIRED = {
  waiting: ["○", "wait", "waits"],
  started: ["▶", "busy", "under way"],
  skipped: ["⤼", "void", "skipped"],
  failed: ["✗", "bad", "could not start"],
};

export function create(at, page) {
  const path = `/api/v1/schedules${queryOf({ limit: 100, after: at.query.after })}`;
  return {
    snapshot: "schedules",
    isRenewed: true,
    asks: () => ({ schedules: path }),
    follows: () => path,
    title: () => "Schedules",
    draw: ({ schedules }) => [
      h("h1", {}, "Schedules"),
      schedules ? table(schedules, page) : h("p", { class: "empty" }, "Reading …"),
      schedules && schedules.next
        ? h(
            "p",
            { class: "more" },
            h(
              "a",
              { href: changed(at, { after: schedules.next }), "data-key": "more" },
              "Those that follow",
            ),
          )
        : null,
    ],
  };
}

function table(told, page) {
  return parts.table(
    "Schedules",
    [
      ["Schedule", "narrow"],
      ["Next", "narrow"],
      ["Last times", ""],
      ["Starts", ""],
      ["At", ""],
      ["Owner", ""],
      [parts.unseen("Acts"), "narrow"],
    ],
    told.schedules.map((each) => ({
      key: `schedule ${each.name}`,
      cells: [
        [parts.name(each.name), h("p", {}, state(each))],
        next(each),
        [last(each), before(each)],
        starts(each.starts),
        [
          h("code", {}, parts.name(each.cron)),
          " ",
          parts.name(each.zone),
          h("p", { class: "quiet" }, policy(each)),
        ],
        parts.name(each.owner),
        actions(each, page),
      ],
    })),
    "There is no schedule yet: ‘headrace schedule add’ makes one.",
  );
}

function state(schedule) {
  const isPaused = schedule.state === "paused";
  return h(
    "span",
    { class: `badge ${isPaused ? "busy" : "void"}` },
    parts.sign(isPaused ? "‖" : "●", isPaused ? "busy" : "void"),
    schedule.state,
  );
}

function starts(what) {
  if (what.workflow) {
    const word = what.workflow.class;
    return [
      "workflow ",
      h("a", { href: href("workflows", null, { workflow_class: word }) }, parts.name(word)),
    ];
  }
  if (what.run) {
    const source = what.run.source || {};
    if (!source.repository) return "a run";
    return [
      "run of ",
      h(
        "a",
        { href: href("runs", null, { repository: source.repository }) },
        parts.project(source.repository),
      ),
      source.ref ? [" ", h("code", {}, parts.name(source.ref))] : null,
    ];
  }
  const jobs = (what.jobs && what.jobs.jobs) || [];
  if (jobs.length === 1)
    return ["job ", parts.name(jobs[0].name || jobs[0].performs || "")];
  return `${jobs.length} jobs`;
}

// The time as it is where the schedule counts.
function there(moment, zone) {
  try {
    return new Date(moment).toLocaleString("en-GB", {
      timeZone: zone,
      weekday: "short",
      month: "short",
      day: "numeric",
      hour: "2-digit",
      minute: "2-digit",
    });
  } catch {
    return exactly(moment); // a zone that this browser does not know
  }
}

function next(schedule) {
  if (!schedule.next_at)
    return h(
      "span",
      { class: "quiet" },
      schedule.state === "paused" ? "not while it is paused" : "never again",
    );
  return [
    parts.when(schedule.next_at),
    h("p", { class: "quiet" }, there(schedule.next_at, schedule.zone)),
  ];
}

function fate(time) {
  if (time.state === "started" && time.result) {
    const found = look("done", time.result);
    return [found.sign, found.tone, found.word];
  }
  return FIRED[time.state] || ["?", "void", time.state];
}

function placeOf(time) {
  if (time.run) return href("runs", time.run);
  return time.workflow ? href("workflows", time.workflow) : null;
}

function last(schedule) {
  const [time] = schedule.times;
  if (!time) return h("span", { class: "quiet" }, "it has not come yet");
  const [sign, tone, word] = fate(time);
  const place = placeOf(time);
  return [
    h("span", { class: `badge ${tone}` }, parts.sign(sign, tone), word),
    " ",
    place
      ? h("a", { href: place, "data-key": `last ${schedule.name}` }, parts.when(time.at))
      : parts.when(time.at),
    time.reason ? h("p", { class: "quiet" }, parts.name(time.reason)) : null,
  ];
}

// The times before the last one, each as a sign that leads to what it started.
function before(schedule) {
  if (schedule.times.length < 2) return null;
  const cells = h(
    "span",
    { class: "cells" },
    schedule.times.slice(1).map((time) => {
      const [sign, tone, word] = fate(time);
      const place = placeOf(time);
      const why = time.reason ? `, ${time.reason}` : "";
      const told = `${there(time.at, schedule.zone)}: ${word}${why}`;
      return h(
        place ? "a" : "span",
        {
          class: `cell ${tone}`,
          href: place,
          role: place ? null : "img",
          "aria-label": told,
          title: told,
          "data-key": `time ${schedule.name} ${time.at}`,
        },
        sign,
      );
    }),
  );
  return h("div", {}, cells);
}

// What becomes of a time while the last one goes on, and of those that nobody dealt with.
function policy(schedule) {
  const missed =
    schedule.catch_up === "all"
      ? `of missed ones the last ${schedule.catch_up_limit} are made up for`
      : MISSED[schedule.catch_up];
  return `${OVERLAP[schedule.overlap]}; ${missed}`;
}

function actions(schedule, page) {
  if (!may("submit")) return null;
  const then = (act) => async () => {
    if ((await act(schedule.name)) !== null) page.again();
  };
  const isPaused = schedule.state === "paused";
  return h(
    "span",
    { class: "buttons" },
    parts.button(
      isPaused ? "Resume" : "Pause",
      then(isPaused ? acts.resumeSchedule : acts.pauseSchedule),
      {
        class: "plain",
        "aria-label": `${isPaused ? "Resume" : "Pause"} schedule ${schedule.name}`,
      },
    ),
    parts.button("Remove", then(acts.removeSchedule), {
      class: "plain",
      "aria-label": `Remove schedule ${schedule.name}`,
    }),
  );
}
