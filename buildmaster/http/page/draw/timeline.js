// The timeline on the screen: a canvas that shows what can be seen, links and labels beside
// it.

import { lanesOf, ticks } from "/page/draw/lanes.js";
import { href } from "/page/farm/address.js";
import { h } from "/page/show/dom.js";
import { button, table } from "/page/show/parts.js";
import { look } from "/page/show/states.js";
import { number, span } from "/page/show/words.js";

const LANE = 18; // px
const GAP = 6; // px between workers
const AXIS = 22;
const SHORTEST = 5e6; // microseconds that the view is wide, at least
const IN_TABLE = 300;

export class TimelineView {
  #frame = null;
  #timer = null;
  #chosen = null;
  #drag = null;
  #data = { workers: [], lanes: 0 };

  constructor() {
    this.canvas = h("canvas", {
      tabindex: "0",
      role: "img",
      "aria-label": "Timeline of workers",
    });
    this.labels = h("div", { class: "timeline-labels" });
    this.space = h("div", { class: "timeline-space" }, this.labels, this.canvas);
    this.root = h("div", { class: "timeline" }, this.space);
    this.told = h("p", { class: "timeline-told", role: "status" });
    this.table = h("details", {}, h("summary", {}, "The same as a table"));
    this.table.addEventListener("toggle", () => this.#fillTable());
    this.tools = h(
      "span",
      { class: "buttons" },
      button("−", () => this.zoom(2), { "aria-label": "Zoom out", title: "-" }),
      button("+", () => this.zoom(0.5), { "aria-label": "Zoom in", title: "+" }),
      button("Now", () => this.toNow(), { class: "plain" }),
    );
    this.canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    this.canvas.addEventListener("pointermove", (event) => this.#pointed(event));
    this.canvas.addEventListener("pointerup", (event) => this.#dropped(event));
    this.canvas.addEventListener("pointerleave", () => {
      this.#drag = null;
    });
    this.canvas.addEventListener("wheel", (event) => this.#wheel(event), {
      passive: false,
    });
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    this.root.addEventListener("scroll", () => this.soon(), { passive: true });
    this.resized = new ResizeObserver(() => this.soon());
    this.resized.observe(this.root);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.soon());
    this.#timer = setInterval(() => {
      if (!document.hidden) this.soon();
    }, 1000); // the line of now
  }

  close() {
    clearInterval(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.resized.disconnect();
  }

  show(timeline) {
    const isNew = this.from === undefined;
    this.since = Date.parse(timeline.since) * 1000;
    this.until = Date.parse(timeline.until) * 1000;
    this.#data = lanesOf(timeline);
    // The view goes with the time, unless somebody has moved it.
    if (isNew || this.isFollowing) {
      this.length = this.length || this.until - this.since;
      this.isFollowing = Math.abs(this.until - Date.now() * 1000) < 120e6;
      this.from = this.isFollowing ? Date.now() * 1000 - this.length * 0.97 : this.since;
    }
    this.canvas.setAttribute(
      "aria-label",
      `Timeline of ${number(timeline.workers.length)} workers with ${number(timeline.bars.length)}` +
        " attempts; arrow keys go from one to the next, Enter opens it. The same follows as a table.",
    );
    if (this.#chosen)
      this.#chosen = this.#find(this.#chosen.bar.job, this.#chosen.bar.attempt);
    this.#fillTable();
    this.soon();
  }

  zoom(by, around = this.from + this.length / 2) {
    const length = Math.max(SHORTEST, Math.min(14 * 86400e6, this.length * by));
    this.from = around - ((around - this.from) * length) / this.length;
    this.length = length;
    this.isFollowing = false;
    this.soon();
  }

  toNow() {
    this.isFollowing = true;
    this.from = Date.now() * 1000 - this.length * 0.97;
    this.soon();
  }

  soon() {
    if (this.#frame === null)
      this.#frame = requestAnimationFrame(() => {
        this.#frame = null;
        this.#draw();
      });
  }

  #colours() {
    const style = getComputedStyle(document.documentElement);
    const names = [
      "ground",
      "text",
      "quiet",
      "line",
      "raised",
      "good",
      "bad",
      "busy",
      "void",
      "accent",
    ];
    return Object.fromEntries(
      names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
    );
  }

  #draw() {
    if (this.from === undefined) return;
    if (this.isFollowing) this.from = Date.now() * 1000 - this.length * 0.97;
    const width = Math.max(100, this.root.clientWidth - this.labels.offsetWidth);
    const visible = this.root.clientHeight;
    const all = AXIS + this.#data.lanes * LANE + this.#data.workers.length * GAP;
    this.space.style.height = `${Math.max(visible, all)}px`;
    const ratio = window.devicePixelRatio || 1;
    if (
      this.canvas.width !== Math.round(width * ratio) ||
      this.canvas.height !== Math.round(visible * ratio)
    ) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(visible * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${visible}px`;
    }
    this.width = width;
    const pen = this.canvas.getContext("2d");
    const colours = this.#colours();
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, visible);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.#drawAxis(pen, colours, width, visible);
    const shown = [];
    pen.save();
    pen.beginPath();
    pen.rect(0, AXIS, width, visible - AXIS);
    pen.clip();
    this.#data.workers.forEach((worker, place) => {
      const top = this.#top(worker, place);
      const height = worker.lanes * LANE + GAP;
      if (top + height < 0 || top > visible) return;
      shown.push([worker, top, height]);
      pen.fillStyle = colours.line;
      pen.fillRect(0, top + height - GAP / 2, width, 1);
      for (const bar of worker.bars) this.#drawBar(pen, colours, bar, top);
    });
    const now = this.#x(Date.now() * 1000);
    pen.fillStyle = colours.accent;
    pen.fillRect(now, AXIS, 1.5, visible);
    pen.restore();
    this.#drawLabels(shown);
  }

  #top(worker, place) {
    return AXIS + worker.top * LANE + place * GAP - this.root.scrollTop;
  }

  #x(time) {
    return ((time - this.from) / this.length) * this.width;
  }

  #drawAxis(pen, colours, width, visible) {
    const { step, marks } = ticks(this.from, this.from + this.length, width / 90);
    const options =
      step < 60e6
        ? { hour: "2-digit", minute: "2-digit", second: "2-digit" }
        : step < 86400e6
          ? { hour: "2-digit", minute: "2-digit" }
          : { month: "short", day: "numeric" };
    for (const mark of marks) {
      const x = this.#x(mark);
      pen.fillStyle = colours.line;
      pen.fillRect(x, AXIS - 4, 1, visible);
      pen.fillStyle = colours.quiet;
      pen.fillText(
        new Date(mark / 1000).toLocaleTimeString("en-GB", options),
        Math.max(2, x + 3),
        AXIS / 2,
      );
    }
  }

  #drawBar(pen, colours, bar, top) {
    const left = this.#x(bar.started);
    const right = this.#x(bar.finished ?? Date.now() * 1000);
    if (right < 0 || left > this.width) return;
    const x = Math.max(-2, left);
    const w = Math.max(2, Math.min(this.width + 2, right) - x);
    const y = top + bar.lane * LANE + 1;
    const found = look(bar.state, bar.result);
    const isChosen = this.#chosen && this.#chosen.bar === bar;
    pen.globalAlpha = 0.16;
    pen.fillStyle = colours[found.tone] || colours.void;
    pen.fillRect(x, y, w, LANE - 3);
    pen.globalAlpha = 1;
    pen.fillRect(x, y, Math.min(3, w), LANE - 3);
    if (found.tone === "bad") pen.fillRect(x, y + LANE - 5, w, 2);
    if (isChosen) {
      pen.strokeStyle = colours.accent;
      pen.lineWidth = 2;
      pen.strokeRect(x, y, w, LANE - 3);
    }
    if (w < 26) return;
    pen.fillStyle = colours.text;
    pen.save();
    pen.beginPath();
    pen.rect(x, y, w - 3, LANE);
    pen.clip();
    // Isolated, so that no name turns what stands around.
    pen.fillText(
      `${found.sign} \u2068${bar.name.slice(0, 120)}\u2069`,
      Math.max(x, 0) + 6,
      y + LANE / 2 - 1,
    );
    pen.restore();
  }

  #drawLabels(shown) {
    const wanted = shown.map(([worker, top, height]) => {
      const label = h(
        "a",
        {
          href: href("workers", worker.name),
          title: `${worker.name}: ${worker.state}, ${worker.duty}`,
        },
        h(
          "span",
          { class: `sign ${look(worker.state).tone}`, "aria-hidden": "true" },
          look(worker.state).sign,
        ),
        h("bdi", { class: "name" }, worker.name),
      );
      label.style.top = `${top + this.root.scrollTop}px`;
      label.style.height = `${height - GAP}px`;
      return label;
    });
    const focused = this.labels.contains(document.activeElement)
      ? document.activeElement.getAttribute("href")
      : null;
    this.labels.replaceChildren(...wanted);
    if (focused)
      [...this.labels.children]
        .find((each) => each.getAttribute("href") === focused)
        ?.focus({ preventScroll: true });
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    const time = this.from + (x / this.width) * this.length;
    const slack = (4 / this.width) * this.length;
    for (const [place, worker] of this.#data.workers.entries()) {
      const top = this.#top(worker, place);
      if (y < top || y > top + worker.lanes * LANE) continue;
      const lane = Math.floor((y - top) / LANE);
      const bar = worker.bars.find(
        (each) =>
          each.lane === lane &&
          each.started - slack <= time &&
          (each.finished ?? Infinity) + slack >= time,
      );
      return bar ? { bar, worker } : null;
    }
    return null;
  }

  #find(job, attempt) {
    for (const worker of this.#data.workers) {
      const bar = worker.bars.find((each) => each.job === job && each.attempt === attempt);
      if (bar) return { bar, worker };
    }
    return null;
  }

  #choose(found) {
    if (found && this.#chosen && found.bar === this.#chosen.bar) return;
    this.#chosen = found;
    this.told.replaceChildren(...(found ? this.#words(found) : []));
    this.soon();
  }

  #words({ bar, worker }) {
    const found = look(bar.state, bar.result);
    const length = ((bar.finished ?? Date.now() * 1000) - bar.started) / 1e6;
    return [
      h(
        "span",
        { class: `badge ${found.tone}` },
        h("span", { class: "sign", "aria-hidden": "true" }, found.sign),
        found.word,
      ),
      " ",
      h("a", { href: href("jobs", bar.job) }, h("bdi", {}, bar.name)),
      h(
        "span",
        { class: "quiet" },
        ` job ${bar.job}, attempt ${bar.attempt} on `,
        h("bdi", {}, worker.name),
        `, ${bar.finished ? "took" : "runs for"} ${span(length)}, since ` +
          new Date(bar.started / 1000).toLocaleTimeString("en-GB"),
      ),
    ];
  }

  #grab(event) {
    this.#drag = { x: event.clientX, from: this.from, isMoved: false };
    if (event.pointerType === "mouse") this.canvas.setPointerCapture(event.pointerId);
  }

  #pointed(event) {
    if (this.#drag && event.buttons) {
      const moved = event.clientX - this.#drag.x;
      if (Math.abs(moved) > 4) {
        this.#drag.isMoved = true;
        this.isFollowing = false;
        this.from = this.#drag.from - (moved / this.width) * this.length;
        this.soon();
      }
      return;
    }
    const found = this.#at(event);
    this.canvas.classList.toggle("is-link", Boolean(found));
    if (found) this.#choose(found);
  }

  #dropped(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (drag && drag.isMoved) return;
    const found = this.#at(event);
    if (found) location.hash = href("jobs", found.bar.job);
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(
      event.deltaY > 0 || event.deltaX > 0 ? 1.25 : 0.8,
      this.from + ((event.clientX - box.left) / this.width) * this.length,
    );
  }

  // Arrow keys: left and right along a worker, up and down to the next one.
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "-") this.zoom(event.key === "+" ? 0.5 : 2);
    else if (event.key === "Enter" && this.#chosen)
      location.hash = href("jobs", this.#chosen.bar.job);
    else if (event.key.startsWith("Arrow")) this.#walk(event.key);
    else return;
    event.preventDefault();
  }

  #walk(key) {
    const busy = this.#data.workers.filter((worker) => worker.bars.length);
    if (!busy.length) return;
    let { worker, bar } = this.#chosen || { worker: null, bar: null };
    if (!worker) {
      worker = busy[0];
      bar = worker.bars[worker.bars.length - 1];
    } else if (key === "ArrowLeft" || key === "ArrowRight") {
      const place = worker.bars.indexOf(bar) + (key === "ArrowRight" ? 1 : -1);
      bar = worker.bars[Math.max(0, Math.min(worker.bars.length - 1, place))];
    } else {
      const place = busy.indexOf(worker) + (key === "ArrowDown" ? 1 : -1);
      worker = busy[Math.max(0, Math.min(busy.length - 1, place))];
      const middle = bar.started;
      bar = worker.bars.reduce((best, each) =>
        Math.abs(each.started - middle) < Math.abs(best.started - middle) ? each : best,
      );
    }
    if (bar.started < this.from || bar.started > this.from + this.length) {
      this.isFollowing = false;
      this.from = bar.started - this.length / 2;
    }
    const top = this.#top(worker, this.#data.workers.indexOf(worker)) + bar.lane * LANE;
    if (top < AXIS || top > this.root.clientHeight - LANE)
      this.root.scrollTop += top - this.root.clientHeight / 2;
    this.#choose({ worker, bar });
  }

  #fillTable() {
    if (!this.table.open) return;
    const bars = this.#data.workers
      .flatMap((worker) => worker.bars.map((bar) => ({ worker, bar })))
      .sort((one, other) => other.bar.started - one.bar.started);
    const rows = bars.slice(0, IN_TABLE).map(({ worker, bar }) => ({
      key: `bar ${bar.job} ${bar.attempt}`,
      cells: [
        h("bdi", {}, worker.name),
        h("a", { href: href("jobs", bar.job) }, h("bdi", {}, bar.name)),
        look(bar.state, bar.result).word,
        new Date(bar.started / 1000).toLocaleString("en-GB"),
        span(((bar.finished ?? Date.now() * 1000) - bar.started) / 1e6),
      ],
    }));
    this.table.replaceChildren(
      this.table.firstChild,
      table(
        "What workers did, the newest first",
        [
          ["Worker", ""],
          ["Job", ""],
          ["Result", ""],
          ["Began", ""],
          ["Took", "number"],
        ],
        rows,
        "Nothing ran in this time.",
      ),
      bars.length > IN_TABLE
        ? h("p", { class: "quiet" }, `and ${number(bars.length - IN_TABLE)} earlier ones`)
        : "",
    );
  }
}
