"""Chooses which jobs of a run are run again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from buildmaster.dependencies import Require, Verdict, judge
from protocol.results import BAD, GOOD, Result

RerunScope = Literal["failed", "from-here", "node"]


@dataclass(frozen=True)
class Candidate:
    """A job of the run."""

    id: int
    job: str  #: the identifier in its file, or its name
    package: str | None
    cell: str
    result: Result | None  #: None: it has not ended
    allow_failure: bool = False


@dataclass(frozen=True)
class Wait:
    """``down`` waits for ``up``."""

    up: int
    down: int
    require: Require = Require.GOOD


@dataclass(frozen=True)
class Filter:
    """Which of the jobs are meant; None is any."""

    job: str | None = None
    package: str | None = None
    cell: str | None = None  #: axes that it must have: ``arch=amd64``

    def takes(self, one: Candidate) -> bool:
        """Whether the job is meant."""
        wanted = set(self.cell.split(",")) if self.cell else set()
        return (
            self.job in (None, one.job)
            and self.package in (None, one.package)
            and wanted <= set(one.cell.split(","))
        )


@dataclass(frozen=True)
class Selection:
    """Jobs to run again, and why those that nobody named."""

    jobs: tuple[int, ...]
    added: Mapping[int, int] = field(default_factory=dict)  #: for which job each is there


class NothingToRerunError(Exception):
    """The caller's: nothing is as described, and everything was not meant."""


def choose(
    jobs: Iterable[Candidate],
    waits: Sequence[Wait],
    scope: RerunScope,
    only: Filter,
) -> Selection:
    """The jobs to run again; never all for want of any.

    ``failed``: those that ended BAD or VOID. ``node``: those that are meant, however they
    ended. ``from-here``: those, and all that waits for them.
    """
    known = {one.id: one for one in jobs}
    meant = [one for one in known.values() if only.takes(one)]
    if not meant:
        raise NothingToRerunError("no job of the run is so called")
    chosen = {one.id for one in meant if one.result is not None}
    if scope == "failed":
        chosen = {number for number in chosen if known[number].result not in GOOD}
        if not chosen:
            ended = "has ended badly" if any(one.result for one in meant) else "has ended"
            raise NothingToRerunError(f"none of the jobs that are meant {ended}")
    elif not chosen:
        raise NothingToRerunError("none of the jobs that are meant has ended")
    if scope == "from-here":
        chosen = {one for one in _behind(chosen, waits) if known[one].result is not None}
    added = _in_the_way(chosen, known, waits)
    return Selection(tuple(sorted(chosen | set(added))), added)


def _behind(chosen: set[int], waits: Sequence[Wait]) -> set[int]:
    downs: dict[int, list[int]] = {}
    for wait in waits:
        downs.setdefault(wait.up, []).append(wait.down)
    found, left = set(chosen), list(chosen)
    while left:
        for down in downs.get(left.pop(), ()):
            if down not in found:
                found.add(down)
                left.append(down)
    return found


def _in_the_way(
    chosen: set[int], known: Mapping[int, Candidate], waits: Sequence[Wait]
) -> dict[int, int]:
    """What ended so that a chosen job could not run: it must be run again, too."""
    ups: dict[int, list[Wait]] = {}
    for wait in waits:
        ups.setdefault(wait.down, []).append(wait)
    added: dict[int, int] = {}
    left = sorted(chosen)
    while left:
        down = left.pop()
        for wait in ups.get(down, ()):
            up = known.get(wait.up)
            if up is None or up.result is None or up.id in chosen or up.id in added:
                continue
            if judge(wait.require, counted(up)) is Verdict.UNRUN:
                added[up.id] = down
                left.append(up.id)
    return added


def counted(one: Candidate) -> Result:
    """Its result as it counts for those who wait."""
    assert one.result is not None
    return Result.SUCCESS if one.allow_failure and one.result in BAD else one.result
