"""What a transaction that somebody leaves open for a minute costs the queue."""

from __future__ import annotations

from contextlib import nullcontext
from time import monotonic

from benchmarks import deep
from benchmarks.bench import Bench
from benchmarks.books import Books, opened
from benchmarks.old_transaction import old_transaction
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from buildmaster.store.step import Claim

_COST = Bar("rate lost to a transaction left open for 60 s", "%", "<=", 20)

_SECONDS = 60.0
_BATCH = 100


async def measure(bench: Bench) -> Measured:
    """A minute without and one with it, each on a fresh copy of the same line."""
    seconds = 0.2 if bench.quick else _SECONDS
    without = await _minute(bench, seconds, held=False)
    held = await _minute(bench, seconds, held=True)
    # The last quarter is the worst: what cannot be removed has grown until then.
    lost = 100 * (1 - held["last_quarter_jobs_per_s"] / without["last_quarter_jobs_per_s"])
    return Measured({"without": without, "with": held}, {_COST.name: lost})


async def _minute(bench: Bench, seconds: float, *, held: bool) -> Figures:
    say(f"old transaction: {seconds:.0f} s {'with' if held else 'without'} it")
    dsn = await deep.copy(bench, "old")
    try:
        async with opened(dsn, bench.reactor) as books:
            with old_transaction(dsn) if held else nullcontext():
                return await _rates(
                    books, await books.job_class(deep.ARCHITECTURE), seconds
                )
    finally:
        bench.server.drop("old")


async def _rates(books: Books, job_class: int, seconds: float) -> Figures:
    """Jobs per second, of the whole time and of its last quarter."""
    claims: list[Claim] = []
    start = monotonic()
    jobs, late_jobs, late_start = 0, 0, 0.0
    while (now := monotonic()) < start + seconds or not late_jobs:
        claims = await books.step(claims, [job_class], _BATCH)
        assert claims, "the line has run dry: the figure would mean nothing"
        jobs += len(claims)
        if now >= start + 0.75 * seconds:
            late_start = late_start or now
            late_jobs += len(claims)
    ended = monotonic()
    return {
        "jobs": jobs,
        "jobs_per_s": jobs / (ended - start),
        "last_quarter_jobs_per_s": late_jobs / (ended - late_start),
    }


PART = Part("old-transaction", (_COST,), measure)
