// A log on the screen: only the lines that can be seen are elements, and all of it is text.

import { LogStream } from "/page/log/stream.js";
import { Lines } from "/page/log/lines.js";
import { show as showDialog } from "/page/show/dialog.js";
import { become, h } from "/page/show/dom.js";
import { button } from "/page/show/parts.js";
import { count, number, size } from "/page/show/words.js";

const HEIGHT = 18; // px of a line
const BEYOND = 20; // lines before and after what can be seen
const CUT = 2000; // characters of a line that are shown in place
const OPENED = 200_000; // characters of a line that are shown on demand
const TYPED = 150; // ms after which a search begins

export class LogView {
  #frame = null;
  #found = [];
  #hit = -1;
  #searched = "";
  #timer = null;
  placed = 0; // where following has scrolled to
  #marked = null; // [first, last] line of the address
  #goTo = null; // a line that is to be shown as soon as it is there
  #notes = { stream: "", left: "" };

  // `address(lines)` is where the link of a line, or of lines "L3-L9", leads.
  // `rule`, if given, is called with the text of a marked line that should become a rule.
  constructor({ address, raw, rule = null }) {
    this.address = address;
    this.rule = rule;
    this.toRule = button("Rule …", () => this.rule(this.model.line(this.#marked[0]).text), {
      class: "plain",
      hidden: true,
      title: "Make a rule of the marked line, for failures like this",
    });
    this.model = new Lines([]);
    this.isFollowing = true;
    this.search = h("input", {
      type: "search",
      "data-search": true,
      "aria-label": "Search in the log",
      placeholder: "Search",
      autocomplete: "off",
      spellcheck: "false",
      on: { input: () => this.#searchSoon() },
    });
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        this.#searchNow();
        this.step(event.shiftKey ? -1 : 1);
      }
    });
    this.hits = h("span", { class: "quiet", role: "status", "aria-label": "Lines found" });
    this.follow = button("Follow", () => this.setFollowing(!this.isFollowing), {
      class: "plain",
      "aria-pressed": "true",
    });
    this.state = h(
      "span",
      { class: "quiet", role: "status", "aria-label": "State of the log" },
      "reading …",
    );
    this.folds = h("select", {
      "aria-label": "Go to a pipeline job",
      on: { change: (event) => this.#jump(event.target) },
    });
    this.raw = h("a", { href: raw, download: "" }, "Download");
    this.bar = h(
      "div",
      { class: "log-bar" },
      this.search,
      this.hits,
      button("↑", () => this.step(-1), {
        class: "plain",
        "aria-label": "The hit before",
        title: "N",
      }),
      button("↓", () => this.step(1), {
        class: "plain",
        "aria-label": "Next hit",
        title: "n",
      }),
      this.folds,
      this.toRule,
      h("span", { class: "stretch" }),
      this.state,
      this.follow,
      this.raw,
    );
    this.lines = h("div", { class: "log-lines" });
    this.box = h(
      "div",
      { class: "log", tabindex: "0", role: "region", "aria-label": "Log" },
      this.lines,
    );
    this.root = h("div", { class: "log-view" }, this.bar, this.box);
    this.box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.lines.addEventListener("click", (event) => this.#clicked(event));
    this.resized = new ResizeObserver(() => this.soon());
    this.resized.observe(this.box);
    this.keys = {
      n: ["next hit in the log", () => this.step(1)],
      N: ["the hit before", () => this.step(-1)],
      f: ["follow the log, or not", () => this.setFollowing(!this.isFollowing)],
      e: ["fold or unfold all pipeline jobs", () => this.foldAll()],
    };
  }

  // Read a log: `path` with its query, `titles` of the pipeline jobs that it can have,
  // `length` in bytes if it has ended.
  read(path, titles, length = null) {
    if (this.path === path) return;
    if (this.stream) this.stream.stop();
    this.path = path;
    // One that is over is read from its beginning.
    this.setFollowing(length === null && this.#marked === null);
    this.model = new Lines(titles);
    this.stream = new LogStream(path, length, {
      text: (text) => {
        this.model.add(text);
        this.#changed();
      },
      note: (note) => {
        this.#notes.stream = note;
        this.#say();
      },
      left: (bytes) => {
        this.#notes.left = `the first ${size(bytes)} are left out; lines are counted from there`;
        this.#say();
      },
      end: () => {
        this.model.end();
        this.#changed();
      },
    });
    this.stream.start();
  }

  close() {
    if (this.stream) this.stream.stop();
    this.resized.disconnect();
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
  }

  // Mark the lines that the address names, and go there.
  mark(text) {
    const found = /^L([0-9]{1,9})(?:-L?([0-9]{1,9}))?$/.exec(text || "");
    this.#marked = found
      ? [Number(found[1]), Number(found[2] || found[1])].sort((one, other) => one - other)
      : null;
    if (this.#marked) {
      this.#goTo = this.#marked[0];
      this.setFollowing(false);
    }
    this.soon();
  }

  setFollowing(isFollowing) {
    this.isFollowing = isFollowing;
    this.follow.setAttribute("aria-pressed", isFollowing);
    this.soon();
  }

  foldAll() {
    const isFolded = this.model.folded.size < this.model.sections.length;
    for (const each of this.model.sections) this.model.fold(each.title, isFolded);
    this.#changed();
  }

  // Go to the next place where the text was found.
  step(by) {
    if (!this.#found.length) return;
    if (this.#hit < 0) {
      const top = this.model.shown[Math.floor(this.box.scrollTop / HEIGHT)] || 0;
      const first = this.#found.findIndex((line) => line >= top);
      this.#hit =
        by > 0 ? Math.max(0, first) : (first <= 0 ? this.#found.length : first) - 1;
    } else this.#hit = (this.#hit + by + this.#found.length) % this.#found.length;
    const line = this.#found[this.#hit];
    const section = this.model.sectionOf(line);
    if (section) this.model.fold(section.title, false);
    this.setFollowing(false);
    this.#goTo = line; // as soon as what was folded has its room again
    this.#count();
  }

  #searchSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#searchNow(), TYPED);
  }

  #searchNow() {
    clearTimeout(this.#timer);
    if (this.#searched === this.search.value) return;
    this.#searched = this.search.value;
    this.#hit = -1;
    this.#found = this.model.find(this.#searched);
    this.#count();
    this.soon();
    if (this.#found.length) this.step(1);
  }

  #count() {
    const told = !this.#searched
      ? ""
      : !this.#found.length
        ? "no line"
        : this.#hit < 0
          ? count(this.#found.length, "line")
          : `${number(this.#hit + 1)} of ${number(this.#found.length)}`;
    if (this.hits.textContent !== told) this.hits.textContent = told;
  }

  #say() {
    const told = [this.#notes.left, this.#notes.stream].filter(Boolean).join("; ");
    if (this.state.textContent !== told) this.state.textContent = told;
  }

  #changed() {
    this.follow.hidden = this.model.isOver;
    if (this.#searched) {
      this.#found = this.model.find(this.#searched);
      this.#count();
    }
    const sections = this.model.sections;
    if (this.folds.options.length !== sections.length + 2) {
      become(
        this.folds,
        h("option", { value: "" }, sections.length ? "Pipeline jobs" : "No pipeline jobs"),
        h("option", { value: "all" }, "fold or unfold all"),
        sections.map((each) => h("option", { value: each.title }, each.title)),
      );
      this.folds.hidden = !sections.length;
    }
    this.soon();
  }

  #jump(select) {
    if (select.value === "all") this.foldAll();
    else {
      const section = this.model.sections.find((each) => each.title === select.value);
      if (section) {
        this.setFollowing(false);
        this.#show(section.line);
      }
    }
    select.value = "";
    this.box.focus({ preventScroll: true });
  }

  #show(line) {
    const place = this.model.shown.indexOf(line);
    if (place < 0) return;
    this.#goTo = null;
    this.box.scrollTop = Math.max(0, place * HEIGHT - this.box.clientHeight / 3);
    this.soon();
  }

  #scrolled() {
    const farthest = this.box.scrollHeight - this.box.clientHeight;
    const top = this.box.scrollTop;
    // Whoever scrolls up wants to read; whoever comes back to the end, to follow.
    if (!this.model.isOver) {
      if (this.isFollowing && top < Math.min(this.placed, farthest) - HEIGHT)
        this.setFollowing(false);
      else if (!this.isFollowing && farthest - top < HEIGHT / 2) this.setFollowing(true);
    }
    this.soon();
  }

  soon() {
    if (this.#frame === null)
      this.#frame = requestAnimationFrame(() => {
        this.#frame = null;
        this.#render();
      });
  }

