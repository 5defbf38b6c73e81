"""Explains jobs of a live farm; all who ask within a moment share one picture of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Cooperator

from buildmaster.database import Database
from buildmaster.explanation.facts import Place
from buildmaster.explanation.outlook import Outlook
from buildmaster.explanation.standings import Workforce
from buildmaster.explanation.telling import (
    Explanation,
    Interval,
    explain,
    interval,
    place_matters,
)
from buildmaster.shared import Shared
from buildmaster.store import forecasts
from buildmaster.store.facts import job_facts, places
from buildmaster.store.picture import picture

#: Forecasts that are remembered in one round, at most: a sample is enough.
SAMPLE = 200


@dataclass(frozen=True)
class OfLine:
    """What is foretold of the line."""

    cursor: str  #: of the picture: it may be older than the line that was asked about
    free_slots: Mapping[int, int]  #: of workers that suit a class, and take work
    starts: Mapping[int, Interval | None]  #: of jobs; None: nobody knows


class Forecaster:
    """Answers who asks about a job, at a cost that does not grow with the line."""

    def __init__(
        self,
        database: Database,
        clock: IReactorTime,
        *,
        seen_for: float = 1.0,
        played_for: float = 5.0,
    ) -> None:
        """For so many seconds a picture of the farm is good, and what was played of one."""
        self._database = database
        self._workforce = Shared(self._look, seen_for, clock.seconds)
        self._outlook = Shared(self._play, played_for, clock.seconds)
        self._told: dict[tuple[int, int], forecasts.Told] = {}

        def soon(work: Callable[[], None]) -> IDelayedCall:
            return clock.callLater(0, work)

        # One step for each turn of the reactor: whoever hands out work comes between.
        self._steps = Cooperator(lambda: lambda: True, soon)

    async def explain(self, job: int) -> Explanation | None:
        """Why ``job`` waits, runs or ended; None if there is no such job."""
        facts = await job_facts(self._database, job)
        if facts is None:
            return None
        workforce = await self._workforce.get()
        outlook = await self._outlook.get()
        found: tuple[Place, Place] | None = None
        if place_matters(facts):
            own = facts.class_id
            others = [each for each in outlook.neighbours(own) if each != own]
            found = await places(self._database, [own], others, facts.position, job)
        document, start = explain(facts, workforce, outlook, found)
        if start is not None and facts.state == "ready" and len(self._told) < SAMPLE:
            told = forecasts.Told(
                job,
                facts.attempt,
                facts.class_id,
                workforce.picture.at,
                start.played,
                start.told,
            )
            self._told.setdefault((job, facts.attempt), told)
        return document

    async def of_line(
        self, classes: Sequence[int], line: Sequence[tuple[int, int, int]]
    ) -> OfLine:
        """What a picture says of classes, and of jobs with their class and place.

        The place is how many stand before a job. Of who stands far behind that is an
        estimate itself, as others before it may wait for other workers.
        """
        workforce = await self._workforce.get()
        outlook = await self._outlook.get()
        gone = workforce.picture.at - outlook.picture.at
        starts: dict[int, Interval | None] = {}
        for job, class_id, before in line:
            start = outlook.start(job, class_id, Place(before, False))
            starts[job] = None if start is None else interval(start.later(gone), workforce)
        free = {each: workforce.free_slots(each) for each in classes}
        return OfLine(workforce.picture.cursor, free, starts)

    async def round(self, books: Database) -> None:
        """Learn from what ended, and remember what was foretold since the last round."""
        told, self._told = list(self._told.values()), {}
        if told:
            await books.transaction(lambda cursor: forecasts.remember(cursor, told))
        await books.transaction(forecasts.learn)

    async def _look(self) -> Workforce:
        return Workforce(await picture(self._database))

    async def _play(self) -> Outlook:
        workforce = await self._workforce.get()
        outlook = Outlook(workforce, SystemRandom().getrandbits(32))
        await self._steps.coiterate(outlook.playing())
        return outlook
