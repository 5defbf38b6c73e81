// The grid on the screen: only the rows and columns that can be seen are elements.

import { href } from "/page/farm/address.js";
import { h } from "/page/show/dom.js";
import { cellWords, columnWords } from "/page/show/cells.js";
import { isRed, look } from "/page/show/states.js";
import { ago, digest, project, shortSpan, span } from "/page/show/words.js";

const ROW = 24; // px
const BEYOND = 6; // rows before and after what can be seen
const NARROWEST = 24; // px of a column
const WIDEST = 92;

export class GridView {
  #elements = new Map(); // place of a row -> its element
  #spare = [];
  #frame = null;
  #at = { row: 0, column: 0 }; // the cell that the keyboard is at
  #size = { width: 0, height: 0 };

  constructor(model) {
    this.model = model;
    this.head = h("div", { class: "grid-head", role: "row", "aria-rowindex": "1" });
    this.body = h("div", { class: "grid-body", role: "rowgroup" });
    this.inner = h("div", { class: "grid-inner" }, this.head, this.body);
    this.root = h(
      "div",
      {
        class: "grid",
        role: "grid",
        "aria-label": "Runs and their jobs",
        "aria-readonly": "true",
      },
      this.inner,
    );
    this.told = h("p", { class: "grid-told quiet" }, "Arrow keys move, Enter opens.");
    this.root.addEventListener("scroll", () => this.soon(), { passive: true });
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.root.addEventListener("focusin", (event) => this.#tellOf(event.target));
    this.root.addEventListener("pointerover", (event) => this.#tellOf(event.target));
    this.resized = new ResizeObserver(() => {
      this.#measure();
      this.soon();
    });
    this.resized.observe(this.root);
  }

  close() {
    this.resized.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  // All of it anew: rows or columns came, went, or stand elsewhere.
  show() {
    this.#measure();
    for (const element of this.#elements.values()) element.place = null;
    this.#render(true);
  }

  soon() {
    if (this.#frame === null) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = null;
        this.#render(false);
      });
    }
  }

  // One row's facts or one cell are others than before.
  update(run, column = null) {
    const place = this.model.shown.findIndex((row) => row.run === run);
    const element = this.#elements.get(place);
    if (!element) return;
    if (column === null) this.#label(element, this.model.shown[place], place);
    else {
      const cell = element.cells.get(column);
      if (cell) this.#dress(cell, this.model.shown[place], column);
    }
  }

  #measure() {
    const columns = this.model.order.length;
    const width = this.root.clientWidth || 800;
    this.labelWidth = width < 560 ? 118 : 300;
    this.cellWidth = Math.max(
      NARROWEST,
      Math.min(WIDEST, Math.floor((width - this.labelWidth - 20) / Math.max(1, columns))),
    );
    this.isWide = this.cellWidth >= 56;
    const height = this.model.shown.length * ROW;
    const inner = this.labelWidth + columns * this.cellWidth;
    this.#size = { width, height: this.root.clientHeight || 600 };
    this.inner.style.width = `${inner}px`;
    this.body.style.height = `${height}px`;
    this.root.setAttribute("aria-rowcount", this.model.shown.length + 1);
    this.root.setAttribute("aria-colcount", columns + 1);
    this.root.classList.toggle("is-wide", this.isWide);
  }

  #window() {
    const { scrollTop, scrollLeft } = this.root;
    const columns = this.model.order.length;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - BEYOND);
    const last = Math.min(
      this.model.shown.length,
      Math.ceil((scrollTop + this.#size.height) / ROW) + BEYOND,
    );
    const left = Math.max(0, Math.floor(scrollLeft / this.cellWidth) - 4);
    const right = Math.min(
      columns,
      Math.ceil((scrollLeft + this.#size.width) / this.cellWidth) + 4,
    );
    return { first, last, left, right };
  }

  #render(all) {
    const { first, last, left, right } = this.#window();
    const isMoved = all || this.left !== left || this.right !== right;
    if (isMoved) {
      this.left = left;
      this.right = right;
      this.#drawHead();
    }
    for (const [place, element] of [...this.#elements]) {
      const isFocused = element.contains(document.activeElement);
      if ((place < first || place >= last) && !isFocused) {
        this.#elements.delete(place);
        this.#spare.push(element);
      }
    }
    for (let place = first; place < last; place += 1) {
      let element = this.#elements.get(place);
      const row = this.model.shown[place];
      if (element && !isMoved && element.run === row.run) continue;
      if (!element) {
        element = this.#spare.pop() || this.#make();
        this.#elements.set(place, element);
      }
      this.#fill(element, row, place);
    }
    for (const element of this.#spare.splice(0)) element.remove();
    for (const [place, element] of [...this.#elements]) {
      if (place >= this.model.shown.length) {
        element.remove();
        this.#elements.delete(place);
      }
    }
  }

  #make() {
    const element = h("div", { class: "grid-row", role: "row" });
    element.head = h("div", {
      class: "grid-label",
      role: "rowheader",
      "aria-colindex": "1",
    });
    element.head.style.width = `${this.labelWidth}px`;
    element.append(element.head);
    element.cells = new Map();
    return element;
  }

  #fill(element, row, place) {
    element.run = row.run;
    element.style.top = `${place * ROW}px`;
    element.setAttribute("aria-rowindex", place + 2);
    this.#label(element, row, place);
    const unused = element.cells;
    const links = [...unused.values()];
    element.cells = new Map();
    for (let at = this.left; at < this.right; at += 1) {
      const column = this.model.order[at];
      if (!row.cells.has(column)) continue;
      const link = links.pop() || cell();
      link.at = at;
      const box = link.parentNode;
      box.style.left = `${this.labelWidth + at * this.cellWidth}px`;
      box.style.width = `${this.cellWidth - 2}px`;
      box.setAttribute("aria-colindex", at + 2);
      link.tabIndex = place === this.#at.row && at === this.#at.column ? 0 : -1;
      this.#dress(link, row, column);
      element.cells.set(column, link);
      if (box.parentNode !== element) element.append(box);
    }
    for (const link of links) link.parentNode.remove();
    if (element.parentNode !== this.body) this.body.append(element);
  }

  #label(element, row, place) {
    const found = look(row.state, row.result);
    const source = row.repository ? project(row.repository) : row.name;
    const told = `run ${row.run}, ${source}, asked by ${row.requester} ${ago(row.created_at)}, ${found.word}`;
    element.head.replaceChildren(
      h("span", { class: `sign ${found.tone}`, "aria-hidden": "true" }, found.sign),
      h(
        "a",
        {
          href: href("runs", row.run),
          tabindex: place === 0 ? "0" : "-1",
          "aria-label": told,
          title: told,
        },
        `#${row.run}`,
      ),
      h("bdi", { class: "name" }, source),
      h("code", {}, digest(row.source_digest)),
      row.red
        ? h(
            "span",
            { class: "bad reds", title: `${row.red} failed, cause open` },
            `${row.red}✗`,
          )
        : "",
    );
    element.head.style.width = `${this.labelWidth}px`;
  }

  #dress(link, row, column) {
    const cell = row.cells.get(column);
    const found = look(cell[2], cell[3]);
    const isOpen = isRed(cell[3], cell[6]);
    link.className = `cell ${found.tone}${cell[6] ? " known" : ""}${isOpen ? " red" : ""}`;
    link.href = href("jobs", cell[1]);
    link.setAttribute("aria-label", cellWords(cell, this.model.columns[column], row.run));
    link.textContent =
      this.isWide && cell[4] && cell[5]
        ? `${found.sign} ${shortSpan((cell[5] - cell[4]) / 1e6)}`
        : found.sign;
    link.cell = cell;
    link.column = column;
    link.row = row;
  }

  #drawHead() {
    const series = new Set(this.model.columns.map((column) => column.series));
    const corner = h(
      "div",
      { class: "grid-corner", role: "columnheader", "aria-colindex": "1" },
      "Run",
    );
    corner.style.width = `${this.labelWidth}px`;
    const heads = [];
    for (let at = this.left; at < this.right; at += 1) {
      const column = this.model.columns[this.model.order[at]];
      const more = [column.architecture, series.size > 1 ? column.series : ""]
        .filter(Boolean)
        .join(" ");
      const told = `${columnWords(column)} ${column.architecture} ${column.series}`.trim();
      const element = h(
        "div",
        { role: "columnheader", "aria-colindex": at + 2, title: told, "aria-label": told },
        h("span", {}, h("bdi", {}, columnWords(column)), " ", h("small", {}, more)),
      );
      element.style.left = `${this.labelWidth + at * this.cellWidth}px`;
      element.style.width = `${this.cellWidth}px`;
      heads.push(element);
    }
    this.head.replaceChildren(corner, ...heads);
  }

