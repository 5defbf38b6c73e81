"""A line of a million jobs, made once in a run and copied by whoever needs it."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.books import opened
from benchmarks.progress import say

#: Whose jobs they are: none of the workers here is of it.
ARCHITECTURE = "riscv64"

_TEMPLATE = "deep_line"


def length(bench: Bench) -> int:
    """How many jobs there are in it."""
    return bench.count(1_000_000, 5_000)


async def copy(bench: Bench, name: str) -> str:
    """The DSN of a new database ``name`` with the line in it; the caller drops it."""
    if _TEMPLATE not in bench.server.databases():
        say(f"making a line of {length(bench):,} jobs")
        dsn = bench.server.database(_TEMPLATE)
        async with opened(dsn, bench.reactor, claims=False) as books:
            await books.fill(await books.job_class(ARCHITECTURE), length(bench))
        bench.server.settle(_TEMPLATE)
    dsn = bench.server.copy(name, _TEMPLATE)
    bench.server.execute("CHECKPOINT")
    return dsn
