"""When jobs will start: plays the rules of the line forward with durations by chance.

Pure: no database, no clock. Each play gives every job of the line a start; many plays
give it an interval. The rules are those of the claim (``schema/0008_claiming.sql``):
classes by position, whoever has room takes the most urgent job that suits it, what is
large has the worker with most room kept for it, who meets a full semaphore steps aside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from buildmaster.durations import Spread, quantile
from buildmaster.matching import Capability, Needs, suits

#: Shares of the true starts that lie below an interval's ends.
LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9
#: How many starts of jobs all plays together make, and how many plays at least and at most.
EFFORT = 10_000
FEWEST, MOST = 20, 60
#: Starts between two places where somebody else may work.
_STEP = 100


@dataclass(frozen=True)
class Underway:
    """A job that a worker has."""

    needs: Needs
    elapsed: float  #: seconds
    spread: Spread
    limits: tuple[str, ...] = ()  #: semaphores that it holds


@dataclass(frozen=True)
class Machine:
    """A worker that takes work."""

    capability: Capability
    running: tuple[Underway, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """A job in the line."""

    job: int
    class_id: int
    position: int
    spread: Spread
    limits: tuple[str, ...] = ()
    aside: str = ""  #: the semaphore for which it has stepped aside
    refused_by: frozenset[str] = frozenset()  #: workers that are passed over


@dataclass(frozen=True)
class Farm:
    """All that the rules look at."""

    machines: tuple[Machine, ...]
    needs: Mapping[int, Needs]  #: of each class
    line: tuple[Waiting, ...]
    capacity: Mapping[str, int]  #: of each semaphore


@dataclass(frozen=True)
class Estimate:
    """Seconds from now until a job starts."""

    low: float
    middle: float
    high: float


def estimate(starts: Sequence[float]) -> Estimate | None:
    """What many plays say of one job; None if it did not start in most of them."""
    known = sorted(starts)
    low, middle, high = (quantile(known, share) for share in (LOW, MIDDLE, HIGH))
    if not math.isfinite(high):
        return None
    return Estimate(low, middle, high)


def plays(jobs: int) -> int:
    """How often to play with so many jobs in the line."""
    return max(FEWEST, min(MOST, EFFORT // max(1, jobs)))


_Entry = tuple[int, int, Waiting]


class _Room:
    """What is left of one worker during one play."""

    __slots__ = ("cpu", "disk", "memory", "name", "slots")

    def __init__(
        self, name: str, slots: int, cpu: float, memory: float, disk: float
    ) -> None:
        self.name, self.slots = name, slots
        self.cpu, self.memory, self.disk = cpu, memory, disk

    def holds(self, needs: Needs) -> bool:
        return (
            needs.slots <= self.slots
            and needs.cpu <= self.cpu
            and needs.memory <= self.memory
            and needs.disk <= self.disk
        )

    def take(self, needs: Needs, sign: int) -> None:
        self.slots -= sign * needs.slots
        self.cpu -= sign * needs.cpu
        self.memory -= sign * needs.memory
        self.disk -= sign * needs.disk


def _left(machine: Machine) -> tuple[str, int, float, float, float]:
    left = machine.capability.amounts.less(u.needs for u in machine.running)
    cpu, memory, disk = (
        math.inf if amount is None else amount
        for amount in (left.cpu, left.memory, left.disk)
    )
    return (machine.capability.worker, left.slots, cpu, memory, disk)


class Forecast:
    """Plays one farm forward as often as it is asked."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._classes = _served(farm)
        self._left = [_left(machine) for machine in farm.machines]
        bunches: dict[tuple[int, ...], list[int]] = {}
        for number, classes in enumerate(self._classes):
            bunches.setdefault(classes, []).append(number)
        self._bunch = [bunches[classes] for classes in self._classes]
        self._lines: dict[int, list[_Entry]] = {}
        self._aside: dict[str, list[_Entry]] = {}
        for one in farm.line:
            entry = (one.position, one.job, one)
            if one.aside:
                self._aside.setdefault(one.aside, []).append(entry)
            else:
                self._lines.setdefault(one.class_id, []).append(entry)
        for entries in (*self._lines.values(), *self._aside.values()):
            entries.sort()

    def playing(self, chance: Random) -> Play:
        """One way that things may go, to be iterated to its end."""
        return Play(self, chance)

    def play(self, chance: Random) -> dict[int, float]:
        """When each job of the line started, in seconds from now; not all may have."""
        playing = self.playing(chance)
        for _ in playing:
            pass
        return playing.starts


def _served(farm: Farm) -> list[tuple[int, ...]]:
    """The classes of the line that each machine could run, were it empty."""
    needs = {one.class_id: farm.needs.get(one.class_id) for one in farm.line}
    wanted = [(number, each) for number, each in sorted(needs.items()) if each is not None]
    known: dict[tuple[object, ...], tuple[int, ...]] = {}
    served = []
    for machine in farm.machines:
        worker = machine.capability
        # Many workers are alike but for their names.
        key = (
            *(worker.offers, worker.tags, worker.restricted_tags, worker.performs),
            worker.amounts,
            *(number for number, each in wanted if each.worker == worker.worker),
        )
        if key not in known:
            known[key] = tuple(n for n, each in wanted if suits(each, worker))
        served.append(known[key])
    return served