  #tellOf(target) {
    const link = target.closest ? target.closest("a.cell") : null;
    if (!link || !link.cell) return;
    const { cell, row } = link;
    const ran = cell[4] && cell[5] ? `, ran ${span((cell[5] - cell[4]) / 1e6)}` : "";
    this.told.textContent =
      `${link.getAttribute("aria-label")}${ran}, attempt ${cell[7]} · ${row.repository || row.name}` +
      ` · asked by ${row.requester}`;
  }

  // Go to a cell, or to the nearest one that there is in its row.
  #go(row, column) {
    const place = Math.max(0, Math.min(this.model.shown.length - 1, row));
    if (!this.model.shown[place]) return;
    const has = (at) => this.model.shown[place].cells.has(this.model.order[at]);
    const columns = this.model.order.length;
    const step = column < this.#at.column ? -1 : 1;
    let at = Math.max(0, Math.min(columns - 1, column));
    for (let tries = 0; tries < columns && !has(at); tries += 1)
      at = (at + step + columns) % columns;
    this.#at = { row: place, column: at };
    const top = place * ROW;
    const head = this.head.offsetHeight;
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    const room = this.root.clientHeight - head - ROW;
    if (top > this.root.scrollTop + room) this.root.scrollTop = top - room;
    const left = at * this.cellWidth;
    const seen = this.root.clientWidth - this.labelWidth - this.cellWidth;
    if (left < this.root.scrollLeft) this.root.scrollLeft = left;
    if (left > this.root.scrollLeft + seen) this.root.scrollLeft = left - seen;
    this.#render(true);
    const element = this.#elements.get(place);
    const link = element && element.cells.get(this.model.order[at]);
    if (link) link.focus({ preventScroll: true });
  }

  // Keyboard: also for the page's own keys.
  step(rows, columns) {
    if (!this.root.contains(document.activeElement))
      this.#go(this.#at.row, this.#at.column);
    else this.#go(this.#at.row + rows, this.#at.column + columns);
  }

  #key(event) {
    const page = Math.floor(this.root.clientHeight / ROW) - 4;
    const moves = {
      ArrowDown: [1, 0],
      ArrowUp: [-1, 0],
      ArrowRight: [0, 1],
      ArrowLeft: [0, -1],
      PageDown: [page, 0],
      PageUp: [-page, 0],
    };
    const at = event.target.closest("a.cell");
    if (at && at.at !== undefined) {
      this.#at = { row: this.model.shown.indexOf(at.row), column: at.at };
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) this.step(...moves[event.key]);
    else if (event.key === "Home") this.#go(0, this.#at.column);
    else if (event.key === "End") this.#go(this.model.shown.length - 1, this.#at.column);
    else return;
    event.preventDefault();
  }
}

// A link in a cell of the grid.
function cell() {
  const link = h("a", { tabindex: "-1" });
  h("div", { class: "grid-cell", role: "gridcell" }, link);
  return link;
}
