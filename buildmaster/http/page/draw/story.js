// What a workflow's history tells, as rows for a drawing: what it asked for and what came
// of it, what it waits for, and what reached it. Pure.

import { href } from "/page/farm/address.js";
import { look } from "/page/show/states.js";

const KINDS = {
  local: "local action",
  job: "job",
  build: "run",
  ensure: "job that is there or is made",
  collection: "collection",
  child: "workflow",
  timer: "timer",
  patch: "patch",
};
const MARKS = {
  started: ["●", "void", "it began"],
  signal: ["◆", "busy", "signal"],
  cancel: ["⊘", "bad", "it was asked to end"],
  timeout: ["◷", "bad", "its time was over"],
};

export const kindWord = (kind) => KINDS[kind] || kind;

// What reached it by itself: [sign, tone, word], and null for what answers a command.
export const markOf = (what) => MARKS[what] || null;

// Where the page of what a command became is; null where it has none.
export function placeOf(thing) {
  if (thing.job) return href("jobs", thing.job);
  if (thing.run) return href("runs", thing.run);
  if (thing.workflow) return href("workflows", thing.workflow);
  return null;
}

// A page of history and the workflow that it is of -> {marks, rows, lanes, from, to}.
//
// A row is {key, name, kind, from, to, until, tone, sign, word, href, isOpen, isDropped};
// times are milliseconds. `now` ends what is open. A lane is {key, name, rows}.
export function storyOf(moments, workflow, isNewest, now) {
  const ends = new Map(); // seq -> the event that answers it
  for (const each of moments)
    if (each.what !== "asked" && each.seq !== null && !markOf(each.what))
      ends.set(each.seq, each);
  const waits = isNewest ? workflow.waits : [];
  const awaited = new Map(waits.filter((w) => w.seq !== null).map((w) => [w.seq, w]));
  const over = workflow.finished_at ? Date.parse(workflow.finished_at) : now;
  const last = moments.length ? Date.parse(moments[moments.length - 1].at) : over;
  const edge = isNewest ? over : last;
  const rows = moments
    .filter((each) => each.what === "asked")
    .map((each) => row(each, ends.get(each.seq), awaited.get(each.seq), edge));
  const asked = new Set(rows.map((each) => each.seq));
  for (const [place, wait] of waits.entries())
    if (wait.seq === null || !asked.has(wait.seq)) rows.push(waiting(wait, place, edge));
  const marks = moments
    .filter((each) => markOf(each.what))
    .map((each) => {
      const [sign, tone, word] = markOf(each.what);
      return {
        key: `mark ${each.n}`,
        at: Date.parse(each.at),
        name: each.name || "",
        by: each.by || "",
        sign,
        tone,
        word,
      };
    });
  const lanes = lanesOf(rows);
  const times = [...marks.map((each) => each.at), ...rows.map((each) => each.from)];
  return {
    marks,
    rows,
    lanes,
    from: times.length ? Math.min(...times) : edge,
    to: Math.max(edge, ...rows.map((each) => each.to)),
  };
}

// What a loop asks for again and again stands in one lane, as long as none covers another.
function lanesOf(rows) {
  const lanes = [];
  for (const each of [...rows].sort((one, other) => one.from - other.from)) {
    const found = lanes.find(
      (lane) =>
        lane.name === each.name &&
        lane.kind === each.kind &&
        lane.rows[lane.rows.length - 1].to <= each.from,
    );
    if (found) found.rows.push(each);
    else
      lanes.push({
        key: `lane ${each.key}`,
        name: each.name,
        kind: each.kind,
        rows: [each],
      });
  }
  return lanes;
}

function row(asked, end, wait, edge) {
  const from = Date.parse(asked.at);
  const until = asked.until ? Date.parse(asked.until) : null;
  const base = {
    key: `row ${asked.seq}`,
    seq: asked.seq,
    name: asked.name || kindWord(asked.kind),
    kind: kindWord(asked.kind),
    href: placeOf(asked),
    from,
    until,
    isOpen: false,
    isDropped: false,
  };
  if (asked.kind === "patch") return { ...base, to: from, ...seen("·", "void", "noted") };
  if (end) return { ...base, to: Date.parse(end.at), ...outcome(asked, end) };
  if (wait)
    return {
      ...base,
      name: wait.name || base.name,
      to: edge,
      isOpen: true,
      ...seen("▶", "busy", "waited for"),
    };
  const to = until === null ? edge : Math.min(until, edge);
  return { ...base, to, isDropped: true, ...seen("–", "void", "no answer needed") };
}

function outcome(asked, end) {
  if (end.what === "fired") return seen("◷", "void", "its time came");
  if (end.what === "failed") return seen("✗", "bad", "failed");
  const result = end.payload && asked.kind !== "local" ? end.payload.result : null;
  if (["job", "build", "ensure"].includes(asked.kind) && typeof result === "string") {
    const found = look("done", result);
    return seen(found.sign, found.tone, found.word);
  }
  return seen("✓", "good", "completed");
}

const seen = (sign, tone, word) => ({ sign, tone, word });

function waiting(wait, place, edge) {
  const from = Date.parse(wait.since);
  return {
    key: `wait ${place}`,
    seq: null,
    name: wait.name,
    kind: wait.what,
    href: placeOf(wait),
    from: Math.min(from, edge),
    to: edge,
    until: wait.until ? Date.parse(wait.until) : null,
    isOpen: true,
    isDropped: false,
    ...seen("▶", "busy", "waited for"),
  };
}

// Where moments stand from 0 to 1: by the clock, or each step as wide as any other.
export function scaleOf(story, isByClock) {
  const { from, to } = story;
  const all = Math.max(1, to - from);
  if (isByClock) return { place: (time) => clamp((time - from) / all), steps: null };
  const steps = [
    ...new Set([
      from,
      to,
      ...story.marks.map((each) => each.at),
      ...story.rows.flatMap((each) => [each.from, each.to]),
    ]),
  ].sort((one, other) => one - other);
  const wide = Math.max(1, steps.length - 1);
  return {
    steps,
    place(time) {
      if (time <= steps[0]) return 0;
      const next = upper(steps, time);
      if (next >= steps.length) return 1;
      const before = steps[next - 1];
      return (next - 1 + (time - before) / (steps[next] - before)) / wide;
    },
  };
}

const clamp = (value) => Math.max(0, Math.min(1, value));

// The first place whose step is later than `time`.
function upper(steps, time) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}
