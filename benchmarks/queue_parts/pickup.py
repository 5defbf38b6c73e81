"""How long a job waits until a worker begins it, where nothing stands in its way."""

from __future__ import annotations

from functools import partial
from time import monotonic

from twisted.internet.task import deferLater

from benchmarks import deep
from benchmarks.bench import Bench
from benchmarks.books import CLOCK, Books, opened
from benchmarks.farm import Farm
from benchmarks.latency import Latencies
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured

_IDLE_P50 = Bar("pick-up on an idle farm, p50", "ms", "<=", 8)
_IDLE_P99 = Bar("pick-up on an idle farm, p99", "ms", "<=", 50)
_DEEP_P50 = Bar("pick-up with 1,000,000 jobs queued for others, p50", "ms", "<=", 8)
_DEEP_P99 = Bar("pick-up with 1,000,000 jobs queued for others, p99", "ms", "<=", 50)

_RUNS = 3
_JOBS = 300
_DATABASE = "pickup"
#: Seconds between two jobs: the farm is idle again long before.
_PAUSE = 0.05


async def measure(bench: Bench) -> Measured:
    """Real workers; three runs each, of which the best counts."""
    idle = await _farm(bench, bench.server.database(_DATABASE))
    say(f"pick-up: with {deep.length(bench):,} jobs queued for another architecture")
    behind = await _farm(bench, await deep.copy(bench, _DATABASE))
    best, best_deep = _best(idle), _best(behind)
    return Measured(
        {"idle": _figures(idle), "behind_1m_of_others": _figures(behind)},
        {
            _IDLE_P50.name: best.p50,
            _IDLE_P99.name: best.p99,
            _DEEP_P50.name: best_deep.p50,
            _DEEP_P99.name: best_deep.p99,
        },
    )


async def _farm(bench: Bench, dsn: str) -> list[Latencies]:
    farm = Farm(bench, dsn, workers=bench.count(10, 2), slots=1)
    try:
        async with opened(dsn, bench.reactor, claims=False) as books:
            await farm.start_master()
            await farm.start_workers(CLOCK)
            job_class = await books.job_class("", CLOCK)
            await pick_ups(bench, books, job_class, bench.count(20, 1))  # warms it up
            return [
                await pick_ups(bench, books, job_class, bench.count(_JOBS, 3))
                for _ in range(bench.count(_RUNS, 1))
            ]
    finally:
        await farm.stop()
        bench.server.drop(_DATABASE)


async def pick_ups(bench: Bench, books: Books, job_class: int, jobs: int) -> Latencies:
    """From just before the job is sent to the database until its callable is called."""
    times = Latencies()
    for _ in range(jobs):
        asked = monotonic()
        [job] = await books.add(job_class, 1)
        await deferLater(bench.reactor, _PAUSE)
        output = await bench.until(partial(books.output, job), pause=_PAUSE, patience=30.0)
        times.add(output["monotonic"] - asked)
    return times


def _best(runs: list[Latencies]) -> Latencies:
    return min(runs, key=lambda run: (run.p99, run.p50))


def _figures(runs: list[Latencies]) -> Figures:
    return {f"run_{number}": run.figures for number, run in enumerate(runs, 1)}


PART = Part("pick-up", (_IDLE_P50, _IDLE_P99, _DEEP_P50, _DEEP_P99), measure)
