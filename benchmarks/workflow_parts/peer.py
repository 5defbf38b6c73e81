"""dbos beside it, in the same run and on the same server."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from time import monotonic

from twisted.internet.task import deferLater

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.parts import Part
from benchmarks.peers.installed import environ, installed
from benchmarks.progress import say
from benchmarks.report import Figures, Measured
from benchmarks.workflow_parts.engine import engine
from benchmarks.workflow_parts.steps import steps

_SCRIPT = Path(peers.__file__).parent / "dbos_steps.py"
_DATABASE = "peer"


async def measure(bench: Bench) -> Measured:
    """Steps that call a function, and from a message to the workflow that waits for it."""
    if not bench.options.peers:
        return Measured(why="only with --peers")
    count, each = bench.count(100, 5), bench.count(20, 3)
    say("peer: ours")
    ours = {"steps_per_s": await steps(bench, "Calling", count, each)}
    ours["wake_ms_p50"] = await _wakes(bench)
    say("peer: dbos")
    return Measured({"headrace": ours, "dbos": await _dbos(bench, count, each)}, {})


async def _wakes(bench: Bench) -> float:
    dsn = bench.server.database(_DATABASE)
    times = []
    try:
        async with engine(dsn, bench.reactor) as running:
            await running.start("w", "Counting", bench.count(20, 2), 1)
            await deferLater(bench.reactor, 1.0)
            for number in range(1, bench.count(20, 2) + 1):
                sent = monotonic()
                await running.database.run(
                    """
                    INSERT INTO workflow_event (workflow, type, name, payload, dedupe_key)
                    SELECT id, 'signal', 'tick', '[1]', 'tick' FROM workflow
                    WHERE name = %s
                    """,
                    (f"w-{number}",),
                )
                # Woken is who has taken the step that the message caused.
                while not await running.count(f"name = 'w-{number}' AND position > 1"):
                    await deferLater(bench.reactor, 0.001)
                times.append(monotonic() - sent)
    finally:
        bench.server.drop(_DATABASE)
    return median(times) * 1000


async def _dbos(bench: Bench, count: int, each: int) -> Figures:
    venv = await installed(bench.processes, "dbos")
    bench.server.database(_DATABASE, migrated=False)
    address = f"postgresql://headrace@/{_DATABASE}?host={bench.server.sockets}"
    python = str(venv / "bin" / "python")
    command = [python, "-P", str(_SCRIPT), address, str(count), str(each)]
    try:
        said = await bench.processes.run(command, environ(), timeout=600)
    finally:
        bench.server.drop(_DATABASE)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    found: Figures = json.loads(lines[-1])
    return found


PART = Part("dbos", (), measure)
