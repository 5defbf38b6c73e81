// Keys: single ones, and those after 'g'. A page may have its own; typing is left alone.

import { h } from "/page/show/dom.js";
import { show } from "/page/show/dialog.js";

// After 'g': the pages, by the names that their addresses have.
const NAMES = {
  o: "overview",
  g: "grid",
  r: "runs",
  j: "jobs",
  q: "queue",
  t: "timeline",
  w: "workers",
  f: "workflows",
  s: "schedules",
  h: "history",
  l: "rules",
};

const view = document.getElementById("view");
let own = {}; // key -> [what it does, function], of the page that is shown
let isGoing = false; // 'g' was pressed: the next key says where to

export function ownKeys(keys) {
  own = keys || {};
}

function isTyping(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null;
}

// Move among the rows of the page by their first links.
function move(step) {
  const rows = [...view.querySelectorAll("[data-row]")].filter((row) =>
    row.querySelector("a"),
  );
  const here = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[Math.min(rows.length - 1, Math.max(0, here < 0 ? 0 : here + step))];
  if (!next) return;
  const link = next.querySelector("a");
  link.focus();
  link.scrollIntoView({ block: "nearest" });
}

function up() {
  const parts = location.hash.replace(/^#\//, "").split("?")[0].split("/").filter(Boolean);
  parts.pop();
  location.hash = `#/${parts.join("/")}`;
}

function search() {
  const found =
    view.querySelector("[data-search]") || view.querySelector("input[type=search]");
  if (found) {
    found.focus();
    found.select();
  }
}

function help() {
  const line = (keys, does) =>
    h(
      "div",
      {},
      h(
        "dt",
        {},
        keys.map((key) => h("kbd", {}, key)),
      ),
      h("dd", {}, does),
    );
  show(
    "Keys",
    h(
      "dl",
      { class: "keys" },
      line(["j"], "next row"),
      line(["k"], "the row before"),
      line(["Enter"], "open it"),
      line(["u"], "up: from a job to the list"),
      line(["/"], "search or filter"),
      Object.entries(own).map(([key, [does]]) => line([key], does)),
      Object.entries(NAMES).map(([key, name]) => line(["g", key], `go to ${name}`)),
      line(["?"], "this help"),
      line(["Esc"], "close what is open"),
    ),
  );
}

const KEYS = { j: () => move(1), k: () => move(-1), u: up, "/": search, "?": help };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") view.focus({ preventScroll: true });
    return;
  }
  const goes = isGoing;
  isGoing = event.key === "g" && !goes;
  if (goes && event.key in NAMES) {
    event.preventDefault();
    const name = NAMES[event.key];
    location.hash = name === "overview" ? "#/" : `#/${name}`;
    return;
  }
  const found = own[event.key] ? own[event.key][1] : KEYS[event.key];
  if (!found) return;
  event.preventDefault();
  found(event);
});
