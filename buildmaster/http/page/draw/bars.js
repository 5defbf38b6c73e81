// Small drawings within text: when something ran, and how long things took.

import { h, svg } from "/page/show/dom.js";
import { isBad, look } from "/page/show/states.js";
import { span } from "/page/show/words.js";

const HIGH = 56;
const BAR = 12;

// A bar from `start` to `end` of what lasts from `from` to `to` (seconds).
export function interval(from, to, start, end, tone, label) {
  const all = Math.max(to - from, 0.001);
  const x = (100 * (start - from)) / all;
  return svg(
    "svg",
    {
      class: "interval",
      viewBox: "0 0 100 10",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    svg("rect", {
      class: `bar ${tone}`,
      x: Math.min(99.4, x),
      y: 1,
      height: 8,
      width: Math.max(0.6, (100 * (end - start)) / all),
    }),
  );
}

// How long the newest ones took: [{job, ran, result, started_at}], the newest first.
export function durations(entries, here) {
  const shown = entries
    .filter((each) => each.ran !== null && each.ran !== undefined)
    .slice(0, 40)
    .reverse();
  if (!shown.length) return null;
  const most = Math.max(...shown.map((each) => each.ran), 0.001);
  const bars = shown.map((each, place) => {
    const high = Math.max(2, (HIGH * each.ran) / most);
    const found = look("done", each.result);
    const title = `job ${each.job}: ${found.word}, ran ${span(each.ran)}`;
    return svg(
      "a",
      {
        href: `#/jobs/${Number(each.job)}`,
        "aria-label": title,
        "data-key": `duration ${each.job} ${each.attempt}`,
      },
      svg("title", {}, title),
      svg("rect", { class: `hit`, x: place * BAR, y: 0, width: BAR, height: HIGH + 16 }),
      svg("rect", {
        class: `bar ${found.tone}${each.job === here ? " here" : ""}`,
        x: place * BAR + 1,
        y: HIGH + 14 - high,
        width: BAR - 3,
        height: high,
      }),
      isBad(each.result)
        ? svg(
            "text",
            {
              class: "bad",
              x: place * BAR + BAR / 2 - 0.5,
              y: Math.max(9, HIGH + 11 - high),
              "text-anchor": "middle",
            },
            found.sign,
          )
        : "",
    );
  });
  return h(
    "figure",
    { class: "durations" },
    svg(
      "svg",
      {
        viewBox: `0 0 ${shown.length * BAR} ${HIGH + 16}`,
        width: shown.length * BAR,
        height: HIGH + 16,
        role: "group",
        "aria-label": "How long it took, the newest at the right",
      },
      bars,
    ),
    h(
      "figcaption",
      { class: "quiet" },
      `the longest took ${span(most)}; the newest is at the right`,
    ),
  );
}

// Medians of days, with what nineteen of twenty stay below.
export function trend(days) {
  const shown = (days || []).filter((each) => each.p50 !== null);
  if (shown.length < 2) return null;
  const most = Math.max(...shown.map((each) => each.p95 ?? each.p50), 0.001);
  const x = (place) => (place * 240) / (shown.length - 1);
  const y = (value) => HIGH + 4 - (HIGH * value) / most;
  const line = (name) =>
    shown
      .map(
        (each, place) =>
          `${place ? "L" : "M"}${x(place).toFixed(1)} ${y(each[name] ?? each.p50).toFixed(1)}`,
      )
      .join("");
  const last = shown[shown.length - 1];
  return h(
    "figure",
    { class: "durations" },
    svg(
      "svg",
      {
        viewBox: `-2 0 244 ${HIGH + 8}`,
        width: 244,
        height: HIGH + 8,
        role: "img",
        "aria-label": `Median of the last day ${span(last.p50)}, 95 of 100 below ${span(last.p95 ?? last.p50)}`,
      },
      svg("path", { class: "line faint", d: line("p95") }),
      svg("path", { class: "line", d: line("p50") }),
    ),
    h(
      "figcaption",
      { class: "quiet" },
      `by day: median ${span(last.p50)}, dashed 95 of 100 below ${span(last.p95 ?? last.p50)}`,
    ),
  );
}