class Play:
    """One way that things may go; iterate over it to let them."""

    def __init__(self, forecast: Forecast, chance: Random) -> None:
        self._farm = farm = forecast._farm
        self._chance = chance
        self._classes = forecast._classes
        self._bunch = forecast._bunch
        self._lines = {c: list(entries) for c, entries in forecast._lines.items()}
        self._aside = {s: list(entries) for s, entries in forecast._aside.items()}
        self._rooms = [_Room(*left) for left in forecast._left]
        self._free = dict(farm.capacity)
        self._factors: dict[int, float] = {}
        self._ends: list[tuple[float, int, int, Needs, tuple[str, ...]]] = []
        self._number = 0
        self.starts: dict[int, float] = {}
        for number, machine in enumerate(farm.machines):
            for underway in machine.running:
                for name in underway.limits:
                    self._free[name] = self._free.get(name, 1) - 1
                left = underway.spread.left(underway.elapsed, chance.random())
                self._push(left, number, underway.needs, underway.limits)

    def __iter__(self) -> Iterator[None]:
        # In turn, as a claim for several workers deals.
        hungry = [m for m, room in enumerate(self._rooms) if room.slots > 0]
        while hungry:
            hungry = [m for m in hungry if self._start_one(0.0, m)]
            yield
        jobs = len(self._farm.line)
        while self._ends and len(self.starts) < jobs:
            self._end()
            if not self._number % _STEP:
                yield

    def _end(self) -> None:
        now, _, machine, needs, limits = heappop(self._ends)
        self._rooms[machine].take(needs, -1)
        if limits:
            self._let_go(limits)
            for other in range(len(self._rooms)):
                if other != machine:
                    self._fill(now, other)
        self._fill(now, machine)

    def _push(self, at: float, machine: int, needs: Needs, limits: tuple[str, ...]) -> None:
        self._number += 1
        heappush(self._ends, (at, self._number, machine, needs, limits))

    def _fill(self, now: float, machine: int) -> None:
        while self._start_one(now, machine):
            pass

    def _let_go(self, limits: tuple[str, ...]) -> None:
        for name in limits:
            self._free[name] = self._free.get(name, 0) + 1
            waiting = self._aside.get(name)
            if waiting:
                entry = heappop(waiting)
                heappush(self._lines.setdefault(entry[2].class_id, []), entry)

    def _start_one(self, now: float, machine: int) -> bool:
        """Give the machine the most urgent job that it can take."""
        room = self._rooms[machine]
        passed: set[int] = set()
        while room.slots > 0:
            best: _Entry | None = None
            for class_id in self._classes[machine]:
                if class_id in passed:
                    continue
                line = self._lines.get(class_id)
                if line and (best is None or line[0] < best):
                    best = line[0]
            if best is None:
                return False
            waiting = best[2]
            needs = self._farm.needs[waiting.class_id]
            if room.name in waiting.refused_by:
                passed.add(waiting.class_id)
                continue
            if not room.holds(needs):
                if self._is_kept_for(machine, needs):
                    return False
                passed.add(waiting.class_id)
                continue
            heappop(self._lines[waiting.class_id])
            full = next((n for n in waiting.limits if self._free.get(n, 1) <= 0), None)
            if full is not None:
                heappush(self._aside.setdefault(full, []), best)
                continue
            for name in waiting.limits:
                self._free[name] = self._free.get(name, 1) - 1
            room.take(needs, 1)
            self.starts[waiting.job] = now
            self._push(now + self._duration(waiting.spread), machine, needs, waiting.limits)
            return True
        return False

    def _is_kept_for(self, machine: int, needs: Needs) -> bool:
        """Whether this is the worker with most room, and no other has enough."""
        rooms = [self._rooms[number] for number in self._bunch[machine]]
        if any(room.holds(needs) for room in rooms):
            return False
        most = max(rooms, key=lambda room: (room.slots, room.memory))
        return most is self._rooms[machine]

    def _duration(self, spread: Spread) -> float:
        factor = self._factors.get(id(spread))
        if factor is None:
            # All jobs of one kind are misjudged together.
            factor = math.exp(self._chance.gauss(0.0, spread.doubt))
            self._factors[id(spread)] = factor
        values = spread.values
        return values[int(self._chance.random() * len(values))] * factor


def far_behind(
    starts: Sequence[float],
    reached: int,
    before: float,
    doubt: float,
    seconds_each: float,
    chance: Random,
) -> list[float]:
    """Starts of a job behind what was played.

    ``starts``: when the ``reached``-th job started in each play. ``before`` jobs stand
    before this one, known to a standard deviation of ``doubt`` (as a share); each keeps
    its workers busy for ``seconds_each``, all of them together.
    """
    rest = max(0.0, before - reached)
    return [
        start + rest * seconds_each * max(0.05, chance.gauss(1.0, math.hypot(doubt, 0.1)))
        for start in starts
    ]
