"""Jobs that do nothing, all the way: queue, master, worker daemons, and back."""

from __future__ import annotations

from time import monotonic

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.books import NOTHING, Books, opened
from benchmarks.farm import Farm
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured

_ONE = Bar("whole path, 10 workers of one slot", "jobs/s", ">=", 1_000)
_EIGHT = Bar("whole path, 10 workers of eight slots", "jobs/s", ">=", 3_000)


async def measure(bench: Bench) -> Measured:
    """Real workers on the loopback interface."""
    one = await _farm(bench, slots=1, jobs=bench.count(10_000, 30))
    eight = await _farm(bench, slots=8, jobs=bench.count(30_000, 30))
    return Measured(
        {"slots_1": one, "slots_8": eight},
        {_ONE.name: one["jobs_per_s"], _EIGHT.name: eight["jobs_per_s"]},
    )


async def _farm(bench: Bench, *, slots: int, jobs: int) -> Figures:
    workers = bench.count(10, 2)
    say(f"whole path: {jobs:,} jobs, {workers} workers of {slots} slots")
    dsn = bench.server.database("whole")
    farm = Farm(bench, dsn, workers=workers, slots=slots)
    try:
        await farm.start_master()
        await farm.start_workers(NOTHING)
        async with opened(dsn, bench.reactor, claims=False) as books:
            job_class = await books.job_class("", NOTHING)
            await _drain(farm, books, job_class, jobs // 5)  # warms it up
            bench.server.settle("whole")
            used = [machine.processor_seconds(pid) for pid in farm.pids]
            seconds = await _drain(farm, books, job_class, jobs)
            used = [
                machine.processor_seconds(pid) - before
                for pid, before in zip(farm.pids, used, strict=True)
            ]
    finally:
        await farm.stop()
        bench.server.drop("whole")
    return {
        "jobs": jobs,
        "jobs_per_s": jobs / seconds,
        "master_processor_us_per_job": 1e6 * used[0] / jobs,
        "workers_processor_us_per_job": 1e6 * sum(used[1:]) / jobs,
    }


async def _drain(farm: Farm, books: Books, job_class: int, jobs: int) -> float:
    """Seconds from when the jobs are there until all are done."""
    before, _ = await books.span()
    await books.add(job_class, jobs)  # in one transaction: nobody sees some of them
    start = monotonic()
    await farm.until_idle(books, pause=0.01)
    seconds = monotonic() - start
    done, _ = await books.span()
    assert done - before == jobs, f"{done - before} of {jobs} jobs are done"
    return seconds


PART = Part("whole-path", (_ONE, _EIGHT), measure)
