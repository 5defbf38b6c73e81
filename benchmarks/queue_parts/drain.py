"""How many jobs a second are claimed and finished, without any worker's code.

Through the whole master: its daemon, its protocol, its books. And by its one call to the
database alone, in steps of several sizes.
"""

from __future__ import annotations

from time import monotonic

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.books import NOTHING, WORKERS, Books, opened
from benchmarks.farm import Farm
from benchmarks.latency import Latencies
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from buildmaster.store.step import Claim

RATE = Bar("claim + finish through the whole master", "jobs/s", ">=", 10_000)
#: The bar is lower where the machine is slower: this share of the best pgbench script.
_SHARE = 0.8

_BATCHES = (1, 10, 100, 500)
#: Of each of the workers that answer at once: what a master may claim for them together.
_SLOTS = 100


async def measure(bench: Bench) -> Measured:
    """Drains a line by steps of several sizes."""
    figures: Figures = {}
    jobs = bench.count(100_000, 200)
    say(f"drain: {jobs:,} jobs through the whole master")
    whole = figures["whole_master"] = await through_master(bench, jobs)
    for batch in _BATCHES:
        jobs = bench.count({1: 2_000, 10: 20_000}.get(batch, 100_000), 2 * batch)
        say(f"drain: {jobs:,} jobs by {batch}")
        figures[f"step_{batch}"] = await drain(bench, jobs, batch)
    return Measured(figures, {RATE.name: whole["jobs_per_s"]}, limits(bench))


def limits(bench: Bench) -> dict[str, float]:
    """The bar that this machine allows."""
    best = bench.reference.get("pgbench_lifecycle_jobs_per_s", {}).get("best_kept")
    return {} if best is None else {RATE.name: min(RATE.limit, _SHARE * best)}


async def through_master(bench: Bench, jobs: int) -> Figures:
    """A master's daemon, and workers that answer every order at once; wall clock.

    From the first claim to the last end, both by the database's clock.
    """
    dsn = bench.server.database("drain")
    farm = Farm(bench, dsn, workers=len(WORKERS), slots=_SLOTS)
    try:
        await farm.start_master()
        async with opened(dsn, bench.reactor, claims=False) as books:
            await books.fill(await books.job_class("amd64"), jobs)
            bench.server.settle("drain")
            of_master = machine.processor_seconds(farm.pids[0])
            of_server = machine.tree_seconds(bench.server.pid)
            await farm.start_paper_workers(NOTHING)
            await farm.until_idle(books, pause=0.1)
            of_master = machine.processor_seconds(farm.pids[0]) - of_master
            of_server = machine.tree_seconds(bench.server.pid) - of_server
            done, seconds = await books.span()
            assert done == jobs, f"{done} of {jobs} jobs are done"
    finally:
        await farm.stop()
        bench.server.drop("drain")
    return {
        "jobs": jobs,
        "jobs_per_s": jobs / seconds,
        "master_processor_us_per_job": 1e6 * of_master / jobs,
        "postgresql_processor_us_per_job": 1e6 * of_server / jobs,
    }


async def drain(bench: Bench, jobs: int, batch: int) -> Figures:
    """Fill a line, and empty it by steps of ``batch``; wall clock."""
    dsn = bench.server.database("drain")
    try:
        async with opened(dsn, bench.reactor) as books:
            job_class = await books.job_class("amd64")
            await books.fill(job_class, jobs)
            bench.server.settle("drain")
            of_server = machine.tree_seconds(bench.server.pid)
            times, start = Latencies(), monotonic()
            await _empty(books, job_class, batch, times)
            took = monotonic() - start
            of_server = machine.tree_seconds(bench.server.pid) - of_server
            done = (await books.counted("result", job_class)).get("success", 0)
            assert done == jobs, f"{done} of {jobs} jobs are done"
        return {
            "jobs": jobs,
            "jobs_per_s": jobs / took,
            "postgresql_processor_us_per_job": 1e6 * of_server / jobs,
            "step": times.figures,
        }
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
