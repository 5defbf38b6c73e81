// Keeps relative times true while nothing else happens. Asks nobody anything.

import { ago, secondsBetween, span } from "/page/show/words.js";

const EVERY = 5000; // ms

function tick() {
  if (document.hidden) return;
  for (const node of document.querySelectorAll("[data-tick]")) {
    const told =
      node.dataset.tick === "ago"
        ? ago(node.getAttribute("datetime"))
        : span(secondsBetween(node.dataset.from, null));
    if (node.firstChild && node.firstChild.nodeValue !== told)
      node.firstChild.nodeValue = told;
  }
}

export function start() {
  setInterval(tick, EVERY);
  document.addEventListener("visibilitychange", tick);
}
