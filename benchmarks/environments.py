"""How long environments take: a chroot, a virtual machine, packages seen before.

``python -m benchmarks environments [--json] [--only PART] [--rounds N]`` as root. Each is
measured beside a sequence of plain programs, turn by turn, so that what else the machine
does bears on both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.environment_parts import chroots, machines, packages
from worker.environments import traces
from worker.environments.images import Image, Images

_IMAGES = Path(os.environ.get("HEADRACE_TEST_IMAGES", "/var/cache/headrace-test-images"))


@dataclass(frozen=True)
class Part:
    """One ratio that must be shown: of ``ours`` to ``other``, by medians."""

    name: str
    bar: float
    at_most: bool
    rounds: int
    pair: Callable[[Image, Path], tuple[Callable[[Path], None], Callable[[Path], None]]]


PARTS = (
    Part("chroot / bare shell sequence", 1.3, True, 25, chroots.pair),
    Part("vm / bare qemu sequence", 1.2, True, 5, machines.pair),
    Part("first run / second run with five packages", 5.0, False, 1, packages.pair),
)


def run(arguments: list[str]) -> int:
    """Measure and print; 0 if every ratio holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks environments")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--only", metavar="WORD", default="", help="parts with it in the name"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="instead of each part's own"
    )
    chosen = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("chroots need root")
    series = platform.freedesktop_os_release()["VERSION_CODENAME"]
    images = Images(_IMAGES, {})
    image = images.find(series) or images.build(series, print)
    figures: dict[str, Any] = {}
    shown = []
    for part in PARTS:
        if chosen.only in part.name:
            told = _measure(part, image, chosen.rounds or part.rounds)
            figures[part.name] = told
            shown.append(_judged(part, told))
    document = {
        "machine": _machine(),
        "reference": {"python_loop_seconds": _loop()},
        "figures": figures,
        "must_show": shown,
    }
    _print(document, chosen.json)
    return 0 if all(entry["holds"] for entry in shown) else 1


def _measure(part: Part, image: Image, rounds: int) -> dict[str, Any]:
    place = Path(tempfile.mkdtemp(prefix="headrace-environments-", dir="/var/tmp"))
    place.chmod(0o755)
    try:
        ours, other = part.pair(image, place)
        taken: dict[str, list[float]] = {"ours": [], "other": []}
        # The first round warms up caches, except where being cold is the point.
        for number in range(rounds + 1 if rounds > 1 else 1):
            for name, act in (("ours", ours), ("other", other)):
                begun = monotonic()
                act(place / f"{name}{number}")
                if number or rounds == 1:
                    taken[name].append(monotonic() - begun)
    finally:
        traces.remove(place)
    return {name: _summary(seconds) for name, seconds in taken.items()}


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "median_seconds": round(statistics.median(seconds), 4),
        "least_seconds": round(min(seconds), 4),
        "rounds": len(seconds),
    }


def _judged(part: Part, told: dict[str, Any]) -> dict[str, Any]:
    value = told["ours"]["median_seconds"] / told["other"]["median_seconds"]
    return {
        "name": part.name,
        "value": round(value, 3),
        "unit": "times",
        "bar": f"{'<=' if part.at_most else '>='} {part.bar}",
        "holds": value <= part.bar if part.at_most else value >= part.bar,
    }


def _machine() -> dict[str, Any]:
    return {
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def _loop() -> float:
    begun = monotonic()
    total = 0
    for number in range(3_000_000):
        total += number
    return round(monotonic() - begun, 4)


def _print(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, indent=1))
        return
    for name, told in document["figures"].items():
        for who, summary in told.items():
            print(f"{name}: {who}: {summary['median_seconds']} s (median)")
    for entry in document["must_show"]:
        verdict = "holds" if entry["holds"] else "FAILS"
        print(f"{verdict}  {entry['name']}: {entry['value']} (bar: {entry['bar']})")
