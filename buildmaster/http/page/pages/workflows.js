// The list of workflows, and one: what it waits for, or why it does not go on, what it
// started, and its history.

import { StoryView } from "/page/draw/storyview.js";
import { changed, chosen, href, part, queryOf } from "/page/farm/address.js";
import { may } from "/page/farm/me.js";
import * as acts from "/page/farm/workflows.js";
import { h, keep } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import * as shown from "/page/show/workflow.js";
import { count } from "/page/show/words.js";

const STATES = [
  ["", "all"],
  ["open", "under way"],
  ["parked", "parked"],
  ["done", "done"],
];
const RESULTS = [
  ["", "all"],
  ["success", "success"],
  ["failure,timeout", "failed"],
  ["cancelled", "cancelled"],
];
const MOMENTS = 200; // events of a page of history
const BEYOND = 2 ** 31 - 1; // after the last event there can be

export function create(at, page) {
  return at.id ? one(at, page) : list(at);
}

function list(at) {
  const filters = chosen(
    at.query,
    "state",
    "result",
    "name",
    "workflow_class",
    "owner",
    "after",
  );
  const go = (query) => {
    location.hash = changed(at, query);
  };
  return {
    asks: () => ({ workflows: `/api/v1/workflows${queryOf({ limit: 100, ...filters })}` }),
    follows: () => "/api/v1/workflows",
    title: () => "Workflows",
    draw: ({ workflows }) => [
      h("h1", {}, "Workflows"),
      h(
        "div",
        { class: "filters", role: "search" },
        parts.choice("State", STATES, at.query.state, (state) => go({ state })),
        parts.choice("Result", RESULTS, at.query.result, (result) => go({ result })),
        parts.field("Name", at.query.name || "", (name) => go({ name }), {
          "data-search": true,
        }),
        parts.field("Class", at.query.workflow_class || "", (word) =>
          go({ workflow_class: word }),
        ),
        parts.field("Owner", at.query.owner || "", (owner) => go({ owner })),
      ),
      workflows ? table(workflows) : h("p", { class: "empty" }, "Reading …"),
      workflows ? parts.older(workflows, at) : null,
    ],
  };
}

function table(page) {
  return parts.table(
    "Workflows",
    [
      ["Workflow", ""],
      ["State", "narrow"],
      ["Class", ""],
      ["Waits for, or why it ended", "wide"],
      ["Owner", ""],
      ["Began", "narrow"],
      ["Took", "narrow number"],
    ],
    page.workflows.map((each) => ({
      key: `workflow ${each.id}`,
      tone: each.state === "parked" ? "red" : "",
      cells: [
        h("a", { href: href("workflows", each.id) }, parts.name(each.name)),
        shown.state(each),
        parts.name(each.workflow_class),
        each.waits.length ? shown.waitsInShort(each.waits) : parts.name(each.reason),
        parts.name(each.owner),
        parts.when(each.created_at),
        parts.took(each.created_at, each.finished_at),
      ],
    })),
    "No workflow is like that.",
  );
}

function one(at, page) {
  const id = part(at.id);
  const view = new StoryView();
  const query = chosen(at.query, "generation");
  const from = at.query.from === undefined ? null : Math.max(0, Number(at.query.from) || 0);
  const history = (more) =>
    `/api/v1/workflows/${id}/history${queryOf({ ...query, ...more })}`;
  let asked = null; // the address of the history that is shown
  let drawn = null;
  let drawnFor = null;
  let compared = null;

  const isLast = (workflow) =>
    !query.generation || Number(query.generation) === workflow.generation;

  // The end of the history, unless another page of it is meant; in steps of half a page, so
  // that not each event is another address.
  function wanted(workflow) {
    let begin = from ?? 0;
    if (from === null && workflow && isLast(workflow) && workflow.events > MOMENTS)
      begin = (Math.floor((2 * workflow.events) / MOMENTS) - 1) * (MOMENTS / 2);
    return history({ after: begin ? begin - 1 : null, limit: MOMENTS });
  }

  return {
    // Of a history no events tell. So what is followed is whether there is more of it:
    // a page of nothing, with the state, and the number of events.
    snapshot: "moves",
    isRenewed: true,
    asks() {
      asked = wanted(page.documents.workflow);
      return {
        workflow: `/api/v1/workflows/${id}`,
        history: asked,
        moves: history({ after: BEYOND, limit: 1 }),
      };
    },
    follows: () => history({ after: BEYOND, limit: 1 }),
    title: (documents) => {
      const told = documents && documents.workflow;
      return told ? `${told.result || told.state}: ${told.name}` : `Workflow ${at.id}`;
    },
    close: () => view.close(),
    draw(documents) {
      const told = documents.workflow;
      if (!told)
        return [
          h("h1", {}, "Workflow ", parts.name(at.id)),
          h("p", { class: "empty" }, "Reading …"),
        ];
      const { moves } = documents;
      if (moves && moves !== compared) {
        compared = moves;
        if (moves.changed_at !== told.changed_at) page.again();
      }
      if (documents.history && wanted(told) !== asked) page.again();
      if (documents.history && (documents.history !== drawn || told !== drawnFor)) {
        drawn = documents.history;
        drawnFor = told;
        view.show(drawn.history, told, isLast(told) && drawn.next === null);
      }
      return [
        shown.head(told),
        shown.verdict(told),
        actions(told, page),
        shown.about(told),
        shown.waits(told),
        documents.history && documents.history.removed_at
          ? h(
              "p",
              { class: "quiet" },
              "Its history was removed ",
              parts.when(documents.history.removed_at),
              ": it had ended long before.",
            )
          : null,
        documents.history && documents.history.history.length
          ? parts.section(
              "Timeline",
              generations(told, at),
              keep(view.root),
              shown.moments(documents.history.history),
              leaves(documents.history, told, at),
            )
          : null,
        shown.started(told),
        shown.payloads(told),
      ];
    },
  };
}

function generations(told, at) {
  if (told.generation < 2) return null;
  const least = Math.max(1, told.generation - 99);
  const options = [];
  for (let each = told.generation; each >= least; each -= 1)
    options.push([each === told.generation ? "" : String(each), `${each}`]);
  return h(
    "div",
    { class: "filters" },
    parts.choice("Generation", options, at.query.generation, (generation) => {
      location.hash = changed(at, { generation, from: null });
    }),
  );
}

// To other pages of a long history.
function leaves(history, told, at) {
  const first = Math.min(...history.history.map((each) => each.n));
  const links = [];
  const to = (word, from) =>
    links.push(
      h("a", { href: changed(at, { from }), "data-key": `leaf ${word}` }, word),
      " ",
    );
  if (first > 0) to("Earlier", Math.max(0, first - MOMENTS));
  if (history.next !== null) to("Later", history.next + 1);
  if (!links.length) return null;
  return h(
    "p",
    { class: "more" },
    links,
    h("span", { class: "quiet" }, count(told.events, "event")),
  );
}

function actions(told, page) {
  const then = (act) => async () => {
    if ((await act()) !== null) page.again();
  };
  const buttons = [
    told.state !== "done" && may("submit")
      ? parts.button(
          "Send a signal",
          then(() => acts.signal(told.id, told.name)),
          { id: "signal" },
        )
      : null,
    told.state !== "done" && may("cancel")
      ? parts.button(
          "Cancel",
          then(() => acts.cancelWorkflow(told.id, told.name)),
          { id: "cancel" },
        )
      : null,
  ].filter(Boolean);
  return buttons.length ? h("div", { class: "actions" }, buttons) : null;
}
