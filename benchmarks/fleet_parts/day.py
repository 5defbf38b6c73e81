"""A realistic day of a farm: who asks for what, and when. Pure, and the same every time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

HOUR = 3600.0
DAY = 24 * HOUR
#: Of the workers, and of the work, how much is of each architecture.
ARCHITECTURES = {"amd64": 0.5, "arm64": 0.25, "riscv64": 0.15, "s390x": 0.1}
#: Slots of machines, in turn: half have one, a third two, the rest four.
_SIZES = (4, 1, 2, 1, 2, 1, 1, 2, 1, 2, 1, 4, 1, 2, 1, 2, 4, 1, 2, 1)
#: Median and spread of the logarithm of how long builds and native jobs take.
BUILD, NATIVE = (600.0, 1.2), (15.0, 0.8)
LONGEST = 6 * HOUR
#: Of the builds, how many take four slots and much memory.
BIG = 0.02
#: What ends as the user's failure, and as the farm's.
FAILURES, ERRORS = 0.06, 0.02


@dataclass(frozen=True)
class Owner:
    """Somebody who uses the farm; ``share`` is of all slots, over the day."""

    name: str
    share: float
    #: "bulk" asks for thousands at once, "office" during the day, "steady" at any time
    habit: str
    size: int = 1  #: builds of one submission


OWNERS = (
    Owner("rebuild", 0.40, "bulk", 2500),
    Owner("backports", 0.12, "bulk", 800),
    *(Owner(f"team-{n}", 0.055, "office", 12) for n in range(1, 7)),
    *(Owner(f"person-{n}", 0.004, "office", 2) for n in range(1, 11)),
    *(Owner(f"robot-{n}", 0.006, "steady", 3) for n in range(1, 6)),
)
#: Those who ask for less than an equal part of the farm, and must not feel the others.
SMALL = frozenset(owner.name for owner in OWNERS if owner.share < 0.01)


@dataclass(frozen=True)
class Worker:
    """A machine: each slot has 8 GiB."""

    name: str
    architecture: str
    slots: int

    @property
    def memory(self) -> int:
        """MiB."""
        return 8192 * self.slots


@dataclass(frozen=True)
class Piece:
    """A job of a submission. One that prepares comes first, and all others wait for it."""

    architecture: str  #: "" is a native job, for any worker
    is_big: bool
    seconds: float


@dataclass(frozen=True)
class Submission:
    """What somebody asks for at a time, as one run."""

    at: float
    owner: str
    pieces: tuple[Piece, ...]
    prepares: bool  #: the first piece makes the sources that the others use


def workers(count: int) -> tuple[Worker, ...]:
    """About so many machines."""
    return tuple(
        Worker(f"{architecture}-{number:03}", architecture, _SIZES[number % len(_SIZES)])
        for architecture, part in ARCHITECTURES.items()
        for number in range(round(count * part))
    )


def submissions(slots: int, load: float, hours: float) -> list[Submission]:
    """All of a day, in order: work for ``load`` of what so many slots can do in it."""
    chance = Random(2)
    whole = slots * load * hours * HOUR
    made = [
        submission
        for owner in OWNERS
        for submission in _of(owner, whole * owner.share, hours, chance)
    ]
    return sorted(made, key=lambda one: one.at)


def _of(owner: Owner, work: float, hours: float, chance: Random) -> Iterator[Submission]:
    left = work
    while left > 0:
        pieces, prepares = _pieces(owner, min(owner.size, 1 + int(left / 1200)), chance)
        left -= sum(piece.seconds * (4 if piece.is_big else 1) for piece in pieces)
        yield Submission(_when(owner.habit, hours, chance), owner.name, pieces, prepares)


def _when(habit: str, hours: float, chance: Random) -> float:
    end = hours * HOUR
    if habit == "bulk":
        return chance.choice((0.02, 0.25, 0.4, 0.55)) * end
    while True:
        at = chance.random() * end
        if habit == "steady":
            return at
        # Two peaks, before noon and in the afternoon, and little at night.
        hour = at / end * 24
        peaks = sum(math.exp(-(((hour - peak) / 2.0) ** 2)) for peak in (10.5, 15.0))
        if chance.random() < 0.1 + 0.9 * min(1.0, peaks):
            return at


def _pieces(owner: Owner, size: int, chance: Random) -> tuple[tuple[Piece, ...], bool]:
    prepares = owner.habit != "bulk" and chance.random() < 0.5
    pieces = [Piece("", False, _seconds(NATIVE, chance))] if prepares else []
    names, weights = list(ARCHITECTURES), list(ARCHITECTURES.values())
    for _ in range(size):
        if chance.random() < 0.15:
            pieces.append(Piece("", False, _seconds(NATIVE, chance)))
            continue
        [architecture] = chance.choices(names, weights)
        is_big = chance.random() < BIG
        pieces.append(Piece(architecture, is_big, _seconds(BUILD, chance)))
    return tuple(pieces), prepares


def _seconds(of: tuple[float, float], chance: Random) -> float:
    median, spread = of
    return min(LONGEST, chance.lognormvariate(math.log(median), spread))
