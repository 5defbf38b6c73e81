"""Runs a benchmark's parts, one after the other, and prints what they found."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from time import monotonic
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from benchmarks import machine, reference
from benchmarks.bench import Bench, bench
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Judged, Measured, Report


@dataclass(frozen=True)
class Part:
    """Something to measure, and what it must show."""

    name: str
    bars: tuple[Bar, ...]
    measure: Callable[[Bench], Awaitable[Measured]]


def command_line(
    name: str, description: str, parts: Sequence[Part]
) -> argparse.ArgumentParser:
    """The options that every benchmark has; it may add its own."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=description,
        epilog="Exit status: 0 if every bar holds, 1 if one does not, 3 if one was not "
        "measured.",
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object instead of a table")
    add("--quick", action="store_true", help="small counts: shows only that it runs")
    add(
        "--only",
        action="append",
        choices=[part.name for part in parts],
        metavar="PART",
        help="measure only this part (may be repeated): "
        + ", ".join(p.name for p in parts),
    )
    add("--folder", default="/var/tmp", help="where files go, on a real disk (%(default)s)")
    add("--seconds", type=float, default=5.0, help="of each reference figure (%(default)s)")
    return parser


def run(options: argparse.Namespace, parts: Sequence[Part]) -> int:
    """Measure what ``options`` ask for, print it, and give the exit status."""
    reports: list[Report] = []

    async def main(reactor: Any) -> None:
        reports.append(await measure(options, parts, reactor))

    try:
        react(lambda reactor: _until_over(reactor, main(reactor)))
    except SystemExit as end:  # `react` always ends so
        if not reports:
            return int(end.code or 1)
    [report] = reports
    print(report.as_json() if options.json else report.as_table())
    return int(report.status)


def _until_over(reactor: Any, work: Coroutine[Any, Any, None]) -> Deferred[None]:
    """Run ``work``; the reactor, told to stop, waits until it has tidied up."""
    running = Deferred.fromCoroutine(work)
    over: Deferred[None] = Deferred()

    def stop() -> Deferred[None]:
        running.cancel()
        return over

    def tell(result: Any) -> Any:
        over.callback(None)
        return result

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    return running.addBoth(tell)


async def measure(
    options: argparse.Namespace, parts: Sequence[Part], reactor: Any
) -> Report:
    """The whole run; a part that fails does not end it."""
    described = machine.describe(Path(options.folder))
    figures: Figures = {}
    judged: list[Judged] = []
    async with bench(options, reactor) as at_hand:
        described["postgresql"] = at_hand.server.binaries.major
        described["postgresql_settings"] = at_hand.server.settings
        at_hand.reference.update(await _reference(at_hand))
        for part in parts:
            if options.only and part.name not in options.only:
                found = Measured(why="not asked for")
            else:
                found = await _measure(part, at_hand)
                figures[part.name] = found.figures or {"why": found.why}
            if options.quick:  # it has shown that it runs, and nothing else
                found = Measured(why=found.why or "--quick measures nothing")
            judged += [bar.judged(found) for bar in part.bars]
        return Report(described, at_hand.reference, figures, judged)


async def _reference(at_hand: Bench) -> Figures:
    found: Figures = {}
    say("a loop of plain Python")
    found["python_turns_per_s"] = reference.python_loop(at_hand.count(10_000_000, 100_000))
    try:
        pgbench = reference.Pgbench(
            at_hand.server,
            at_hand.processes,
            seconds=None if at_hand.quick else at_hand.options.seconds,
        )
        found |= await pgbench.measure()
    except reference.NoPgbench as error:
        found["pgbench"] = str(error)
    return found


async def _measure(part: Part, at_hand: Bench) -> Measured:
    say(part.name)
    start, busy, ours = monotonic(), machine.busy_seconds(), machine.tree_seconds(getpid())
    try:
        found = await part.measure(at_hand)
    except CancelledError:  # an Exception, too
        raise
    except Exception as error:
        traceback.print_exc()
        told = str(error).split("\n")[0][:200]
        return Measured(why=f"it failed: {type(error).__name__}: {told}")
    took = monotonic() - start
    if found.figures:
        ours, busy = machine.tree_seconds(getpid()) - ours, machine.busy_seconds() - busy
        found.figures["took"] = {
            "seconds": took,
            "processors_used": ours / took,
            "processors_used_by_others": max(0.0, busy - ours) / took,
        }
    return found
