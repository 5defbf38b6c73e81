"""How workers that suit a job stand: free, full, off duty, away, in quarantine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from buildmaster.explanation.misses import no_worker_could
from buildmaster.explanation.picture import ClassRow, Picture, WorkerRow
from buildmaster.explanation.words import moment
from buildmaster.matching import Amounts, Capability, Needs, suits


class Standing(Enum):
    """Why a worker that suits a job does, or does not, take it now."""

    FREE = "free"  #: has room
    FULL = "full"  #: what it runs leaves no room
    REFUSED = "refused"  #: could not take this job, or lost it
    OFF_DUTY = "off duty"  #: paused, draining or retired
    AWAY = "away"  #: unreachable or offline
    QUARANTINED = "quarantined"  #: shows with one job at a time that it is well


@dataclass(frozen=True)
class Suited:
    """A worker that suits, and how it stands."""

    name: str
    standing: Standing
    words: str  #: goes on after its name


def takes_work(row: WorkerRow) -> bool:
    """Whether a worker is given work as it comes."""
    is_there = row.state == "connected" and row.duty == "active"
    return is_there and not row.quarantine_reason


def needs_of(row: ClassRow) -> Needs:
    """The requirements of a class."""
    return Needs(
        row.architecture,
        row.isolation,
        row.series,
        row.tags,
        row.performs,
        row.worker,
        row.slots,
        row.cpu,
        row.memory,
        row.disk,
    )


def _profile(row: WorkerRow) -> tuple[object, ...]:
    kinds = (row.offers, row.tags, row.restricted_tags, row.performs)
    return (*kinds, row.slots, row.cpu, row.memory, row.disk)


def capability_of(row: WorkerRow) -> Capability:
    """What a worker offers."""
    return Capability(
        row.name,
        row.offers,
        row.tags,
        row.restricted_tags,
        row.performs,
        Amounts(row.slots, row.cpu, row.memory, row.disk),
    )


class Workforce:
    """The workers of a picture, asked for one class of jobs after the other."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._needs = {row.id: needs_of(row) for row in picture.classes}
        self._able: dict[int, tuple[WorkerRow, ...]] = {}
        # Many workers are alike but for their names.
        self._alike: dict[tuple[object, ...], list[WorkerRow]] = {}
        for row in picture.workers:
            self._alike.setdefault(_profile(row), []).append(row)
        self._never: dict[int, str | None] = {}
        self._suited: dict[int, list[Suited]] = {}
        self._running: dict[str, list[Needs]] = {}
        for lease in picture.running:
            needs = self._needs.get(lease.class_id, Needs())
            self._running.setdefault(lease.worker, []).append(needs)

    def needs(self, class_id: int) -> Needs | None:
        """What jobs of a class need, if it is in the picture."""
        return self._needs.get(class_id)

    def able(self, class_id: int) -> tuple[WorkerRow, ...]:
        """Workers that suit, whether or not they take work just now."""
        found = self._able.get(class_id)
        if found is None:
            needs = self._needs.get(class_id)
            found = self._able[class_id] = tuple(
                row
                for alike in self._alike.values()
                if needs is not None
                and suits(replace(needs, worker=""), capability_of(alike[0]))
                for row in alike
                if needs.worker in ("", row.name)
            )
        return found

    def free_slots(self, class_id: int) -> int:
        """Slots that nobody has, of workers that suit and are given work as it comes."""
        free = 0
        for row in self.able(class_id):
            if takes_work(row):
                taken = sum(each.slots for each in self._running.get(row.name, ()))
                free += max(0, row.slots - taken)
        return free

    def never(self, class_id: int) -> str | None:
        """Why no worker could ever run jobs of a class; None if one could."""
        if class_id not in self._never:
            needs = self._needs.get(class_id)
            why = None
            if needs is not None and not self.able(class_id):
                why = no_worker_could(needs, map(capability_of, self.picture.workers))
            self._never[class_id] = why
        return self._never[class_id]

    def suited(self, class_id: int, refused: Mapping[str, str]) -> list[Suited]:
        """How those stand that suit; ``refused``: who could not take the job, and why."""
        needs = self._needs.get(class_id)
        if needs is None:
            return []
        if refused or class_id not in self._suited:
            found = [self._stands(row, needs, refused) for row in self.able(class_id)]
            if refused:
                return found
            self._suited[class_id] = found
        return self._suited[class_id]

    def _stands(self, row: WorkerRow, needs: Needs, refused: Mapping[str, str]) -> Suited:
        running = self._running.get(row.name, [])
        standing, words = _stands(row, needs, running, refused)
        return Suited(row.name, standing, words)


def _stands(
    row: WorkerRow, needs: Needs, running: list[Needs], refused: Mapping[str, str]
) -> tuple[Standing, str]:
    if row.duty != "active":
        until = f", until {moment(row.duty_until)}" if row.duty_until else ""
        return Standing.OFF_DUTY, f"is {row.duty} ({row.duty_reason}{until})"
    if row.state != "connected":
        last = f" since {moment(row.last_heard_at)}" if row.last_heard_at else ""
        return Standing.AWAY, f"is {row.state}{last}"
    if row.name in refused:
        return Standing.REFUSED, f"is passed over ({refused[row.name]})"
    if row.quarantine_reason and running:
        return Standing.QUARANTINED, f"is in quarantine ({row.quarantine_reason})"
    if not capability_of(row).amounts.less(running).hold(needs):
        return Standing.FULL, f"runs {len(running)}"
    return Standing.FREE, "has room"
