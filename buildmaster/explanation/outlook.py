"""When the jobs of a picture will start: its plays, and what they say of one job. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from buildmaster import durations
from buildmaster.calibration import Calibration, calibration
from buildmaster.durations import Spread
from buildmaster.explanation.facts import Place
from buildmaster.explanation.picture import Picture
from buildmaster.explanation.standings import (
    Workforce,
    capability_of,
    needs_of,
    takes_work,
)
from buildmaster.forecast import (
    Estimate,
    Farm,
    Forecast,
    Machine,
    Underway,
    Waiting,
    estimate,
    far_behind,
    plays,
)
from buildmaster.matching import Needs

#: How far a number that was sampled may be off, as a share.
_SAMPLED_DOUBT = 0.1


class Durations:
    """What to expect of a job, by kind, name and class."""

    def __init__(self, picture: Picture) -> None:
        self._counts = {
            (row.kind, row.name, row.class_id): row.counts for row in picture.sketches
        }
        self._known: dict[tuple[str, str, int], Spread] = {}

    def of(self, kind: str, name: str, class_id: int) -> Spread:
        """The spread of such jobs; jobs that are alike share one."""
        key = (kind, name, class_id)
        own = self._counts.get(key)
        if own is None or sum(own) < durations.ENOUGH:
            key, own = (kind, "", 0), None
        found = self._known.get(key)
        if found is None:
            of_kind = self._counts.get((kind, "", 0))
            found = self._known[key] = durations.expected(own, of_kind)
        return found


def farm_of(picture: Picture, of: Durations) -> Farm:
    """What the rules of the line look at. Workers in quarantine do not count."""
    needs = {row.id: needs_of(row) for row in picture.classes}
    held = {h.name for h in picture.holds if h.scope == "architecture"}
    if any(hold.scope == "farm" for hold in picture.holds):
        held = {each.architecture for each in needs.values()}
    running: dict[str, list[Underway]] = {}
    for lease in picture.running:
        if lease.class_id in needs:
            running.setdefault(lease.worker, []).append(
                Underway(
                    needs[lease.class_id],
                    max(0.0, lease.elapsed),
                    of.of(lease.kind, lease.name, lease.class_id),
                    lease.limits or (),
                )
            )
    return Farm(
        tuple(
            Machine(capability_of(row), tuple(running.get(row.name, ())))
            for row in picture.workers
            if takes_work(row)
        ),
        {k: each for k, each in needs.items() if each.architecture not in held},
        tuple(
            Waiting(
                row.job,
                row.class_id,
                row.position,
                of.of(row.kind, row.name, row.class_id),
                row.limits or (),
                row.aside,
                frozenset(row.refused_by or ()),
            )
            for row in picture.line
            if row.class_id in needs
        ),
        picture.semaphores,
    )


@dataclass(frozen=True)
class _Line:
    """What stands in the line for the workers of one class."""

    near: tuple[Waiting, ...]  #: in order, up to the place where one is not shown any more
    jobs: frozenset[int]
    aside: frozenset[int]


@dataclass(frozen=True)
class Start:
    """When a job starts, in seconds from when the picture was taken."""

    played: Estimate
    told: Estimate  #: mended by how far earlier ones were off

    def later(self, seconds: float) -> Start:
        """The same, seen so many seconds later."""
        return Start(_later(self.played, seconds), _later(self.told, seconds))


def _later(one: Estimate, seconds: float) -> Estimate:
    ends = (max(0.0, end - seconds) for end in (one.low, one.middle, one.high))
    return Estimate(*ends)


@dataclass
class Outlook:
    """What was played of a picture. Let it be played with `playing` before asking."""

    workforce: Workforce
    seed: int = 0
    starts: list[dict[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.picture = self.workforce.picture
        self.durations = Durations(self.picture)
        self.farm = farm_of(self.picture, self.durations)
        self._machines = {m.capability.worker: m for m in self.farm.machines}
        self._neighbours: dict[int, list[int]] = {}
        self._taking: dict[int, frozenset[str]] = {}
        self._lines: dict[int, _Line] = {}
        self._errors = {
            row.class_id: Calibration((row.low, row.middle, row.high))
            for row in self.picture.errors
        }
        self._chance = Random(self.seed)

    def playing(self) -> Iterator[None]:
        """Plays, in small steps."""
        forecast = Forecast(self.farm)
        for _ in range(plays(len(self.farm.line))):
            play = forecast.playing(self._chance)
            yield from play
            self.starts.append(play.starts)

    def neighbours(self, class_id: int) -> list[int]:
        """Of the classes that wait, those that the workers of a class serve; and itself."""
        found = self._neighbours.get(class_id)
        if found is None:
            able = self._takers(class_id)
            waiting = {one.class_id for one in self.farm.line} & self.farm.needs.keys()
            others = {n for n in waiting if not able.isdisjoint(self._takers(n))}
            found = self._neighbours[class_id] = sorted({class_id} | others)
        return found

    def _takers(self, class_id: int) -> frozenset[str]:
        found = self._taking.get(class_id)
        if found is None:
            able = self.workforce.able(class_id)
            names = frozenset(row.name for row in able if row.name in self._machines)
            found = self._taking[class_id] = names
        return found

    def start(
        self, job: int, class_id: int, place: Place, *, delay: float = 0.0
    ) -> Start | None:
        """When a job with this place among its neighbours starts; None: nobody knows.

        In seconds from when the picture was taken, ``delay`` at least.
        """
        samples = self._samples(job, class_id, place)
        if samples is None:
            return None
        played = estimate([max(delay, each) for each in samples])
        if played is None:
            return None
        known = calibration(self._errors.get(class_id), self._errors.get(0))
        if known is None:
            return Start(played, played)
        return Start(played, known.mend(played, at_least=delay))

    def _samples(self, job: int, class_id: int, place: Place) -> Sequence[float] | None:
        needs = self.farm.needs.get(class_id)
        able = [self._machines[name] for name in self._takers(class_id)]
        if needs is None or not self.starts or not able:
            return None
        line = self._line(class_id)
        if job in line.aside or job in line.jobs:
            return [play.get(job, math.inf) for play in self.starts]
        if place.before < len(line.near):
            one = line.near[place.before].job
            return [play.get(one, math.inf) for play in self.starts]
        if line.near:
            last = line.near[-1].job
            first = [play.get(last, math.inf) for play in self.starts]
        else:
            first = [self._first_room(able, needs) for _ in self.starts]
        taken = [one.spread.mean * self.farm.needs[one.class_id].slots for one in line.near]
        slots = sum(machine.capability.amounts.slots for machine in able)
        each = (sum(taken) / len(taken) if taken else durations.DEFAULT.mean) / slots
        doubt = 0.0 if place.is_exact else _SAMPLED_DOUBT
        return far_behind(first, len(line.near), place.before, doubt, each, self._chance)

    def _line(self, class_id: int) -> _Line:
        """The neighbours of a class in their order, as far as they are known whole."""
        found = self._lines.get(class_id)
        if found is None:
            neighbours = set(self.neighbours(class_id))
            line = [one for one in self.farm.line if one.class_id in neighbours]
            shown: dict[int, list[int]] = {}
            for one in line:
                if not one.aside:
                    shown.setdefault(one.class_id, []).append(one.position)
            cut = [max(of) for of in shown.values() if len(of) >= self.picture.each]
            horizon = min(cut, default=None)
            near = sorted(
                (one for one in line if horizon is None or one.position <= horizon),
                key=lambda one: (one.position, one.job),
            )
            found = self._lines[class_id] = _Line(
                tuple(one for one in near if not one.aside),
                frozenset(one.job for one in near if not one.aside),
                frozenset(one.job for one in line if one.aside),
            )
        return found

    def _first_room(self, able: Sequence[Machine], needs: Needs) -> float:
        """When one of them has room, if nobody else takes it."""
        for machine in able:
            left = machine.capability.amounts.less(u.needs for u in machine.running)
            if left.hold(needs):
                return 0.0
        return min(
            underway.spread.left(underway.elapsed, self._chance.random())
            for machine in able
            for underway in machine.running
        )

    def end(self, kind: str, name: str, class_id: int, elapsed: float) -> Estimate:
        """Seconds until something that runs since ``elapsed`` ends."""
        of = self.durations.of(kind, name, class_id)
        shares = [(i + 0.5) / 50 for i in range(50)]
        found = estimate([of.left(elapsed, share) for share in shares])
        assert found is not None
        return found
