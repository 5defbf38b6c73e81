"""A fleet's day in compressed time: ``python -m benchmarks fleet [--json] [--small]``.

The real queue, SQL and dispatcher; 500 workers of paper. Arrivals with peaks, owners from
one who asks for thousands to one who asks for two, builds and native jobs, some of them
big, failures, machines that break.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import TestCase

from benchmarks import machine
from benchmarks.fleet_parts import day
from benchmarks.fleet_parts.day import DAY, HOUR, SMALL, Worker
from benchmarks.fleet_parts.simulation import Fleet
from benchmarks.report import Bar, Measured, Report
from buildmaster.store.audit import audit
from tests.postgres import fresh_dsn

#: Work for so much of what the farm could do in the day: in the peaks it is too much.
LOAD = 0.95

UTILISATION = Bar("utilisation while work fits", "of the slots", ">=", 0.95)
STARVING = Bar("jobs that never ended", "jobs", "<=", 0)
#: Half of a job's usual length. Where only a few machines are of an architecture it takes
#: longer until the next one is free.
WAITING = Bar("longest 95 % wait of an owner of little", "s", "<=", 600)
CONTRADICTIONS = Bar("contradictions in the books", "", "<=", 0)
BARS = (UTILISATION, STARVING, WAITING, CONTRADICTIONS)

_WAITS = """
    SELECT owner, count(*), percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (
        ORDER BY extract(epoch FROM begun.at - queued.at)) AS waits
    FROM job
    JOIN event AS queued ON queued.job = job.id AND queued.kind = 'job.ready'
     AND queued.payload ->> 'attempt' = '1'
    JOIN event AS begun ON begun.job = job.id AND begun.kind = 'job.assigned'
     AND begun.payload ->> 'attempt' = '1'
    JOIN job_class AS c ON c.id = job.class
    {where} GROUP BY owner ORDER BY owner
"""


def run(arguments: Sequence[str]) -> int:
    """Simulate, and print what was found; 0 if every bar is cleared."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fleet")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--small", action="store_true", help="60 workers, 3 hours")
    chosen = parser.parse_args(arguments)
    report = simulate(60, 3.0) if chosen.small else simulate(500, DAY / HOUR)
    print(report.as_json() if chosen.json else report.as_table())
    return int(report.status)


def simulate(machines: int, hours: float, tick: float = 5.0) -> Report:
    """What a day of so many hours brings; then the farm works off what is left."""
    described = machine.describe(Path("/tmp"))
    began = time.monotonic()
    case = TestCase()  # whose end drops the database
    try:
        workers = day.workers(machines)
        fleet = Fleet(fresh_dsn(case), workers, tick)
        try:
            _live(fleet, workers, hours)
            wall = time.monotonic() - began
            measured = _measured(fleet, workers, hours, wall)
        finally:
            fleet.books.close()
    finally:
        case.doCleanups()
    judged = [bar.judged(measured) for bar in BARS]
    return Report(described, {"wall_seconds": wall}, measured.figures, judged)


def _slots(workers: Sequence[Worker]) -> int:
    return sum(worker.slots for worker in workers)


def _live(fleet: Fleet, workers: Sequence[Worker], hours: float) -> None:
    coming = day.submissions(_slots(workers), LOAD, hours)
    print(f"{sum(len(each.pieces) for each in coming)} jobs", file=sys.stderr)
    told = 0
    # If it takes that long something starves, and the bars say so.
    while (coming or not fleet.is_done()) and fleet.at < 8 * HOUR + 3 * hours * HOUR:
        while coming and coming[0].at <= fleet.at:
            fleet.submit(coming.pop(0))
        fleet.tick()
        if fleet.at >= told:
            print(f"hour {fleet.at / HOUR:.1f}", file=sys.stderr)
            told += int(HOUR)


def _measured(
    fleet: Fleet, workers: Sequence[Worker], hours: float, wall: float
) -> Measured:
    owners = _waits(fleet, "")
    [(jobs, left, attempts)] = fleet.books.rows(
        "SELECT count(*), count(*) FILTER (WHERE state <> 'done'), sum(attempt) FROM job"
    )
    there = sum(fleet.there.values())
    return Measured(
        {
            "workers": len(workers),
            "hours": hours,
            "hours_until_done": fleet.at / HOUR,
            "jobs": jobs,
            "attempts": int(attempts),
            "jobs_per_second_of_the_run": jobs / wall,
            "utilisation_while_work_fits": {
                architecture: fleet.used[architecture] / slots
                for architecture, slots in sorted(fleet.there.items())
            },
            "part_of_the_time_in_which_work_waited": there / (fleet.at * _slots(workers)),
            "waits": owners,
            "waits_of_big_jobs": _waits(fleet, "WHERE c.slots > 1"),
        },
        {
            UTILISATION.name: sum(fleet.used.values()) / max(1.0, there),
            STARVING.name: left,
            WAITING.name: max(
                (waits["p95_seconds"] for name, waits in owners.items() if name in SMALL),
                default=0.0,
            ),
            CONTRADICTIONS.name: len(fleet.books.act(audit)),
        },
    )


def _waits(fleet: Fleet, where: str) -> dict[str, dict[str, Any]]:
    rows = fleet.books.rows(_WAITS.format(where=where))
    return {
        str(owner): {
            "jobs": int(count),
            "p50_seconds": float(waits[0]),
            "p95_seconds": float(waits[1]),
            "longest_seconds": float(waits[2]),
        }
        for owner, count, waits in rows
    }
