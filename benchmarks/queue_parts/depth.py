"""Claims from short and long lines: the length must not matter."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import deep
from benchmarks.bench import Bench
from benchmarks.books import Books, opened
from benchmarks.latency import Latencies
from benchmarks.parts import Part
from benchmarks.report import Bar, Figures, Measured

_DEEP = Bar("p50 of a claim at depth 1,000,000 / at 1,000", "times", "<=", 1.3)
_TAIL = Bar("p50 of a claim behind another architecture's 1,000,000", "times", "<=", 1.3)

#: Jobs that one claim takes, and claims from each line.
_AT_ONCE = 10
_CLAIMS = 400


async def measure(bench: Bench) -> Measured:
    """Claims in turn from lines of every depth, so that noise falls on all alike."""
    short = bench.count(1_000, 100)
    dsns = {}
    try:
        for name, depth in (("1k", short), ("100k", bench.count(100_000, 200))):
            dsns[name] = bench.server.database(f"depth_{name}")
            async with opened(dsns[name], bench.reactor) as books:
                await books.fill(await books.job_class(deep.ARCHITECTURE), depth)
        dsns["1m"] = await deep.copy(bench, "depth_1m")
        async with opened(dsns["1m"], bench.reactor) as books:  # behind all the others
            first = deep.length(bench)
            await books.fill(await books.job_class("amd64"), short, first=first)
        for name in dsns:
            bench.server.settle(f"depth_{name}")
        times = await _in_turn(bench, dsns)
    finally:
        for name in ("1k", "100k", "1m"):
            bench.server.drop(f"depth_{name}")
    base = times["1k"].p50
    figures: Figures = {f"claim_{name}": found.figures for name, found in times.items()}
    return Measured(
        {"jobs_of_a_claim": _AT_ONCE, **figures},
        {_DEEP.name: times["1m"].p50 / base, _TAIL.name: times["tail_of_1m"].p50 / base},
    )


async def _in_turn(bench: Bench, dsns: Mapping[str, str]) -> dict[str, Latencies]:
    times: dict[str, Latencies] = {}
    async with (
        opened(dsns["1k"], bench.reactor) as short,
        opened(dsns["100k"], bench.reactor) as long,
        opened(dsns["1m"], bench.reactor) as longest,
    ):
        line = deep.ARCHITECTURE
        lines = {
            "1k": (short, await short.job_class(line)),
            "100k": (long, await long.job_class(line)),
            "1m": (longest, await longest.job_class(line)),
            "tail_of_1m": (longest, await longest.job_class("amd64")),
        }
        for number in range(bench.count(_CLAIMS, 5)):
            for name, (books, job_class) in lines.items():
                if number == bench.count(20, 1):
                    times[name] = Latencies()  # what came before has warmed it up
                await _claim(books, job_class, times.setdefault(name, Latencies()))
    return times


async def _claim(books: Books, job_class: int, times: Latencies) -> None:
    """One claim; what it took is finished and replaced, so that the depth stays."""
    with times.timed():
        claims = await books.step((), [job_class], _AT_ONCE)
    assert len(claims) == _AT_ONCE, len(claims)
    await books.step(claims, [], 0)
    await books.fill(job_class, _AT_ONCE, first=2_000_000)


PART = Part("depth", (_DEEP, _TAIL), measure)
