// What somebody may ask the farm to do: the question, the request, and what takes it back.
//
// Each act asks first, shows the farm's refusal in its own words, and fires when it is
// done.

import { part } from "/page/farm/address.js";
import { write } from "/page/farm/client.js";
import { ask } from "/page/show/dialog.js";
import { CLASSIFICATIONS } from "/page/show/states.js";
import { tell } from "/page/show/told.js";

const WHY = {
  name: "reason",
  label: "Why",
  required: true,
  hint: "People whose jobs wait are told it.",
};
const UNTIL = {
  name: "until",
  label: "Until",
  type: "datetime-local",
  hint: "Empty: until somebody ends it.",
};
const job = (id, act) => `/api/v1/jobs/${part(id)}/${act}`;
const moment = (text) => (text ? new Date(text).toISOString() : null);

export function cancelJob(id) {
  return ask({
    title: `Cancel job ${id}?`,
    yes: "Cancel the job",
    danger: true,
    text: "What it did so far is kept as a log; jobs that need it will not run.",
    fields: [{ name: "why", label: "Why" }],
    act: async ({ why }) => {
      await write(job(id, "cancel"), { why });
      tell(`Job ${id} is asked to end.`);
    },
  });
}

export function cancelRun(id) {
  return ask({
    title: `Cancel run ${id}?`,
    yes: "Cancel the run",
    danger: true,
    text: "All its jobs that have not ended are cancelled, unless other runs want them.",
    fields: [{ name: "why", label: "Why" }],
    act: async ({ why }) => {
      await write(`/api/v1/runs/${part(id)}/cancel`, { why });
      tell(`Run ${id} is asked to end.`);
    },
  });
}

export function retry(id) {
  return ask({
    title: `Run job ${id} again?`,
    yes: "Run it again",
    fields: [
      {
        name: "from",
        label: "From",
        options: [
          ["", "the stage that failed"],
          ["start", "the start"],
        ],
      },
    ],
    act: async ({ from }) => {
      await write(job(id, "retry"), { from_start: from === "start" });
      tell(`Job ${id} is queued again.`);
    },
  });
}

export function releaseJob(id) {
  return ask({
    title: `Let job ${id} go?`,
    yes: "Let it go",
    text: "It starts as soon as it waits for nothing else. There is no way back but a cancel.",
    act: async () => {
      await write(job(id, "release"), {});
      tell(`Job ${id} may start.`);
    },
  });
}

export function rescore(id, before) {
  return ask({
    title: `Score of job ${id}`,
    yes: "Set the score",
    text: "Higher scores go first; 500000 is usual. Empty gives the job its own score back.",
    fields: [
      {
        name: "score",
        label: "Score",
        type: "number",
        min: 0,
        max: 1000000,
        value: before,
      },
      WHY,
    ],
    act: async ({ score, reason }) => {
      await write(job(id, "rescore"), {
        score: score === "" ? null : Number(score),
        reason,
      });
      tell(`Job ${id} has another score.`, async () => {
        await write(job(id, "rescore"), {
          score: before ?? null,
          reason: `taken back: ${reason}`,
        });
        return `Job ${id} has its earlier score again.`;
      });
    },
  });
}

export function move(id) {
  return ask({
    title: `Move job ${id}`,
    yes: "Move it",
    text: "To one worker, or to any that suits.",
    fields: [{ name: "worker", label: "Worker", example: "any", longest: 200 }, WHY],
    act: async ({ worker, reason }) => {
      await write(job(id, "move"), { worker: worker || null, reason });
      tell(
        worker ? `Only ${worker} may run job ${id}.` : `Any worker may run job ${id}.`,
        worker &&
          (async () => {
            await write(job(id, "move"), { worker: null, reason: `taken back: ${reason}` });
            return `Any worker may run job ${id} again.`;
          }),
      );
    },
  });
}

const DUTY = {
  paused: ["Pause", "It takes nothing new, and ends what it runs."],
  draining: [
    "Drain",
    "It takes nothing new, and ends what it runs, for something that follows.",
  ],
  active: ["Resume", "It takes work again; a quarantine ends, too."],
};

export function setDuty(worker, duty, before) {
  const [verb, text] = DUTY[duty];
  const set = (word, reason, until = null) =>
    write("/api/v1/duty", { workers: worker, duty: word, reason, until });
  return ask({
    title: `${verb} worker ${worker}?`,
    yes: verb,
    text,
    fields: [WHY, ...(duty === "active" ? [] : [UNTIL])],
    act: async ({ reason, until }) => {
      await set(duty, reason, moment(until));
      tell(
        `Worker ${worker} is ${duty}.`,
        before &&
          before !== duty &&
          (async () => {
            await set(before, `taken back: ${reason}`);
            return `Worker ${worker} is ${before} again.`;
          }),
      );
    },
  });
}

