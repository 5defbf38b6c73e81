// A run's graph on the screen: jobs in layers, what waits to the right of what it waits
// for.

import { arrange, ends } from "/page/draw/layers.js";
import { href } from "/page/farm/address.js";
import { become, h, svg } from "/page/show/dom.js";
import { cellOf } from "/page/show/jobs.js";
import { button } from "/page/show/parts.js";
import { classWord, isRed, look } from "/page/show/states.js";

const WIDE = 178;
const HIGH = 38;
const ACROSS = 70; // between layers
const DOWN = 12; // between rows

const nodeKey = (id) => `node ${id}`;

export class GraphView {
  #places = new Map();
  #shape = "";
  #layout = null;
  #isPlaced = false;
  #at = null; // the node that the keyboard is at

  constructor(title) {
    this.scale = 1;
    this.drawing = svg("svg", { role: "group", "aria-label": `Graph of ${title}` });
    this.box = h("div", { class: "graph-box" }, this.drawing);
    this.told = h(
      "p",
      { class: "quiet graph-told" },
      "Arrow keys go along the edges, Enter opens a job.",
    );
    this.root = h(
      "div",
      { class: "graph" },
      h(
        "div",
        { class: "buttons" },
        button("−", () => this.zoom(0.8), { "aria-label": "Draw it smaller" }),
        button("+", () => this.zoom(1.25), { "aria-label": "Draw it larger" }),
        button("Fit", () => this.fit(), { class: "plain" }),
      ),
      this.box,
      this.told,
    );
    this.box.addEventListener("keydown", (event) => this.#key(event));
    this.box.addEventListener("focusin", (event) => this.#focused(event.target));
    this.keys = {};
  }

  close() {}

  show(graph) {
    this.graph = graph;
    const shape = JSON.stringify([
      graph.nodes.map((node) => node.id),
      graph.edges.map((edge) => [edge.from, edge.to]),
    ]);
    if (shape !== this.#shape) {
      // only where jobs stand is worth remembering
      this.#shape = shape;
      this.#layout = arrange(
        graph.nodes.map((node) => node.id),
        graph.edges,
      );
      if (!this.#at || !this.#layout.place.has(this.#at))
        this.#at = graph.nodes.length ? graph.nodes[0].id : null;
    }
    this.#draw();
    if (!this.#isPlaced) requestAnimationFrame(() => this.#begin());
  }

  // Whoever comes sees where the graph begins, however high it is.
  #begin() {
    if (!this.box.clientHeight) return;
    this.#isPlaced = true;
    const first = this.#layout.place.get(this.#at);
    if (!first) return;
    this.box.scrollTop = this.#y(first.row) * this.scale - this.box.clientHeight / 2;
    this.box.scrollLeft = 0;
  }

  zoom(by) {
    this.scale = Math.max(0.15, Math.min(2, this.scale * by));
    this.#size();
  }

  fit() {
    const room = this.box.clientWidth - 4;
    this.scale = Math.max(0.15, Math.min(1, room / this.width));
    this.#size();
  }

  #size() {
    this.drawing.setAttribute("width", Math.round(this.width * this.scale));
    this.drawing.setAttribute("height", Math.round(this.height * this.scale));
  }

  #draw() {
    const { layers, rows, place } = this.#layout;
    this.width = layers * (WIDE + ACROSS) - ACROSS + 16;
    this.height = rows * (HIGH + DOWN) - DOWN + 16;
    this.drawing.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.#size();
    const nodes = new Map(this.graph.nodes.map((node) => [node.id, node]));
    const edges = this.graph.edges
      .filter((edge) => place.has(edge.from) && place.has(edge.to))
      .map((edge) => this.#edge(edge));
    become(
      this.drawing,
      edges,
      [...nodes.values()].map((node) => this.#node(node)),
    );
  }

  #x(layer) {
    return 8 + layer * (WIDE + ACROSS);
  }

  #y(row) {
    return 8 + row * (HIGH + DOWN);
  }

