"""Claims from short and long lines: the length must not matter."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.books import Books, opened
from benchmarks.latency import Latencies
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured

_DEEP = Bar("p50 of a claim at depth 1,000,000 / at 1,000", "times", "<=", 1.3)
_TAIL = Bar("p50 of a claim behind another architecture's 1,000,000", "times", "<=", 1.3)

#: Jobs that one claim takes, and claims from each line.
_AT_ONCE = 10
_CLAIMS = 400


async def measure(bench: Bench) -> Measured:
    """Claims in turn from lines of every depth, so that noise falls on all alike."""
    shallow = bench.count(1_000, 100)
    depths = {"1k": shallow, "100k": bench.count(100_000, 200), "1m": deep(bench)}
    dsns = {}
    for name, depth in depths.items():
        say(f"depth: {depth:,} jobs in the line")
        dsns[name] = bench.server.database(f"depth_{name}")
        async with opened(dsns[name], bench.reactor) as books:
            await books.fill(await books.job_class("amd64"), depth)
            if name == "1m":  # another architecture's, behind them
                await books.fill(await books.job_class("riscv64"), shallow, first=depth)
        bench.server.settle(f"depth_{name}")
    try:
        times = await _in_turn(bench, dsns)
    finally:
        for name in depths:
            bench.server.drop(f"depth_{name}")
    base = times["1k"].p50
    figures: Figures = {f"claim_{name}": found.figures for name, found in times.items()}
    return Measured(
        {"jobs_of_a_claim": _AT_ONCE, **figures},
        {_DEEP.name: times["1m"].p50 / base, _TAIL.name: times["tail_of_1m"].p50 / base},
    )


def deep(bench: Bench) -> int:
    """How long the longest line is."""
    return bench.count(1_000_000, 500)


async def _in_turn(bench: Bench, dsns: Mapping[str, str]) -> dict[str, Latencies]:
    times: dict[str, Latencies] = {}
    async with (
        opened(dsns["1k"], bench.reactor) as short,
        opened(dsns["100k"], bench.reactor) as long,
        opened(dsns["1m"], bench.reactor) as longest,
    ):
        lines = {
            "1k": (short, await short.job_class("amd64")),
            "100k": (long, await long.job_class("amd64")),
            "1m": (longest, await longest.job_class("amd64")),
            "tail_of_1m": (longest, await longest.job_class("riscv64")),
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
