"""How long it takes to play a long history again, as after a restart."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import msgspec

from benchmarks.bench import Bench
from benchmarks.parts import Part
from benchmarks.report import Bar, Measured
from benchmarks.workflow_parts.classes import Counting
from buildmaster.workflow.definition import definition_of
from buildmaster.workflow.execution import Execution
from buildmaster.workflow.history import Command, HistoryEvent

_REPLAY = Bar("replay of 2,000 events", "ms", "<=", 20)

_EVENTS = 2000
_ROUNDS = 31


async def measure(bench: Bench) -> Measured:
    """Half of the events are signals, half are answers of local actions; the median."""
    count = bench.count(_EVENTS, 20) // 2
    definition = definition_of(Counting)
    live = Execution(definition, "bench")
    arguments = {"arguments": [count], "seed": "s"}
    events = [HistoryEvent(n=0, at=0, type="started", payload=arguments)]
    commands = live.apply(events).commands
    while len(events) < 2 * count:
        n = len(events)
        tick = HistoryEvent(n=n, at=n, type="signal", name="tick", payload=[n])
        asked = live.apply([tick]).commands
        commands += asked
        events.append(tick)
        for command in asked:
            n = len(events)
            done = HistoryEvent(n=n, at=n, type="completed", seq=command.seq, payload=n)
            commands += live.apply([done]).commands
            events.append(done)
    text = msgspec.json.encode((events, commands))
    times, with_json = [], []
    for _ in range(bench.count(_ROUNDS, 1)):
        before = perf_counter()
        read = msgspec.json.decode(text, type=tuple[list[HistoryEvent], list[Command]])
        between = perf_counter()
        Execution(definition, "bench").replay(*read)
        times.append(perf_counter() - between)
        with_json.append(perf_counter() - before)
    figures = {
        "events": len(events),
        "commands": len(commands),
        "replay_ms": median(times) * 1000,
        "replay_with_json_ms": median(with_json) * 1000,
    }
    return Measured(figures, {_REPLAY.name: figures["replay_with_json_ms"]})


PART = Part("replay", (_REPLAY,), measure)