  #render() {
    const shown = this.model.shown;
    const rest = this.model.rest;
    const all = shown.length + (rest ? 1 : 0);
    const height = `${all * HEIGHT}px`;
    if (this.lines.style.height !== height) this.lines.style.height = height;
    this.toRule.hidden = !this.rule || !this.#marked || !this.model.line(this.#marked[0]);
    if (this.#goTo !== null && this.model.last >= this.#goTo) this.#show(this.#goTo);
    if (this.#goTo !== null && this.model.isOver) this.#goTo = null; // it is not there at all
    if (this.isFollowing && !this.model.isOver) {
      this.box.scrollTop = all * HEIGHT;
      this.placed = this.box.scrollTop;
    }
    const first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - BEYOND);
    const last = Math.min(
      all,
      Math.ceil((this.box.scrollTop + this.box.clientHeight) / HEIGHT) + BEYOND,
    );
    const wanted = [];
    for (let place = first; place < last; place += 1) {
      const no = place < shown.length ? shown[place] : this.model.last + 1;
      wanted.push(this.#line(place < shown.length ? this.model.line(no) : rest, no, place));
    }
    become(this.lines, wanted);
    for (const element of this.lines.children) {
      element.style.top = `${Number(element.dataset.place) * HEIGHT}px`;
      for (const piece of element.querySelectorAll("[data-fg], [data-bg]")) {
        piece.style.color = piece.dataset.fg || "";
        piece.style.backgroundColor = piece.dataset.bg || "";
      }
    }
  }

  #line(line, no, place) {
    const isMarked = this.#marked && no >= this.#marked[0] && no <= this.#marked[1];
    const isHit = this.#hit >= 0 && this.#found[this.#hit] === no;
    const section = this.model.sections.find((each) => each.line === no);
    const more = line.text.length - CUT;
    return h(
      "div",
      {
        class: `line${isMarked ? " marked" : ""}${isHit ? " hit" : ""}`,
        "data-key": `line ${no}`,
        "data-place": place,
      },
      h(
        "a",
        {
          class: "no",
          href: this.address(`L${no}`),
          "data-no": no,
          tabindex: "-1",
          "aria-label": `Line ${no}`,
        },
        no,
      ),
      section ? this.#foldButton(section) : null,
      h("bdi", { class: "text", dir: "ltr" }, this.#pieces(line)),
      more > 0
        ? button(`show ${number(more)} more characters`, () => this.#open(line, no), {
            class: "plain more",
          })
        : null,
    );
  }

