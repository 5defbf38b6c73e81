"""A small farm that lives by the rules of the line, to try forecasts on.

It knows how long each kind of job really takes; whoever forecasts knows only what ended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from buildmaster import calibration, durations
from buildmaster.calibration import Calibration
from buildmaster.durations import Spread
from buildmaster.forecast import (
    Estimate,
    Farm,
    Forecast,
    Machine,
    Underway,
    Waiting,
    estimate,
)
from buildmaster.matching import Amounts, Capability, Needs
from protocol.messages import Offer

#: A class, the middle of its durations and how far they vary (of the logarithm).
NAMES = {"quick": (0, 20.0, 0.3), "usual": (0, 120.0, 0.6), "long": (1, 600.0, 0.4)}
NEEDS = {
    0: Needs("amd64", "chroot"),
    1: Needs("amd64", "chroot", slots=2),
    2: Needs("arm64", "chroot"),
}


def worker(name: str, architecture: str = "amd64", slots: int = 2) -> Capability:
    """A worker with so many slots."""
    offer = Offer(isolation="chroot", architecture=architecture, series=("*",))
    return Capability(name, (offer,), (), (), (), Amounts(slots))


@dataclass
class _Running:
    job: int
    name: str
    class_id: int
    began: float


@dataclass
class SimulatedFarm:
    """Four workers with two slots, three owners, and jobs that come in bursts."""

    seed: int
    now: float = 0.0
    scored: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.workers = [worker(f"w{number}") for number in range(4)]
        self.running: dict[str, list[_Running]] = {w.worker: [] for w in self.workers}
        self.line: list[tuple[int, int, str]] = []  # position, job, name
        self.sketches: dict[str, list[float]] = {}
        self.turns: Counter[str] = Counter()
        self.virtual_now = 0
        self.jobs = 0
        self.told: dict[int, tuple[float, Estimate, Estimate]] = {}
        self.ratios = tuple([0.0] * durations.BUCKETS for _ in calibration.SHARES)
        self._events: list[tuple[float, int, str, object]] = []
        self._number = 0

    def live(self, seconds: float, *, arrivals: float) -> None:
        """Let time pass; ``arrivals`` are bursts of jobs in an hour."""
        end = self.now + seconds
        at = self.now
        while (at := at + self.chance.expovariate(arrivals / 3600)) < end:
            self._at(at, "burst", None)
        at = self.now
        while (at := at + self.chance.expovariate(1 / 400)) < end:
            self._at(at, "ask", None)
        while self._events and self._events[0][0] <= end:
            self.now, _, what, subject = heappop(self._events)
            if what == "burst":
                self._burst()
            elif what == "ask":
                self._ask()
            else:
                assert isinstance(subject, tuple)
                self._ended(*subject)
            self._claim()
        self.now = end

    def _at(self, at: float, what: str, subject: object) -> None:
        self._number += 1
        heappush(self._events, (at, self._number, what, subject))

    def _burst(self) -> None:
        owner = self.chance.choice(("ann", "bob", "eve"))
        for _ in range(self.chance.choice((1, 3, 40))):
            self.jobs += 1
            turn = max(self.turns[owner], self.virtual_now)
            self.turns[owner] = turn + 1000
            name = self.chance.choice(("quick", "quick", "usual", "usual", "usual", "long"))
            heappush(self.line, (turn, self.jobs, name))

    def _claim(self) -> None:
        passed = []
        kept: str | None = None
        while self.line:
            entry = position, job, name = heappop(self.line)
            class_id, middle, varies = NAMES[name]
            roomy = max(self.workers, key=lambda w: self._left(w))
            needed = NEEDS[class_id].slots
            able = [w for w in self.workers if self._left(w) >= needed and w.worker != kept]
            if not able:
                passed.append(entry)
                if kept is not None or self._left(roomy) == 0:
                    break
                kept = roomy.worker
                continue
            one = max(able, key=lambda w: self._left(w))
            self.virtual_now = max(self.virtual_now, position)
            self.running[one.worker].append(_Running(job, name, class_id, self.now))
            took = middle * 2.718281828 ** self.chance.gauss(0.0, varies)
            self._at(self.now + took, "end", (one.worker, job, took))
            if job in self.told:
                self._score(*self.told.pop(job))
        for entry in passed:
            heappush(self.line, entry)

    def _left(self, one: Capability) -> int:
        return one.amounts.slots - sum(
            NEEDS[r.class_id].slots for r in self.running[one.worker]
        )

    def _ended(self, one: str, job: int, took: float) -> None:
        [running] = [r for r in self.running[one] if r.job == job]
        self.running[one].remove(running)
        counts = self.sketches.setdefault(running.name, [0.0] * durations.BUCKETS)
        counts[durations.bucket(took)] += 1

    def _score(self, at: float, played: Estimate, told: Estimate) -> None:
        waited = self.now - at
        for counts, end in zip(
            self.ratios, (played.low, played.middle, played.high), strict=True
        ):
            counts[durations.bucket(calibration.ratio(waited, end))] += 1
        if waited < told.low:
            self.scored["early"] += 1
        elif waited > told.high:
            self.scored["late"] += 1
        else:
            self.scored["within"] += 1

    def _ask(self) -> None:
        waiting = [job for _, job, _ in self.line if job not in self.told]
        if not waiting:
            return
        forecast = Forecast(self.seen())
        plays = [forecast.play(self.chance) for _ in range(20)]
        low, middle, high = self.ratios
        known = Calibration((low, middle, high))
        for job in self.chance.sample(waiting, min(3, len(waiting))):
            played = estimate([play.get(job, 1e9) for play in plays])
            assert played is not None
            self.told[job] = (self.now, played, known.mend(played))

    def spread(self, name: str) -> Spread:
        """What somebody expects who has only seen what ended."""
        whole = [sum(each) for each in zip(*self.sketches.values(), strict=True)]
        return durations.expected(self.sketches.get(name), whole or None)

    def seen(self) -> Farm:
        """The farm as a forecast sees it."""
        spreads = {name: self.spread(name) for name in NAMES}
        return Farm(
            tuple(
                Machine(
                    one,
                    tuple(
                        Underway(NEEDS[r.class_id], self.now - r.began, spreads[r.name])
                        for r in self.running[one.worker]
                    ),
                )
                for one in self.workers
            ),
            NEEDS,
            tuple(
                Waiting(job, NAMES[name][0], position, spreads[name])
                for position, job, name in self.line
            ),
            {},
        )
