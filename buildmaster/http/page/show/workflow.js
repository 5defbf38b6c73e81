// The parts of a workflow's page: its state, what it waits for, what it started, its
// history as a table, and what it was given.

import { kindWord, markOf, placeOf } from "/page/draw/story.js";
import { part } from "/page/farm/address.js";
import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { json, plain } from "/page/show/plain.js";
import { look } from "/page/show/states.js";
import { count, exactly, number } from "/page/show/words.js";

const WAITS = 100; // that are shown
const LINKS = 60;
const LONGEST = 20_000; // characters of a text that is shown whole
const SHORT = 160; // characters of what came with an event
const WHAT = { condition: "a condition", sleep: "a time", local: "a local action" };

// A parked one waits for people, which no parked job does.
export function state(told) {
  if (told.state !== "parked") return parts.badge(told.state, told.result);
  return h("span", { class: "badge bad" }, parts.sign("‖", "bad"), "parked");
}

export function head(told) {
  return h(
    "div",
    { class: "title" },
    h(
      "h1",
      {},
      state(told),
      " ",
      parts.name(told.name),
      " ",
      h("span", { class: "quiet" }, `workflow ${told.id}`),
    ),
  );
}

// Why it does not go on, and what to do; or how it ended.
export function verdict(told) {
  if (told.state === "parked")
    return h(
      "div",
      { class: "verdict bad", "data-key": "verdict" },
      h("p", {}, h("strong", {}, "Its code could not go on. "), parts.name(told.reason)),
      h(
        "p",
        {},
        "Mend the code, install it where buildmasters run, and restart them: it goes on from where it is, and nothing is done twice. ",
        told.next_try && Date.parse(told.next_try) > Date.now()
          ? ["It is tried again ", parts.when(told.next_try), " as it is."]
          : "It is about to be tried again as it is.",
      ),
      told.cause ? long("The cause", told.cause) : null,
    );
  if (!told.reason) return null;
  return h(
    "div",
    { class: `verdict ${look(told.state, told.result).tone}`, "data-key": "verdict" },
    h("p", {}, parts.name(told.reason)),
  );
}

export function about(told) {
  const isChild = told.parent && told.requester === `workflow ${told.parent}`;
  return parts.facts([
    ["Class", [parts.name(told.workflow_class), ` version ${told.version}`]],
    [
      "Parent",
      told.parent ? parts.link("workflows", told.parent, parts.name(told.parent)) : "",
    ],
    ["Asked by", isChild ? "" : requester(told.requester)],
    ["Owner", parts.name(told.owner)],
    ["Began", parts.when(told.created_at)],
    ["Changed", told.state === "done" ? "" : parts.when(told.changed_at)],
    ["Ended", parts.when(told.finished_at)],
    ["Took", parts.took(told.created_at, told.finished_at)],
    ["Must end", told.state === "done" ? "" : parts.when(told.deadline)],
    ["Events", number(told.events)],
    ["Generation", told.generation > 1 ? told.generation : ""],
  ]);
}

// Who asked; a workflow that did has a page.
export function requester(who) {
  const [, name] = /^workflow (.+)$/s.exec(who || "") || [];
  return name
    ? ["workflow ", parts.link("workflows", name, parts.name(name))]
    : parts.name(who || "");
}

export function waits(told) {
  if (told.state === "done") return null;
  return parts.section(
    "Waits for",
    parts.table(
      "What it waits for",
      [
        ["For", "wide"],
        ["Since", "narrow"],
        ["Until", "narrow"],
        ["What", "narrow"],
      ],
      told.waits.slice(0, WAITS).map((each, place) => ({
        key: `wait ${place} ${each.name}`,
        cells: [
          [
            parts.name(plain(each.name)),
            " ",
            became(each),
            each.missing && each.missing.length
              ? h("p", {}, "missing: ", parts.name(plain(each.missing.join(", "))))
              : null,
          ],
          parts.when(each.since),
          each.until
            ? parts.when(each.until)
            : h("span", { class: "quiet" }, "as long as it takes"),
          WHAT[each.what] || `a ${kindWord(each.what)}`,
        ],
      })),
      told.state === "parked" ? "It stands still." : "For nothing: it is about to go on.",
    ),
    told.waits.length > WAITS
      ? h("p", { class: "quiet" }, `and for ${number(told.waits.length - WAITS)} more`)
      : null,
  );
}

