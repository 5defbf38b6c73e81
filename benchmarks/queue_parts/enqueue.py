"""How many jobs a second are put into the line, one by one and a thousand at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

from benchmarks.bench import Bench
from benchmarks.books import opened
from benchmarks.latency import Latencies
from benchmarks.parts import Part
from benchmarks.report import Figures, Measured

_BATCH = 1_000


async def measure(bench: Bench) -> Measured:
    """One client after the other, each call a transaction of its own."""
    dsn = bench.server.database("enqueue")
    try:
        async with opened(dsn, bench.reactor) as books:
            job_class = await books.job_class("amd64")
            single = await _timed(bench.count(2_000, 10), lambda: books.add(job_class, 1))
            batch = await _timed(bench.count(50, 2), lambda: books.add(job_class, _BATCH))
            added = (await books.counted("state", job_class)).get("ready", 0)
    finally:
        bench.server.drop("enqueue")
    calls = single["call"]["n"] + _BATCH * batch["call"]["n"]
    assert added == calls, f"{added} of {calls} jobs are in the line"
    single["jobs_per_s"] = single["calls_per_s"]
    batch["jobs_per_s"] = _BATCH * batch["calls_per_s"]
    return Measured({"single": single, f"batches_of_{_BATCH}": batch})


async def _timed(calls: int, call: Callable[[], Awaitable[object]]) -> Figures:
    times, start = Latencies(), monotonic()
    for _ in range(calls):
        with times.timed():
            await call()
    return {"calls_per_s": calls / (monotonic() - start), "call": times.figures}


PART = Part("enqueue", (), measure)