  #edge(edge) {
    const { place, bends } = this.#layout;
    const from = place.get(edge.from);
    const to = place.get(edge.to);
    const way = bends.get(ends(edge)) || [];
    const points = [[this.#x(from.layer) + WIDE, this.#y(from.row) + HIGH / 2]];
    for (const bend of way) {
      const at = place.get(bend);
      points.push(
        [this.#x(at.layer), this.#y(at.row) + HIGH / 2],
        [this.#x(at.layer) + WIDE, this.#y(at.row) + HIGH / 2],
      );
    }
    points.push([this.#x(to.layer), this.#y(to.row) + HIGH / 2]);
    const label = [
      edge.stage === null ? "" : `stage ${edge.stage + 1}`,
      edge.require === "good" ? "" : edge.require,
    ]
      .filter(Boolean)
      .join(", ");
    const [x, y] = points[points.length - 1];
    return svg(
      "g",
      {
        class: `edge${edge.resolved_at ? " there" : ""}`,
        "data-from": edge.from,
        "data-to": edge.to,
        "data-key": `edge ${edge.from} ${edge.to} ${edge.stage}`,
      },
      svg("path", { d: curve(points) }),
      svg("path", { class: "tip", d: `M${x - 7} ${y - 4}L${x} ${y}L${x - 7} ${y + 4}Z` }),
      label ? svg("text", { x: x - 10, y: y - 5, "text-anchor": "end" }, label) : "",
    );
  }

  #node(node) {
    const { layer, row } = this.#layout.place.get(node.id);
    const found = look(node.state, node.result);
    const where = [node.architecture, node.series, cellOf(node)].filter(Boolean).join(" ");
    const words = this.#words(node);
    return svg(
      "a",
      {
        href: href("jobs", node.id),
        "data-key": nodeKey(node.id),
        "aria-label": words,
        tabindex: node.id === this.#at ? "0" : "-1",
        class: `node ${found.tone}${isRed(node.result, node.classification) ? " red" : ""}${node.classification ? " known" : ""}${node.reused_from ? " reused" : ""}`,
        transform: `translate(${this.#x(layer)} ${this.#y(row)})`,
      },
      svg("title", {}, words),
      svg("rect", { width: WIDE, height: HIGH, rx: 4 }),
      svg("rect", { class: "edge-of", width: 4, height: HIGH, rx: 2 }),
      svg("text", { "aria-hidden": "true", class: "sign", x: 12, y: 16 }, found.sign),
      svg(
        "text",
        { "aria-hidden": "true", class: "name", x: 26, y: 16 },
        cut(node.name, 24),
      ),
      svg(
        "text",
        { "aria-hidden": "true", class: "quiet", x: 26, y: 31 },
        cut(where || node.kind, node.reused_from || node.gate ? 16 : 26),
      ),
      this.#mark(node),
    );
  }

  // In its corner: whose result it has, or that somebody has to let it go.
  #mark(node) {
    const told = node.reused_from
      ? `from ${node.reused_from}`
      : node.gate && node.state !== "done"
        ? "‖ gate"
        : null;
    if (!told) return "";
    return svg(
      "text",
      {
        "aria-hidden": "true",
        class: "quiet of",
        x: WIDE - 6,
        y: 31,
        "text-anchor": "end",
      },
      told,
    );
  }

  #words(node) {
    const found = look(node.state, node.result);
    const cause = node.classification ? `, ${classWord(node.classification)}` : "";
    const from = node.reused_from ? ` from job ${node.reused_from}` : "";
    const gate = node.gate && node.state !== "done" ? ", waits to be let go" : "";
    return `${node.name}${node.architecture ? ` on ${node.architecture}` : ""} ${node.series}: ${found.word}${from}${cause}${gate}`;
  }

  #focused(target) {
    const link = target.closest("a.node");
    const node =
      link &&
      this.graph.nodes.find((each) => nodeKey(each.id) === link.getAttribute("data-key"));
    if (!node) return;
    this.#at = node.id;
    for (const edge of this.drawing.querySelectorAll(".edge")) {
      const ends = [edge.dataset.from, edge.dataset.to];
      edge.classList.toggle("near", ends.includes(String(node.id)));
    }
    const needs = this.graph.edges.filter((edge) => edge.to === node.id).length;
    const wanted = this.graph.edges.filter((edge) => edge.from === node.id).length;
    this.told.textContent = `${this.#words(node)} · waits for ${needs}, ${wanted} wait for it${node.reason ? ` · ${node.reason}` : ""}`;
  }

  #key(event) {
    if (
      !event.key.startsWith("Arrow") ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      !this.#at
    )
      return;
    event.preventDefault();
    const place = this.#layout.place.get(this.#at);
    const near = (ids) =>
      ids.sort(
        (one, other) =>
          Math.abs(this.#layout.place.get(one).row - place.row) -
          Math.abs(this.#layout.place.get(other).row - place.row),
      )[0];
    const layer = this.graph.nodes
      .map((node) => node.id)
      .filter((id) => this.#layout.place.get(id).layer === place.layer)
      .sort(
        (one, other) => this.#layout.place.get(one).row - this.#layout.place.get(other).row,
      );
    const here = layer.indexOf(this.#at);
    const next = {
      ArrowRight: () =>
        near(
          this.graph.edges.filter((edge) => edge.from === this.#at).map((edge) => edge.to),
        ),
      ArrowLeft: () =>
        near(
          this.graph.edges.filter((edge) => edge.to === this.#at).map((edge) => edge.from),
        ),
      ArrowDown: () => layer[here + 1],
      ArrowUp: () => layer[here - 1],
    }[event.key]();
    if (next === undefined) return;
    const links = [...this.drawing.querySelectorAll("a.node")];
    const named = (id) =>
      links.find((each) => each.getAttribute("data-key") === nodeKey(id));
    named(this.#at)?.setAttribute("tabindex", "-1");
    this.#at = next;
    const link = named(next);
    link.setAttribute("tabindex", "0");
    link.focus({ preventScroll: true });
    link.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function cut(text, longest) {
  const letters = [...text];
  return letters.length > longest ? `${letters.slice(0, longest - 1).join("")}…` : text;
}

function curve(points) {
  let path = `M${points[0][0]} ${points[0][1]}`;
  for (let at = 1; at < points.length; at += 1) {
    const [x0, y0] = points[at - 1];
    const [x1, y1] = points[at];
    const middle = (x0 + x1) / 2;
    path += y0 === y1 ? `L${x1} ${y1}` : `C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
  }
  return path;
}
