"""The conversation: what a message costs, how many workers a master carries, how fast logs
travel, and what is left of it all when something dies.

Its PostgreSQL is the one of the test suite, without durability: nothing here is about
commits.
"""

from __future__ import annotations

import argparse
import os
import time
import traceback
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks import machine
from benchmarks.protocol_parts import carriers, failures, logs, many, outages
from benchmarks.report import Figures, Judged, Measured, Report

PARTS = {
    "carriers": carriers,
    "many": many,
    "logs": logs,
    "failures": failures,
    "outages": outages,
}


def run(arguments: list[str]) -> int:
    """Measure what the arguments ask for; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks protocol", description=__doc__
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object instead of a table")
    add("--quick", action="store_true", help="small counts: shows only that it runs")
    add("--only", action="append", choices=list(PARTS), help="only this part")
    options = parser.parse_args(arguments)
    reports: list[Report] = []

    async def main(reactor: Any) -> None:
        reports.append(await _measure(options))

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as end:  # `react` always ends so
        if not reports:
            return int(end.code or 1)
    [report] = reports
    print(report.as_json() if options.json else report.as_table())
    return int(report.status)


async def _measure(options: argparse.Namespace) -> Report:
    described = machine.describe(Path("/var/tmp"))
    figures: Figures = {}
    judged: list[Judged] = []
    for name, part in PARTS.items():
        if options.only and name not in options.only:
            found = Measured(why="not asked for")
        else:
            found = await _part(part, options.quick)
            figures[name] = found.figures or {"why": found.why}
        if options.quick:  # it has shown that it runs, and nothing else
            found = Measured(why=found.why or "--quick measures nothing")
        judged += [bar.judged(found) for bar in part.BARS]
    described["load_at_end"] = os.getloadavg()[0]
    return Report(described, {"python_turns_per_s": _loop()}, figures, judged)


async def _part(part: Any, quick: bool) -> Measured:
    ours, busy, start = (
        machine.own_seconds(),
        machine.busy_seconds(),
        time.monotonic(),
    )
    try:
        found: Measured = await part.measure(quick)
    except Exception as error:
        traceback.print_exc()
        return Measured(why=f"it failed: {type(error).__name__}: {error}")
    took = time.monotonic() - start
    ours, busy = machine.own_seconds() - ours, machine.busy_seconds() - busy
    found.figures["took"] = {
        "seconds": took,
        "processors_used": ours / took,
        "processors_used_by_others": max(0.0, busy - ours) / took,
    }
    return found


def _loop(turns: int = 3_000_000) -> float:
    """Turns per second of a loop of plain Python; the best of three."""
    best = 0.0
    for _ in range(3):
        start, number = time.perf_counter(), 0
        for turn in range(turns):
            number = (number * 31 + turn) & 0xFFFF
        best = max(best, turns / (time.perf_counter() - start))
    return best
