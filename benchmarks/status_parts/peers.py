"""How fast Buildbot lists and shows builds, on the same machine in the same run."""

from __future__ import annotations

from shutil import which

from benchmarks.bench import Bench
from benchmarks.parts import Part
from benchmarks.peers import buildbot
from benchmarks.report import Measured


async def _measure(bench: Bench) -> Measured:
    folder = bench.options.buildbot
    why = buildbot.missing(folder)
    if not why and which("wrk") is None:
        why = "the measuring script for Buildbot needs wrk"
    if why:
        return Measured(why=why)
    return Measured({"buildbot": await buildbot.measure_status(bench, folder)}, {})


PART = Part("peers", (), _measure)
