"""How soon the dashboard is there in a browser, what it asks, how smoothly it scrolls."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from twisted.internet.task import deferLater

from benchmarks.bench import Bench
from benchmarks.farm import Farm
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from benchmarks.status_parts.rows import add_builds
from tests.browser.chromium import Browser, Tab, chromium

_BUILDS = 10_000
_CALLS = Bar("overview page, calls of the API", "", "<=", 3)
_SIZE = Bar("overview page, everything that it loads", "KB", "<=", 200)
_FIRST = Bar("overview page, first content, p50", "s", "<=", 0.5)
_COMPLETE = Bar("grid of 10,000 builds complete, p50", "s", "<=", 1.5)
_FRAMES = Bar("grid of 10,000 builds, frames while scrolling", "/s", ">=", 50)
_IDLE = Bar("calls while nothing changes", "", "<=", 0)

#: Notes when something is on the screen: the frame after it is among the elements.
_WATCH = """
window.seen = {};
new MutationObserver(() => {
  for (const [name, what] of Object.entries({content: '.numbers .figure', runs: '.runs li',
      rows: '.grid-row .cell', complete: '.grid[data-complete]'})) {
    if (name in window.seen || !document.querySelector(what)) continue;
    const note = () => { window.seen[name] = performance.now(); };
    note();
    requestAnimationFrame(() => setTimeout(note));
  }
}).observe(document, {subtree: true, childList: true, attributes: true});
"""

#: Counts frames, and how long the longest took.
_COUNT = """(() => {
  const frames = [];
  let isOver = false;
  const count = (at) => { frames.push(at); if (!isOver) requestAnimationFrame(count); };
  requestAnimationFrame(count);
  window.counted = () => {
    isOver = true;
    const gaps = frames.slice(1).map((at, n) => at - frames[n]).sort((a, b) => a - b);
    const all = frames[frames.length - 1] - frames[0];
    return {per_second: 1000 * gaps.length / all, longest_ms: gaps[gaps.length - 1],
            p99_ms: gaps[Math.floor(gaps.length * 0.99)], seconds: all / 1000};
  };
})()"""


async def _measure(bench: Bench) -> Measured:
    command = chromium()
    if command is None:
        return Measured(why="this machine lacks Chromium")
    count = bench.count(_BUILDS, 400)
    dsn = bench.server.database("dashboard")
    say(f"{count:,} builds that are over")
    add_builds(dsn, 1, count)
    farm = Farm(bench, dsn, workers=1, slots=1)
    browser = Browser()
    try:
        await farm.start_master()
        await browser.start(command)
        url = farm.addresses.http
        tries = bench.count(7, 1)
        await _shown(browser, f"{url}/#/", "runs")  # warms the farm up, not the browser
        overviews = [await _shown(browser, f"{url}/#/", "runs") for _ in range(tries)]
        await _shown(browser, f"{url}/#/grid", "complete")
        grids = [await _shown(browser, f"{url}/#/grid", "complete") for _ in range(tries)]
        say("scrolling")
        tab = await _opened(browser, f"{url}/#/grid?order=newest", "complete")
        scrolled = await _scroll(tab)
        asked = len(tab.requests)
        await deferLater(bench.reactor, bench.count(10, 1))
        idle = len(tab.requests) - asked
    finally:
        await browser.stop()
        await farm.stop()
        bench.server.drop("dashboard")
    figures: Figures = {
        "builds": count,
        "overview": _middle(overviews),
        "grid": _middle(grids),
        "scrolling": scrolled,
        "calls_while_idle": idle,
    }
    values = {
        _CALLS.name: figures["overview"]["calls"],
        _SIZE.name: figures["overview"]["kilobytes"],
        _FIRST.name: figures["overview"]["content_s"],
        _COMPLETE.name: figures["grid"]["complete_s"],
        _FRAMES.name: scrolled["per_second"],
        _IDLE.name: idle,
    }
    return Measured(figures, values)


async def _opened(browser: Browser, url: str, until: str) -> Tab:
    """An address in a browser that has never seen it, once so much of it is shown."""
    tab = await browser.tab()
    await tab.send("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
    await tab.go(url)
    await tab.until(f"'{until}' in (window.seen || {{}})", seconds=60)
    await tab.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return tab


async def _shown(browser: Browser, url: str, until: str) -> Figures:
    tab = await _opened(browser, url, until)
    # What comes late counts, too.
    await tab.run("new Promise((done) => setTimeout(done, 500))")
    seen = await tab.run("window.seen")
    found: Figures = {f"{name}_s": at / 1000 for name, at in seen.items()}
    found["calls"] = sum("/api/" in each for each in tab.requests)
    found["files"] = sum("/page/" in each for each in tab.requests)
    found["kilobytes"] = tab.transferred / 1000
    await browser.close(tab)
    return found


async def _scroll(tab: Tab) -> Figures:
    """Scroll as somebody does with a finger, down and up again."""
    await tab.run(_COUNT)
    for distance in (-9000, 9000, -20000):
        await tab.send(
            "Input.synthesizeScrollGesture",
            x=600,
            y=500,
            yDistance=distance,
            speed=6000,
            gestureSourceType="mouse",
        )
    found: Figures = await tab.run("window.counted()")
    return found


def _middle(found: Sequence[Figures]) -> Figures:
    return {name: median(each[name] for each in found) for name in found[0]}


PART = Part("dashboard", (_CALLS, _SIZE, _FIRST, _COMPLETE, _FRAMES, _IDLE), _measure)
