"""A fleet's day: ``python -m benchmarks fleet [--json] [--small]``.

The real queue, SQL and dispatcher; 500 workers of paper in compressed time. Arrivals with
peaks, owners from one who asks for thousands to one who asks for two, builds and native
jobs, some of them big, failures, machines that break.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.fleet_parts import day
from benchmarks.fleet_parts.day import DAY, HOUR, SMALL
from benchmarks.fleet_parts.simulation import Fleet
from buildmaster.store.audit import audit
from tests.postgres import fresh_dsn

#: Work for so much of what the farm could do in the day: in the peaks it is too much.
LOAD = 0.95
#: Seconds that an owner of little may have to wait: half of a job's usual length. Where
#: only a few machines are of an architecture it takes longer until the next one is free.
BEARABLE = 600.0

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
    parser.add_argument("--small", action="store_true", help="40 workers, 3 hours")
    chosen = parser.parse_args(arguments)
    found = simulate(40, 3.0) if chosen.small else simulate(500, DAY / HOUR)
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    return 0 if all(bar["holds"] for bar in found["must_show"]) else 1


def simulate(machines: int, hours: float) -> dict[str, Any]:
    """What a day of so many hours brings; then the farm works off what is left."""
    began = time.monotonic()
    keeper = _Keeper()
    try:
        fleet = Fleet(fresh_dsn(keeper), day.workers(machines))  # type: ignore[arg-type]
        try:
            _live(fleet, machines, hours)
            return _report(fleet, machines, hours, time.monotonic() - began)
        finally:
            fleet.books.close()
    finally:
        keeper.end()


class _Keeper:
    """What `fresh_dsn` asks of a test."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, tuple[Any, ...]]] = []

    def addCleanup(self, undo: Any, *arguments: Any) -> None:
        self._undo.append((undo, arguments))

    def end(self) -> None:
        for undo, arguments in reversed(self._undo):
            undo(*arguments)


def _live(fleet: Fleet, machines: int, hours: float) -> None:
    slots = sum(machine.slots for machine in day.workers(machines))
    coming = day.submissions(slots, LOAD, hours)
    print(f"{sum(len(each.pieces) for each in coming)} jobs", file=sys.stderr)
    told = 0
    while coming or not fleet.is_done():
        while coming and coming[0].at <= fleet.at:
            fleet.submit(coming.pop(0))
        fleet.tick()
        if fleet.at >= told:
            print(f"  hour {fleet.at / HOUR:.1f}", file=sys.stderr)
            told += int(HOUR)
        if fleet.at > 4 * hours * HOUR:
            break  # something starves, and the bars will say so


def _report(fleet: Fleet, machines: int, hours: float, wall: float) -> dict[str, Any]:
    owners = _waits(fleet, "")
    big = _waits(fleet, "WHERE c.slots > 1")
    utilisation = {
        architecture: fleet.used[architecture] / there
        for architecture, there in sorted(fleet.there.items())
    }
    [(jobs, left, attempts)] = fleet.books.rows(
        """
        SELECT count(*), count(*) FILTER (WHERE state <> 'done'), sum(attempt) FROM job
        """
    )
    small = [waits["p95_seconds"] for name, waits in owners.items() if name in SMALL]
    whole = sum(fleet.used.values()) / max(1.0, sum(fleet.there.values()))
    return {
        "machine": {
            "processors": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "load_at_end": os.getloadavg()[0],
        },
        "reference": {"wall_seconds": round(wall, 1)},
        "figures": {
            "workers": machines,
            "hours": hours,
            "hours_until_done": round(fleet.at / HOUR, 1),
            "jobs": jobs,
            "attempts": int(attempts),
            "simulated_seconds_per_second": round(fleet.at / wall),
            "utilisation_while_work_fits": {k: round(v, 4) for k, v in utilisation.items()},
            "saturated_part_of_the_slots": round(
                sum(fleet.there.values()) / (fleet.at * _slots(machines)), 3
            ),
            "waits_by_owner": owners,
            "waits_of_big_jobs_by_owner": big,
        },
        "must_show": [
            _bar("utilisation while work fits", whole, "of the slots", ">=", 0.95),
            _bar("jobs that never ended", float(left), "jobs", "<=", 0),
            _bar(
                "95 % wait of the owner of little who waits most",
                max(small, default=0.0),
                "s",
                "<=",
                BEARABLE if machines >= 500 else 6 * BEARABLE,
            ),
            _bar(
                "contradictions in the books",
                float(len(fleet.books.act(audit))),
                "",
                "<=",
                0,
            ),
        ],
    }


def _slots(machines: int) -> int:
    return sum(machine.slots for machine in day.workers(machines))


def _waits(fleet: Fleet, where: str) -> dict[str, dict[str, float]]:
    rows = fleet.books.rows(_WAITS.format(where=where))
    return {
        str(owner): {
            "jobs": int(count),
            "p50_seconds": round(float(waits[0]), 1),
            "p95_seconds": round(float(waits[1]), 1),
            "longest_seconds": round(float(waits[2]), 1),
        }
        for owner, count, waits in rows
    }


def _bar(name: str, value: float, unit: str, sense: str, limit: float) -> dict[str, Any]:
    holds = value >= limit if sense == ">=" else value <= limit
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "bar": f"{sense} {limit}",
        "holds": holds,
    }


def _print(found: dict[str, Any]) -> None:
    for name, value in found["figures"].items():
        if isinstance(value, dict):
            print(name)
            for key, each in value.items():
                print(f"  {key:12} {each}")
        else:
            print(f"{name:32} {value}")
    for bar in found["must_show"]:
        verdict = "holds" if bar["holds"] else "FAILS"
        print(f"{verdict}  {bar['name']}: {bar['value']} {bar['unit']} ({bar['bar']})")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
