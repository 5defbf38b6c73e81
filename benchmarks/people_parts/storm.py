"""How long a job waits for a worker while people log in without a pause."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.books import CLOCK, opened
from benchmarks.farm import Farm
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.queue_parts.pickup import pick_ups
from benchmarks.report import Bar, Figures, Measured
from benchmarks.status_parts.lists import environ
from buildmaster.people.passwords import new_hash

_JOBS, _THREADS = 150, 30


def people(file: Path, line: str) -> dict[str, Any]:
    """The master's setting, with ada in the file of passwords."""
    file.write_text(f"ada:{line}\n")
    return {"htpasswd": str(file), "roles": [{"user": "ada", "role": "reader"}]}


def _bar(kind: str) -> Bar:
    name = f"pick-up while 30 clients log in with {kind}, p99, of the quiet one"
    return Bar(name, "times", "<=", 3)


#: sha-crypt is partly Python, and bcrypt is not.
_KINDS = {
    "bcrypt": new_hash("lace"),
    "sha512-crypt": (
        "$6$rounds=50000$abcdefgh$FDddMcLcZl9ZNAeApFaDCtp85rLwBgNPh5SwuntTTureGjNOfFQMU1dIl/Uqwq"
        "rMqLlWCes2ctxnlYNZXuUn91"
    ),
}
_BARS = {kind: _bar(kind) for kind in _KINDS}


async def _measure(bench: Bench) -> Measured:
    dsn = bench.server.database("storm")
    file = bench.folder / "htpasswd"
    settings = {"people": people(file, _KINDS["bcrypt"])}
    farm = Farm(bench, dsn, workers=bench.count(10, 2), slots=1, settings=settings)
    figures: Figures = {}
    values: dict[str, float] = {}
    try:
        async with opened(dsn, bench.reactor, claims=False) as books:
            await farm.start_master()
            await farm.start_workers(CLOCK)
            port = farm.addresses.http.rpartition(":")[2]
            job_class = await books.job_class("", CLOCK)
            jobs = bench.count(_JOBS, 2)
            await pick_ups(bench, books, job_class, bench.count(20, 1))
            say("pick-up, quiet")
            quiet = await pick_ups(bench, books, job_class, jobs)
            figures["quiet"] = quiet.figures
            for kind, line in _KINDS.items():
                people(file, line)
                log = farm.folder / f"storm-{kind}.log"
                say(f"pick-up while people log in with {kind}")
                command = [sys.executable, "-m", "benchmarks.people_parts.client"]
                storm = bench.processes.start(
                    [*command, port, str(_THREADS)], log, environ()
                )
                try:
                    busy = await pick_ups(bench, books, job_class, jobs)
                finally:
                    await bench.processes.end(storm)
                ratio = busy.p99 / quiet.p99
                values[_BARS[kind].name] = ratio
                answers = log.read_text().strip()
                figures[kind] = {**busy.figures, "ratio": ratio, "answers": answers}
    finally:
        await farm.stop()
        bench.server.drop("storm")
    return Measured(figures, values)


PART = Part("storm", tuple(_BARS.values()), _measure)
