"""What dies and what freezes: seconds until the farm goes on, or says what is the case."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from benchmarks.protocol_parts.at_hand import Bench
from benchmarks.report import Bar, Figures, Measured
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome

BUILDS = 20
AWAY = (0.0, 5.0, 60.0)
BARS = (
    *(
        Bar(f"only master killed, back after {away:g} s: first attempts", "of 20", ">=", 20)
        for away in AWAY
    ),
    Bar("one of two masters killed: until dispatch by the other", "s", "<=", 3.0),
    Bar("worker frozen: until it is unreachable", "s", "<=", 15.0),
    Bar("build of a frozen worker stopped: until over on the books", "s", "<=", 5.0),
)
_GATED = """\
pipeline: [wait]
jobs:
  wait:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      seq 2000; echo it runs
      until test -e {0}; do sleep 0.1; done
      seq 2000; echo the end
"""
_LINES = "\n".join(map(str, range(1, 2001)))


async def measure(quick: bool) -> Measured:
    """Each in a farm of its own."""
    figures: Figures = {}
    values: dict[str, float] = {}
    for away, bar in zip(AWAY, BARS, strict=False):
        if quick and away > 5:
            continue
        found = await _with(_only_master, away, 2 if quick else BUILDS)
        figures[f"only master away for {away:g} s"] = found
        values[bar.name] = found["first_attempts_with_whole_logs"]
    found = await _with(_two_masters)
    figures["two masters"] = found
    values[BARS[3].name] = found["until_dispatch_s"]
    found = await _with(_frozen)
    figures["frozen worker"] = found
    values[BARS[4].name] = found["until_unreachable_s"]
    values[BARS[5].name] = found["until_stopped_s"]
    return Measured(figures, values)


async def _with(what: Any, *given: Any) -> Figures:
    bench: Any = Bench()
    try:
        found: Figures = await what(bench, *given)
        return found
    finally:
        await bench.tidy()


async def _only_master(bench: Any, away: float, builds: int) -> Figures:
    master = MasterHome(bench, fresh_dsn(bench))
    daemon = await master.start()
    WorkerHome(bench, master.port, slots=builds).start()
    await master.worker("ant", "connected")
    gates = [Path(bench.folder, f"gate{number}") for number in range(builds)]
    jobs = [
        job for gate in gates for job in await master.submit(bench, _GATED.format(gate))
    ]
    for job in jobs:
        await master.logged(job, "it runs")
    await daemon.kill()
    for gate in gates[: builds // 2]:
        gate.touch()
    await deferLater(reactor, away)
    began = time.perf_counter()
    await master.start()
    await master.worker("ant", "connected")
    resumed = time.perf_counter() - began
    for gate in gates[builds // 2 :]:
        gate.touch()
    ended = await gatherResults([Deferred.fromCoroutine(master.done(job)) for job in jobs])
    good = 0
    for end in ended:
        whole = f"{_LINES}\nit runs\n{_LINES}\nthe end\n" in await master.logged(end.id)
        good += whole and (end.result, end.attempt) == ("success", 1)
    return {
        "builds": builds,
        "first_attempts_with_whole_logs": good,
        "start_until_resumed_s": resumed,
    }


async def _two_masters(bench: Any) -> Figures:
    dsn = fresh_dsn(bench)
    one, two = MasterHome(bench, dsn, "m1"), MasterHome(bench, dsn, "m2")
    daemon = await one.start()
    await two.start()
    WorkerHome(bench, one.port, two.port, slots=4).start()
    await one.worker("ant", "connected")
    gate = Path(bench.folder, "gate")
    [first] = await two.submit(bench, _GATED.format(gate))
    await two.logged(first, "it runs")
    killed = time.perf_counter()
    await daemon.kill()
    [second] = await two.submit(bench, _GATED.format(gate) + "# another\n")
    while (await two.client.job(second)).state in ("waiting", "ready"):
        await deferLater(reactor, 0.02)
    until = time.perf_counter() - killed
    gate.touch()
    ended = [await two.done(first), await two.done(second)]
    return {
        "until_dispatch_s": until,
        "results": [f"{job.result} in attempt {job.attempt}" for job in ended],
    }


async def _frozen(bench: Any) -> Figures:
    master = MasterHome(bench, fresh_dsn(bench))
    await master.start()
    worker = WorkerHome(bench, master.port).start()
    await master.worker("ant", "connected")
    gate = Path(bench.folder, "gate")
    [job] = await master.submit(bench, _GATED.format(gate))
    await master.logged(job, "it runs")
    frozen = time.perf_counter()
    os.kill(worker.pid, signal.SIGSTOP)
    bench.addCleanup(worker.signal, signal.SIGCONT)
    await master.worker("ant", "unreachable")
    unreachable = time.perf_counter() - frozen
    asked = time.perf_counter()
    await master.client.cancel("job", job, "no longer wanted")
    await master.done(job)
    return {
        "until_unreachable_s": unreachable,
        "until_stopped_s": time.perf_counter() - asked,
    }
