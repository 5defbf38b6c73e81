// A workflow's history on the screen: a row for each thing that it asked for or waits for,
// above them what reached it.

import { ticks } from "/page/draw/lanes.js";
import { scaleOf, storyOf } from "/page/draw/story.js";
import { become, h, svg } from "/page/show/dom.js";
import { button } from "/page/show/parts.js";
import { plain } from "/page/show/plain.js";
import { span } from "/page/show/words.js";

const HIGH = 20; // px of a row
const TOP = 42; // the axis, and what reached it
const NARROW = 560; // px below which names take less room

export class StoryView {
  #frame = null;
  #timer = null;
  #at = null; // key of what the keyboard is at
  #story = null;
  #given = null;
  #width = 0;
  #isByClock = false;

  constructor() {
    this.drawing = svg("svg", { role: "group", "aria-label": "Timeline of the history" });
    this.box = h("div", { class: "story-box" }, this.drawing);
    this.told = h(
      "p",
      { class: "quiet story-told" },
      "Arrow keys go from one thing to the next, Enter opens it. The same follows as a table.",
    );
    this.scale = button("By the clock", () => this.#turn(), {
      class: "plain",
      "aria-pressed": "false",
    });
    this.root = h(
      "div",
      { class: "story" },
      h("div", { class: "buttons" }, this.scale),
      this.box,
      this.told,
    );
    this.box.addEventListener("keydown", (event) => this.#key(event));
    this.box.addEventListener("focusin", (event) => this.#tell(event.target));
    this.box.addEventListener("pointerover", (event) => this.#tell(event.target));
    this.resized = new ResizeObserver(() => this.#soon());
    this.resized.observe(this.box);
    this.#timer = setInterval(() => {
      if (!document.hidden && this.#story && this.#story.rows.some((each) => each.isOpen))
        this.#soon();
    }, 5000); // what is open grows
  }

  close() {
    clearInterval(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.resized.disconnect();
  }

  // `isNewest`: the page is the end of the last generation.
  show(moments, workflow, isNewest) {
    this.#given = [moments, workflow, isNewest];
    this.#soon();
  }

  #turn() {
    this.#isByClock = !this.#isByClock;
    this.scale.setAttribute("aria-pressed", String(this.#isByClock));
    this.#soon();
  }

  #soon() {
    if (this.#frame !== null) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw() {
    if (!this.#given || !this.box.clientWidth) return;
    const story = storyOf(...this.#given, Date.now());
    this.#story = story;
    const width = Math.max(280, this.box.clientWidth - 2);
    this.#width = width;
    const left = width < NARROW ? 112 : 220;
    const room = width - left - 12;
    const scale = scaleOf(story, this.#isByClock);
    const x = (time) => left + scale.place(time) * room;
    const height = TOP + story.lanes.length * HIGH + 6;
    for (const [name, value] of [
      ["width", width],
      ["height", height],
      ["viewBox", `0 0 ${width} ${height}`],
    ])
      this.drawing.setAttribute(name, value);
    const items = this.#items();
    if (!items.some((each) => each.key === this.#at))
      this.#at = items.length ? items[0].key : null;
    become(
      this.drawing,
      this.#axis(story, scale, x, room, height),
      story.marks.map((each) => this.#mark(each, x(each.at))),
      story.lanes.map((lane, place) => this.#lane(lane, TOP + place * HIGH, left, x)),
    );
  }

  #items() {
    const items = [...this.#story.marks, ...this.#story.rows];
    return items.sort((one, other) => (one.at ?? one.from) - (other.at ?? other.from));
  }

  // Times at round places by the clock; step by step, at as many steps as have room.
  #axis(story, scale, x, room, height) {
    let times;
    if (scale.steps) {
      const every = Math.max(1, Math.ceil((scale.steps.length * 96) / Math.max(1, room)));
      times = scale.steps.filter((_, place) => place % every === 0);
    } else
      times = ticks(story.from * 1000, story.to * 1000, room / 96).marks.map(
        (each) => each / 1000,
      );
    const isLong = story.to - story.from > 20 * 3600e3;
    const isShort = story.to - story.from < 30e3;
    return times.map((time, place) =>
      svg(
        "g",
        { class: "tick", "data-key": `tick ${place}`, "aria-hidden": "true" },
        svg("path", { d: `M${round(x(time))} 18V${height}` }),
        room - (x(time) - x(story.from)) > 48
          ? svg("text", { x: round(x(time)) + 3, y: 12 }, clock(time, isLong, isShort))
          : null,
      ),
    );
  }

  #mark(mark, at) {
    const words = markWords(mark);
    return svg(
      "g",
      {
        class: `mark ${mark.tone}`,
        role: "img",
        "aria-label": words,
        "data-key": mark.key,
        tabindex: mark.key === this.#at ? "0" : "-1",
      },
      svg("title", {}, words),
      svg("rect", { class: "hit", x: round(at) - 8, y: 18, width: 16, height: 20 }),
      svg("text", { x: round(at), y: 33, "text-anchor": "middle" }, mark.sign),
    );
  }

  #lane(lane, top, left, x) {
    const last = lane.rows[lane.rows.length - 1];
    const many = lane.rows.length > 1 ? ` ×${lane.rows.length}` : "";
    const letters = Math.floor((left - 26) / 6.4) - many.length;
    return svg(
      "g",
      { "data-key": lane.key },
      svg(
        "text",
        { class: `sign ${last.tone}`, x: 4, y: top + 14, "aria-hidden": "true" },
        last.sign,
      ),
      svg(
        "text",
        {
          class: `name${last.href ? " to" : ""}`,
          x: 20,
          y: top + 14,
          "aria-hidden": "true",
        },
        cut(plain(lane.name), letters) + many,
      ),
      lane.rows.map((each) => this.#row(each, top, x(each.from), x(each.to), !many)),
    );
  }

  // With `isAlone` the whole lane is the row's, its name too.
  #row(row, top, from, to, isAlone) {
    const words = rowWords(row);
    const wide = Math.max(3, to - from - (isAlone ? 0 : 1));
    const tall = row.isDropped ? 2 : HIGH - 8;
    const hit = isAlone
      ? { x: 0, width: this.#width }
      : { x: round(from) - 1, width: round(wide) + 2 };
    return svg(
      row.href ? "a" : "g",
      {
        class: `row ${row.tone}`,
        ...(row.href ? { href: row.href } : { role: "img" }),
        "aria-label": words,
        "data-key": row.key,
        tabindex: row.key === this.#at ? "0" : "-1",
      },
      svg("title", {}, words),
      svg("rect", { class: "hit", ...hit, y: top, height: HIGH }),
      svg("rect", {
        class: `bar${row.isOpen ? " open" : ""}`,
        x: round(from),
        y: top + (HIGH - tall) / 2,
        width: round(wide),
        height: tall,
        rx: tall > 4 ? 2 : 0,
      }),
    );
  }

  #tell(target) {
    const found = target.closest && target.closest("[data-key]");
    const key = found && found.getAttribute("data-key");
    const item = this.#story && this.#items().find((each) => each.key === key);
    if (!item) return;
    const told = item.word && item.from !== undefined ? rowWords(item) : markWords(item);
    if (this.told.textContent !== told) this.told.textContent = told;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#story) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const items = this.#items();
    const isEdge = event.key === "Home" || event.key === "End";
    if ((step === undefined && !isEdge) || !items.length) return;
    event.preventDefault();
    const here = items.findIndex((each) => each.key === this.#at);
    const wanted =
      event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : here + step;
    const next = items[Math.max(0, Math.min(items.length - 1, wanted))];
    const all = [...this.drawing.querySelectorAll("[tabindex]")];
    const named = (key) => all.find((each) => each.getAttribute("data-key") === key);
    named(this.#at)?.setAttribute("tabindex", "-1");
    this.#at = next.key;
    const element = named(next.key);
    element.setAttribute("tabindex", "0");
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }
}

const round = (value) => Math.round(value * 10) / 10;
const exact = (time) => new Date(time).toLocaleString("en-GB");

function markWords(mark) {
  const name = mark.name ? ` ${plain(mark.name)}` : "";
  return `${exact(mark.at)}: ${mark.word}${name}${mark.by ? `, by ${plain(mark.by)}` : ""}`;
}

function rowWords(row) {
  const until = row.until ? `, until ${exact(row.until)} at most` : "";
  const length = span((row.to - row.from) / 1000);
  const took = row.isOpen ? `for ${length} now${until}` : `after ${length}`;
  const what = `${plain(row.name)} (${row.kind}): asked ${exact(row.from)}, ${row.word}`;
  return row.isDropped ? what : `${what} ${took}`;
}

function clock(time, isLong, isShort) {
  const options = isLong
    ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }
    : { hour: "2-digit", minute: "2-digit", second: isShort ? "2-digit" : undefined };
  return new Date(time).toLocaleString("en-GB", options);
}

function cut(text, longest) {
  const letters = [...text];
  return letters.length > longest ? `${letters.slice(0, longest - 1).join("")}…` : text;
}