export function waitsInShort(list) {
  const [first] = list;
  return [
    parts.name(plain(first.name)),
    h(
      "span",
      { class: "quiet" },
      " since ",
      parts.when(first.since),
      first.until ? [", until ", parts.when(first.until)] : null,
      list.length > 1 ? `, and ${list.length - 1} more` : null,
    ),
  ];
}

function became(thing) {
  const address = placeOf(thing);
  if (!address) return null;
  const told = thing.job
    ? `job ${thing.job}`
    : thing.run
      ? `run ${thing.run}`
      : [`workflow `, h("bdi", {}, plain(thing.workflow))];
  return h("a", { href: address }, told);
}

export function started(told) {
  const list = (title, items, link) =>
    items.length
      ? parts.section(
          title,
          h(
            "p",
            { class: "links" },
            items.slice(0, LINKS).map((each) => [link(each), " "]),
            items.length > LINKS
              ? h("span", { class: "quiet" }, `and ${number(items.length - LINKS)} more`)
              : null,
          ),
        )
      : null;
  return [
    list("Jobs that it started", told.jobs, (id) => parts.jobLink(id, `job ${id}`)),
    list("Runs that it started", told.runs, (id) => parts.link("runs", id, `#${id}`)),
    list("Workflows that it started", told.children, (name) =>
      parts.link("workflows", name, parts.name(name)),
    ),
  ];
}

export function moments(history) {
  return h(
    "details",
    { class: "moments" },
    h("summary", {}, "The same as a table"),
    parts.table(
      "History",
      [
        ["Event", "narrow number"],
        ["When", "narrow"],
        ["What", "narrow"],
        ["Name", ""],
        ["With", "wide"],
        ["By", ""],
      ],
      history.map((each) => ({
        key: `moment ${each.n} ${each.what} ${each.seq ?? ""}`,
        cells: [
          each.what === "asked" ? "" : each.n,
          h("time", { datetime: each.at, title: exactly(each.at) }, clock(each.at)),
          what(each),
          [each.name ? parts.name(plain(each.name)) : null, " ", became(each)],
          [
            each.until ? ["until ", parts.when(each.until), " "] : null,
            each.payload === null ? null : payload(each.payload),
          ],
          each.by ? requester(each.by) : null,
        ],
      })),
      "Nothing has reached it yet.",
    ),
  );
}

function clock(moment) {
  return new Date(moment).toLocaleString("en-GB", {
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
}

function what(moment) {
  const number = moment.seq === null ? "" : ` ${moment.seq}`;
  if (moment.what === "asked") return `asked for ${kindWord(moment.kind)}${number}`;
  const [sign, tone] = markOf(moment.what) || [];
  if (sign) return h("span", { class: tone }, parts.sign(sign, tone), moment.what);
  return `${moment.what}${number}`;
}

function payload(value) {
  const text = json(value);
  if (text.length <= SHORT) return h("code", { class: "payload" }, h("bdi", {}, text));
  return h(
    "details",
    {},
    h(
      "summary",
      {},
      h("code", { class: "payload" }, h("bdi", {}, `${text.slice(0, SHORT)}…`)),
    ),
    h("code", { class: "payload" }, h("bdi", {}, text)),
  );
}

export function payloads(told) {
  const returned = json(told.value, true);
  const value = told.value === null ? null : long("What it returned", returned);
  return parts.section(
    "Given and returned",
    long("What it was given", json(told.arguments, true)),
    value,
    h(
      "p",
      {},
      h(
        "a",
        { href: `/api/v1/workflows/${part(told.id)}/export` },
        "Its whole history as JSON",
      ),
      h("span", { class: "quiet" }, ", for the test kit to replay"),
    ),
  );
}

// A text that may be long: all of it can be scrolled through, up to a bound.
function long(title, text) {
  const shown = plain(text.slice(0, LONGEST));
  return h(
    "div",
    { class: "long", "data-key": `long ${title}` },
    h("h3", {}, title),
    h(
      "pre",
      { class: "whole", tabindex: "0", role: "region", "aria-label": title },
      h("bdi", {}, shown),
    ),
    text.length > LONGEST
      ? h(
          "p",
          { class: "quiet" },
          `${count(text.length - LONGEST, "character")} more: the answer of the interface has all.`,
        )
      : null,
  );
}
