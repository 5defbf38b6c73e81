"""How long a job waits for a worker while others read lists without a pause."""

from __future__ import annotations

import sys

from benchmarks.bench import Bench
from benchmarks.books import CLOCK, opened
from benchmarks.farm import Farm
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.queue_parts.pickup import pick_ups
from benchmarks.report import Bar, Figures, Measured
from benchmarks.status_parts.lists import FRESH, LIST, environ
from benchmarks.status_parts.rows import add_builds

_RATIO = Bar(
    "pick-up while 8 clients list 1,000 builds, p99, of the quiet one", "times", "<=", 2
)
_JOBS = 400


async def _measure(bench: Bench) -> Measured:
    dsn = bench.server.database("reading")
    count = bench.count(10_000, 3000)
    add_builds(dsn, 1, count)
    farm = Farm(bench, dsn, workers=bench.count(10, 2), slots=1)
    try:
        async with opened(dsn, bench.reactor, claims=False) as books:
            await farm.start_master()
            await farm.start_workers(CLOCK)
            job_class = await books.job_class("", CLOCK)
            jobs = bench.count(_JOBS, 2)
            await pick_ups(bench, books, job_class, bench.count(20, 1))
            say("pick-up, quiet")
            quiet = await pick_ups(bench, books, job_class, jobs)
            command = [sys.executable, "-m", "benchmarks.status_parts.client", "ask"]
            front = await farm.start_front()
            seen: Figures = {}
            other = f"{LIST}&after={{{count}}}"  # nobody shares an answer with another
            for name, address, path in (
                ("while_read", farm.addresses.http, LIST),
                ("while_read_at_a_front", front, LIST),
                ("while_each_reads_another", farm.addresses.http, other),
                ("while_each_reads_another_at_a_front", front, other),
            ):
                port = address.rpartition(":")[2]
                asking = [*command, port, path, "10000000", "8", FRESH]
                log = farm.folder / f"{name}.log"
                say(f"pick-up {name.replace('_', ' ')}")
                readers = bench.processes.start(asking, log, environ())
                try:
                    busy = await pick_ups(bench, books, job_class, jobs)
                finally:
                    await bench.processes.end(readers)
                ratio = busy.p99 / quiet.p99
                seen[name] = {**busy.figures, "ratio_of_p99": ratio}
    finally:
        await farm.stop()
        bench.server.drop("reading")
    figures: Figures = {"quiet": quiet.figures, **seen}
    return Measured(figures, {_RATIO.name: seen["while_read"]["ratio_of_p99"]})


PART = Part("under-reading", (_RATIO,), _measure)
