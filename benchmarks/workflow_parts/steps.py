"""How many steps of workflows one master takes in a second."""

from __future__ import annotations

from functools import partial
from statistics import median
from time import monotonic

from benchmarks.bench import Bench
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from benchmarks.workflow_parts.engine import Engine, engine

_STEPS = Bar("steps of workflows", "per s", ">=", 500)

_WORKFLOWS = 200
_EACH = 15
_ROUNDS = 3


async def measure(bench: Bench) -> Measured:
    """Steps that timers cause, and those that the end of a local action causes."""
    rounds: dict[str, list[float]] = {"Napping": [], "Calling": []}
    for number in range(bench.count(_ROUNDS, 1)):
        for cls, found in rounds.items():
            say(f"steps: round {number + 1}, {cls}")
            count, each = bench.count(_WORKFLOWS, 5), bench.count(_EACH, 3)
            found.append(await steps(bench, cls, count, each))
    figures: Figures = {
        "by_timers_per_s": median(rounds["Napping"]),
        "by_timers_rounds": rounds["Napping"],
        "with_a_call_per_s": median(rounds["Calling"]),
        "with_a_call_rounds": rounds["Calling"],
    }
    return Measured(figures, {_STEPS.name: figures["by_timers_per_s"]})


async def steps(bench: Bench, cls: str, count: int, each: int) -> float:
    """Steps in a second of so many workflows, of so many steps each."""
    dsn = bench.server.database("steps")
    try:
        async with engine(dsn, bench.reactor) as running:
            begun, before = monotonic(), running.running.stepper.steps
            await running.start("w", cls, count, each)
            await bench.until(partial(_all_done, running), pause=0.05)
            took = monotonic() - begun
            return (running.running.stepper.steps - before) / took
    finally:
        bench.server.drop("steps")


async def _all_done(running: Engine) -> bool:
    return not await running.count("state <> 'done'")


PART = Part("steps", (_STEPS,), measure)
