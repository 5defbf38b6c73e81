"""How many jobs a second are claimed and finished, without any worker's code."""

from __future__ import annotations

from time import monotonic

from benchmarks.bench import Bench
from benchmarks.books import Books, Claim, opened
from benchmarks.latency import Latencies
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured

RATE = Bar("claim + finish through the whole master", "jobs/s", ">=", 10_000)
#: The bar is lower where the machine is slower: this share of the best pgbench script.
_SHARE = 0.8

_BATCHES = (1, 10, 100, 500)
#: Where a larger one gains little and makes everybody wait longer.
BEST_BATCH = 500


async def measure(bench: Bench) -> Measured:
    """Drains a line by steps of several sizes."""
    figures: Figures = {}
    for batch in _BATCHES:
        jobs = bench.count({1: 2_000, 10: 20_000}.get(batch, 100_000), 2 * batch)
        say(f"drain: {jobs:,} jobs by {batch}")
        figures[f"step_{batch}"] = await drain(bench, jobs, batch)
    return Measured(figures, limits=limits(bench))


def limits(bench: Bench) -> dict[str, float]:
    """The bar that this machine allows."""
    best = bench.reference.get("pgbench_lifecycle_jobs_per_s", {}).get("best_kept")
    return {} if best is None else {RATE.name: min(RATE.limit, _SHARE * best)}


async def drain(bench: Bench, jobs: int, batch: int) -> Figures:
    """Fill a line, and empty it by steps of ``batch``; wall clock."""
    dsn = bench.server.database("drain")
    try:
        async with opened(dsn, bench.reactor) as books:
            job_class = await books.job_class("amd64")
            await books.fill(job_class, jobs)
            bench.server.settle("drain")
            times, start = Latencies(), monotonic()
            await _empty(books, job_class, batch, times)
            took = monotonic() - start
            done = (await books.counted("result", job_class)).get("success", 0)
            assert done == jobs, f"{done} of {jobs} jobs are done"
        return {"jobs": jobs, "jobs_per_s": jobs / took, "step": times.figures}
    finally:
        bench.server.drop("drain")


async def _empty(books: Books, job_class: int, batch: int, times: Latencies) -> None:
    claims: list[Claim] = []
    while True:
        with times.timed():
            claims = await books.step(claims, [job_class], batch)
        if not claims:
            return


PART = Part("drain", (RATE,), measure)
