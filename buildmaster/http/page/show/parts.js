// The small parts that all pages are made of.

import { changed, href, kindOfPath } from "/page/farm/address.js";
import { h } from "/page/show/dom.js";
import { CLASSIFICATIONS, DUTIES, classWord, isBad, look } from "/page/show/states.js";
import * as words from "/page/show/words.js";

// Somebody else's text: no direction of writing within it reaches what stands around.
export function name(text, attributes = {}) {
  return h("bdi", { class: "name", title: text, ...attributes }, text);
}

export function sign(told, tone) {
  return h("span", { class: `sign ${tone}`, "aria-hidden": "true" }, told);
}

export function badge(state, result, classification = null) {
  const found = look(state, result);
  return h(
    "span",
    { class: `badge ${found.tone}${classification ? " known" : ""}` },
    sign(found.sign, found.tone),
    found.word,
    classification ? tag(classification) : null,
  );
}

export function tag(classification) {
  const [letter] = CLASSIFICATIONS[classification] || ["?"];
  return h(
    "span",
    { class: "tag", title: classWord(classification) },
    letter,
    h("span", { class: "unseen" }, ` ${classWord(classification)}`),
  );
}

export function duty(word) {
  const [mark, tone] = DUTIES[word] || ["?", "void"];
  return h("span", { class: `badge ${tone}` }, sign(mark, tone), word);
}

// A moment, as the time since or until then; the clock keeps it true.
export function when(moment, attributes = {}) {
  if (!moment) return null;
  return h(
    "time",
    { datetime: moment, title: words.exactly(moment), "data-tick": "ago", ...attributes },
    words.ago(moment),
  );
}

// How long something took, or has taken until now.
export function took(from, to) {
  if (!from) return null;
  const told = words.span(words.secondsBetween(from, to));
  if (to) return h("span", { class: "number" }, told);
  return h("span", { class: "number", "data-tick": "took", "data-from": from }, told);
}

export function link(kind, id, ...children) {
  return h(
    "a",
    { href: href(kind, id), "data-key": `${kind}/${id}` },
    children.length ? children : h("bdi", {}, id),
  );
}

export const jobLink = (id, ...children) => link("jobs", id, ...children);

export function revision(thing) {
  if (!thing.source_digest) return null;
  return h("code", { title: thing.source_digest }, words.digest(thing.source_digest));
}

export function project(repository) {
  return repository ? name(words.project(repository), { title: repository }) : null;
}

// The title of a column that needs none for those who see it.
export const unseen = (title) => h("span", { class: "unseen" }, title);

// Rows under a head. A column is [title, class]; a row is {key, cells, tone}.
export function table(caption, columns, rows, nothing) {
  if (!rows.length) return h("p", { class: "empty" }, nothing);
  const head = columns.map(([title, kind]) =>
    h("th", { scope: "col", class: kind }, title),
  );
  const body = rows.map((row) =>
    h(
      "tr",
      { "data-key": row.key, class: row.tone, "data-row": true },
      row.cells.map((cell, place) => h("td", { class: columns[place][1] }, cell)),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, body),
    ),
  );
}

export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(
        ([, value]) =>
          value !== null &&
          value !== undefined &&
          value !== "" &&
          !(Array.isArray(value) && !value.length),
      )
      .map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value))),
  );
}

export function section(title, ...children) {
  const shown = children.flat(Infinity).filter(Boolean);
  return shown.length
    ? h("section", { "data-key": `section ${title}` }, h("h2", {}, title), shown)
    : null;
}

export function problem(error) {
  const status = error.status ? ` (${error.status})` : "";
  return h("p", { class: "error", role: "alert" }, `${error.message}${status}`);
}

export function button(text, act, attributes = {}) {
  return h("button", { type: "button", on: { click: act }, ...attributes }, text);
}

// A list of choices that writes the chosen one into the address.
export function choice(label, options, chosen, choose) {
  return h(
    "label",
    { class: "choice" },
    h("span", {}, label),
    h(
      "select",
      {
        on: { change: (event) => choose(event.target.value) },
      },
      options.map(([value, text]) =>
        h("option", { value, selected: value === (chosen || "") }, text),
      ),
    ),
  );
}

// A field that writes what was typed into the address once it is typed.
export function field(label, value, choose, attributes = {}) {
  return h(
    "label",
    { class: "choice" },
    h("span", {}, label),
    h("input", {
      type: "search",
      value,
      autocomplete: "off",
      spellcheck: "false",
      on: { change: (event) => choose(event.target.value.trim()) },
      ...attributes,
    }),
  );
}

// Where a link that somebody typed leads; null for what no browser should be sent to.
export function safeLink(text) {
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

export function outside(text) {
  const address = safeLink(text);
  if (!address) return name(text);
  return h(
    "a",
    { href: address, rel: "noopener noreferrer", target: "_blank" },
    h("bdi", {}, text),
  );
}

// A field for each filter that a list takes as a text; "/" leads to the first.
export function filters(names, at) {
  return h(
    "div",
    { class: "filters", role: "search" },
    names.map((filter, place) =>
      field(
        `${filter[0].toUpperCase()}${filter.slice(1)}`,
        at.query[filter] || "",
        (text) => {
          location.hash = changed(at, { [filter]: text });
        },
        place === 0 ? { "data-search": true } : {},
      ),
    ),
  );
}

export function older(page, at) {
  if (!page.next) return null;
  const next = typeof page.next === "string" && kindOfPath(page.next) ? null : page.next;
  return h(
    "p",
    { class: "more" },
    h(
      "a",
      { href: href(at.kind, null, { ...at.query, after: next }), "data-key": "older" },
      "Older ones",
    ),
  );
}

export { isBad, look };
