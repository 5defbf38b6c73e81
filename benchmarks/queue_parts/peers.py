"""Other queues on the same server, each with the settings that suit it best."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.parts import Part
from benchmarks.peers import buildbot
from benchmarks.peers.installed import environ, installed
from benchmarks.progress import say
from benchmarks.queue_parts import drain
from benchmarks.report import Bar, Figures, Measured

_RATIO = Bar("claim + finish / pgqueuer's drain", "times", ">=", 1.3)

_ROUNDS = 3
_SCRIPTS = Path(peers.__file__).parent


async def measure(bench: Bench) -> Measured:
    """Each drains jobs that do nothing; wall clock. Only with ``--peers``."""
    if not bench.options.peers:
        return Measured(why="only with --peers: a ratio needs the same run")
    jobs = bench.count(50_000, 200)
    ours, theirs = [], []
    for number in range(bench.count(_ROUNDS, 1)):  # in turn, so that noise falls on both
        say(f"peers: round {number + 1}, {jobs:,} jobs")
        ours.append(await drain.through_master(bench, jobs))
        theirs.append(await _drained(bench, "pgqueuer", jobs))
    figures: Figures = {
        "headrace": _medians(ours, "jobs_per_s"),
        "pgqueuer": _medians(theirs, "drain_per_s", "enqueue_per_s"),
    }
    say("peers: procrastinate")
    figures["procrastinate"] = await _drained(
        bench, "procrastinate", bench.count(2_000, 50)
    )
    folder = bench.options.buildbot
    why = buildbot.missing(folder)
    figures["buildbot"] = {"skipped": why} if why else await buildbot.measure(bench, folder)
    ratio = figures["headrace"]["jobs_per_s"] / figures["pgqueuer"]["drain_per_s"]
    return Measured(figures, {_RATIO.name: ratio})


async def _drained(bench: Bench, peer: str, jobs: int) -> Figures:
    venv = await installed(bench.processes, peer)
    bench.server.database("peer", migrated=False)
    address = f"postgresql://headrace@/peer?host={bench.server.sockets}"
    script = [str(venv / "bin" / "python"), "-P", str(_SCRIPTS / f"{peer}_drain.py")]
    try:
        said = await bench.processes.run(
            [*script, address, str(jobs)], environ(), timeout=600
        )
    finally:
        bench.server.drop("peer")
    found: Figures = json.loads(said.splitlines()[-1])
    return found


def _medians(rounds: list[Figures], *names: str) -> Figures:
    found = dict(rounds[0])
    for name in names:
        found[name] = median(each[name] for each in rounds)
        found[f"{name}_rounds"] = [each[name] for each in rounds]
    return found


PART = Part("peers", (_RATIO,), measure)