  #foldButton(section) {
    const isFolded = this.model.folded.has(section.title);
    return button(
      isFolded ? "▸" : "▾",
      () => {
        this.model.fold(section.title, !isFolded);
        this.#changed();
      },
      {
        class: "fold",
        "aria-expanded": String(!isFolded),
        "aria-label": `Log of ${section.title}`,
      },
    );
  }

  #open(line, no) {
    const told =
      line.text.length > OPENED
        ? `The first ${number(OPENED)} of ${number(line.text.length)} characters; the download has all.`
        : "";
    showDialog(
      `Line ${number(no)}`,
      told ? h("p", { class: "quiet" }, told) : null,
      h("pre", { class: "whole", tabindex: "0" }, h("bdi", {}, line.text.slice(0, OPENED))),
    );
  }

  #pieces(line) {
    const text = line.text.slice(0, CUT);
    const cuts = [];
    const spans = line.spans.filter(([start]) => start < text.length);
    if (!spans.length || spans[0][0] > 0)
      cuts.push([0, spans.length ? spans[0][0] : text.length, null]);
    spans.forEach(([start, style], place) =>
      cuts.push([
        start,
        place + 1 < spans.length ? spans[place + 1][0] : text.length,
        style,
      ]),
    );
    return cuts
      .filter(([start, end]) => end > start)
      .map(([start, end, style]) => {
        const inner = this.#hits(text.slice(start, end));
        return style && Object.keys(style).length ? h("span", look(style), inner) : inner;
      });
  }

  #hits(text) {
    const wanted = this.#searched.toLowerCase();
    if (!wanted) return text;
    const lower = text.toLowerCase();
    if (lower.length !== text.length) return text; // letters whose small ones are longer
    const pieces = [];
    let at = 0;
    for (
      let next = lower.indexOf(wanted);
      next >= 0 && pieces.length < 400;
      next = lower.indexOf(wanted, at)
    ) {
      pieces.push(
        text.slice(at, next),
        h("mark", {}, text.slice(next, next + wanted.length)),
      );
      at = next + wanted.length;
    }
    return [...pieces, text.slice(at)];
  }

  #clicked(event) {
    const link = event.target.closest("a.no");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const no = Number(link.dataset.no);
    const from = event.shiftKey && this.#marked ? this.#marked[0] : no;
    const range = from === no ? `L${no}` : `L${Math.min(from, no)}-L${Math.max(from, no)}`;
    location.hash = this.address(range);
  }
}

// Classes for the sixteen colours, which follow the reader's light or dark; others are
// exact.
function look(style) {
  const { fg, bg } = style.inverse
    ? { fg: style.bg ?? "ground", bg: style.fg ?? "text" }
    : style;
  const names = ["bold", "faint", "italic", "underline", "struck"].filter(
    (name) => style[name],
  );
  const isExact = (colour) => typeof colour === "string" && colour.startsWith("#");
  if (fg !== undefined && !isExact(fg)) names.push(`fg-${fg}`);
  if (bg !== undefined && !isExact(bg)) names.push(`bg-${bg}`);
  return {
    class: names.join(" "),
    "data-fg": isExact(fg) ? fg : null,
    "data-bg": isExact(bg) ? bg : null,
  };
}
