// What somebody may ask of workflows and schedules: the question, the request, the answer.

import { part } from "/page/farm/address.js";
import { write } from "/page/farm/client.js";
import { ask } from "/page/show/dialog.js";
import { plain } from "/page/show/plain.js";
import { tell } from "/page/show/told.js";

const workflow = (name, act) => `/api/v1/workflows/${part(name)}/${act}`;
const schedule = (name, act) => `/api/v1/schedules/${part(name)}/${act}`;

// Arguments as somebody typed them: a list, or names with values.
function given(text) {
  let found;
  try {
    found = JSON.parse(text || "[]");
  } catch (error) {
    throw new Error(`The arguments are not JSON: ${error.message}.`);
  }
  if (found === null || typeof found !== "object")
    throw new Error('The arguments are a list, as ["a", 1], or names with values.');
  return found;
}

// `id` is the number, which no later workflow of that name has.
export function signal(id, name) {
  return ask({
    title: `Send a signal to ${plain(name)}`,
    yes: "Send it",
    fields: [
      { name: "signal", label: "Signal", required: true, longest: 200 },
      {
        name: "arguments",
        label: "Arguments",
        lines: 4,
        longest: 262_144,
        value: "[]",
        hint: 'As JSON: a list, as ["a", true], or names with values.',
      },
      {
        name: "id",
        label: "Its own id",
        longest: 200,
        hint: "What is sent twice with the same is dealt with once. May be empty.",
      },
    ],
    act: async (typed) => {
      const body = { signal: typed.signal, arguments: given(typed.arguments) };
      if (typed.id) body.id = typed.id;
      const sent = await write(workflow(id, "signal"), body);
      tell(
        sent.repeated
          ? "This signal was sent before, and is dealt with once."
          : sent.state === "done"
            ? "The signal is recorded, and changes nothing: the workflow has ended."
            : "The signal is sent.",
      );
    },
  });
}

export function cancelWorkflow(id, name) {
  return ask({
    title: `Cancel the workflow ${plain(name)}?`,
    yes: "Cancel the workflow",
    danger: true,
    text: "It cleans up and ends. Jobs and workflows that it waits for are cancelled, too, unless it let go of them.",
    fields: [{ name: "why", label: "Why" }],
    act: async ({ why }) => {
      await write(workflow(id, "cancel"), { why });
      tell("The workflow is asked to end.");
    },
  });
}

export function pauseSchedule(name) {
  return ask({
    title: `Pause the schedule ${name}?`,
    yes: "Pause",
    text: "Its times pass, and are not made up for later. What it has started goes on.",
    act: async () => {
      await write(schedule(name, "pause"), {});
      tell(`Schedule ${name} lets its times pass.`, async () => {
        await write(schedule(name, "resume"), {});
        return `Schedule ${name} goes on.`;
      });
    },
  });
}

export function resumeSchedule(name) {
  return ask({
    title: `Go on with the schedule ${name}?`,
    yes: "Go on",
    text: "It begins with its first time from now on.",
    act: async () => {
      await write(schedule(name, "resume"), {});
      tell(`Schedule ${name} goes on.`, async () => {
        await write(schedule(name, "pause"), {});
        return `Schedule ${name} lets its times pass again.`;
      });
    },
  });
}

export function removeSchedule(name) {
  return ask({
    title: `Remove the schedule ${name}?`,
    yes: "Remove it",
    danger: true,
    text: "It is forgotten, with what became of its times. What it has started goes on.",
    act: async () => {
      await write(schedule(name, "remove"), {});
      tell(`There is no schedule ${name} any more.`);
    },
  });
}