export function hold() {
  return ask({
    title: "Hold the queue",
    yes: "Hold",
    text: "What is held does not start; what runs, runs on.",
    fields: [
      {
        name: "scope",
        label: "What",
        options: [
          ["architecture", "an architecture"],
          ["project", "a project (its repository)"],
          ["farm", "the whole farm"],
        ],
      },
      { name: "name", label: "Its name", hint: "Empty for the whole farm." },
      WHY,
      UNTIL,
    ],
    act: async ({ scope, name, reason, until }) => {
      const which = scope === "farm" ? "" : name;
      await write("/api/v1/holds", { scope, name: which, reason, until: moment(until) });
      tell(`${which || "The farm"} is held.`, () =>
        release(scope, which, `taken back: ${reason}`),
      );
    },
  });
}

async function release(scope, name, reason) {
  await write("/api/v1/holds/release", { scope, name, reason });
  return `${name || "The farm"} is released.`;
}

export function endHold(scope, name) {
  return ask({
    title: `Release ${name || "the farm"}?`,
    yes: "Release",
    fields: [WHY],
    act: async ({ reason }) => tell(await release(scope, name, reason)),
  });
}

export function classify(id, before = null) {
  const set = (given) => write(job(id, "classify"), given);
  const plain = (given) => ({
    classification: given.classification || null,
    note: given.note || "",
    link: given.link || "",
  });
  return ask({
    title: `What made job ${id} fail?`,
    yes: "Save",
    fields: [
      {
        name: "classification",
        label: "It is",
        value: before && before.classification,
        options: [
          ...Object.entries(CLASSIFICATIONS).map(([word, [, text]]) => [word, text]),
          ["", "not known: take the word off"],
        ],
      },
      {
        name: "link",
        label: "Link",
        type: "url",
        longest: 1000,
        value: before && before.link,
        example: "address of the issue",
      },
      { name: "note", label: "Note", lines: 3, value: before && before.note },
    ],
    act: async (given) => {
      await set(plain(given));
      tell(
        `Job ${id}: ${given.classification ? CLASSIFICATIONS[given.classification][1] : "not classified"}.`,
        async () => {
          await set(plain(before || {}));
          return `Job ${id} is as before.`;
        },
      );
    },
  });
}

// A rule that classifies failures; `line` is one of a log, from which the pattern is made.
export function addRule(line = "", about = {}) {
  return ask({
    title: "A rule for failures",
    yes: "Add the rule",
    text: "Failures of the last week are looked at, and all that follow.",
    fields: [
      {
        name: "pattern",
        label: "Pattern for a line of the log",
        value: escaped(line),
        required: true,
        longest: 500,
        hint: "A regular expression (RE2). Leave out what differs from time to time.",
      },
      {
        name: "classification",
        label: "It is",
        options: Object.entries(CLASSIFICATIONS).map(([word, [, text]]) => [word, text]),
      },
      { name: "link", label: "Link", type: "url", example: "address of the issue" },
      { name: "note", label: "Note", lines: 2 },
      {
        name: "name",
        label: "Only jobs of this name",
        value: about.name || "",
        hint: "Empty: any.",
      },
      {
        name: "project",
        label: "Only below this repository",
        value: "",
        hint: "Empty: any.",
      },
    ],
    act: async (given) => {
      if (about.job) await tried(given.pattern, about.job);
      const made = await write("/api/v1/rules", {
        ...given,
        name: given.name || null,
        project: given.project || null,
      });
      tell(`Rule ${made.id} is at work.`, () => takeAway(made.id, true));
    },
  });
}

const escaped = (line) => line.slice(0, 300).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// A rule that was made from a log should find something there.
async function tried(pattern, id) {
  const found = await write("/api/v1/rules/try", { pattern, job: id });
  if (!found.found)
    throw new Error(`This pattern finds no line in the log of job ${id}: change it.`);
}

async function takeAway(rule, forget) {
  await write(`/api/v1/rules/${part(rule)}/remove`, { forget });
  return `Rule ${rule} is gone.`;
}

export function removeRule(rule) {
  return ask({
    title: `Remove rule ${rule}?`,
    yes: "Remove it",
    danger: true,
    fields: [
      {
        name: "forget",
        label: "What it has said of failures",
        options: [
          ["", "stays"],
          ["forget", "is taken back"],
        ],
      },
    ],
    act: async ({ forget }) => tell(await takeAway(rule, forget === "forget")),
  });
}
