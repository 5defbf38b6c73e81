"""What ten thousand workflows cost that sleep, and how soon a new master wakes one."""

from __future__ import annotations

import json
import os
import sys
import threading
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from benchmarks.workflow_parts.engine import Engine, engine
from benchmarks.workflow_parts.waking import memory

_WAKE = Bar("first wake after a restart with 10,000 asleep", "s", "<=", 1)
_MEMORY = Bar("memory of a workflow that sleeps", "bytes", "<=", 5 * 1024)
_THREADS = Bar("threads that 10,000 sleepers add", "threads", "<=", 0)
_CONNECTIONS = Bar("connections that 10,000 sleepers add", "connections", "<=", 0)

_SLEEPERS = 10_000
_RESTARTS = 5
_DATABASE = "sleepers"
_ROOT = Path(__file__).resolve().parents[2]


async def measure(bench: Bench) -> Measured:
    """One master puts all to sleep; new ones, one after the other, wake one each."""
    count = bench.count(_SLEEPERS, 20)
    dsn = bench.server.database(_DATABASE)
    try:
        asleep = await _put_to_sleep(bench, dsn, count)
        woken = []
        for number in range(bench.count(_RESTARTS, 1)):
            say(f"sleepers: restart {number + 1}")
            woken.append(await _restart(bench, dsn, f"s-{number + 1}"))
    finally:
        bench.server.drop(_DATABASE)
    figures: Figures = {
        "asleep": asleep,
        "woken_after_s": median(each["woken_after_s"] for each in woken),
        "restarts": woken,
    }
    return Measured(
        figures,
        {
            _WAKE.name: figures["woken_after_s"],
            _MEMORY.name: asleep["bytes_each"],
            _THREADS.name: asleep["threads_added"],
            _CONNECTIONS.name: asleep["connections_added"],
        },
    )


async def _put_to_sleep(bench: Bench, dsn: str, count: int) -> Figures:
    async with engine(dsn, bench.reactor) as running:
        # So that all there is of threads, connections and caches is there.
        await running.start("warm", "Sleeping", bench.count(200, 5), 86_400.0)
        await bench.until(partial(_all_asleep, running), pause=0.1)
        before = _held(running)
        say(f"sleepers: {count:,} go to sleep")
        await running.start("s", "Sleeping", count, 86_400.0)
        await bench.until(partial(_all_asleep, running), pause=0.2)
        after = _held(running)
    return {
        "workflows": count,
        "bytes_each": max(0, after[0] - before[0]) / count,
        "threads_added": after[1] - before[1],
        "connections_added": after[2] - before[2],
    }


def _held(running: Engine) -> tuple[int, int, int]:
    connections = sum(running.running.database.connections().values())
    return memory(), threading.active_count(), connections


async def _all_asleep(running: Engine) -> bool:
    (left,) = await running.database.one(
        "SELECT count(*) FROM workflow WHERE state = 'open' AND position = 0"
    )
    return not left


async def _restart(bench: Bench, dsn: str, name: str) -> Figures:
    bench.server.execute(
        "UPDATE workflow_timer SET due = now() WHERE workflow ="
        f" (SELECT id FROM workflow WHERE name = '{name}')",
        _DATABASE,
    )
    command = [sys.executable, "-m", "benchmarks.workflow_parts.waking", dsn, name]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    said = await bench.processes.run(command, environment, timeout=60)
    found: Figures = json.loads(said.splitlines()[-1])
    return found


PART = Part("sleepers", (_WAKE, _MEMORY, _THREADS, _CONNECTIONS), measure)
