"""One job that many wait for, and one that waits for those."""

from __future__ import annotations

from time import monotonic

from benchmarks.bench import Bench
from benchmarks.books import Books, opened
from benchmarks.parts import Part
from benchmarks.report import Bar, Figures, Measured
from buildmaster.store.step import Claim

_UNBLOCK = Bar("1 -> 10,000 -> 1 unblocks", "s", "<=", 0.5)
_EVENTS = Bar("events lost by 1 -> 10,000 -> 1", "events", "<=", 0)

_BATCH = 1_000


async def measure(bench: Bench) -> Measured:
    """Both graphs; the larger one must show."""
    small = await _fan(bench, bench.count(1_000, 20))
    large = await _fan(bench, bench.count(10_000, 50))
    return Measured(
        {"1-1000-1": small, "1-10000-1": large},
        {_UNBLOCK.name: large["unblock_s"], _EVENTS.name: large["events_lost"]},
    )


async def _fan(bench: Bench, width: int) -> Figures:
    dsn = bench.server.database("graph")
    try:
        async with opened(dsn, bench.reactor) as books:
            job_class = await books.job_class("amd64")
            start = monotonic()
            first = await books.add_fan(job_class, width)
            added = monotonic()
            bench.server.settle("graph")
            [root] = await books.step((), [job_class], 1)
            assert root.job == first, (root, first)
            finishing = monotonic()
            assert await books.step([root], [], 0) == []
            unblocked = monotonic()
            ready = (await books.counted("state", job_class)).get("ready", 0)
            assert ready == width, f"{ready} of {width} jobs are ready"
            draining = monotonic()
            await _drain(books, job_class)
            drained = monotonic()
            lost = await _events_lost(books, job_class, width + 2)
        return {
            "jobs": width + 2,
            "add_s": added - start,
            "unblock_s": unblocked - finishing,
            "drain_s": drained - draining,
            "events_lost": lost,
        }
    finally:
        bench.server.drop("graph")


async def _drain(books: Books, job_class: int) -> None:
    claims: list[Claim] = []
    while claims := await books.step(claims, [job_class], _BATCH):
        pass


async def _events_lost(books: Books, job_class: int, jobs: int) -> int:
    """Each job has become ready, was assigned and is done: once each, not more often."""
    done = (await books.counted("result", job_class)).get("success", 0)
    assert done == jobs, f"{done} of {jobs} jobs are done"
    events = await books.events(job_class)
    return sum(
        abs(jobs - events.get(kind, 0))
        for kind in ("job.ready", "job.assigned", "job.done")
    )


PART = Part("graph", (_UNBLOCK, _EVENTS), measure)
