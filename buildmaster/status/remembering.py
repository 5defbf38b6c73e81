"""Remembers answers until something happens, so that asking again costs no statement.

Whatever is told to a follower is shown by an answer that is asked for after it: each
notification of the database forgets everything, and so do events when they are read, before
anybody is told. What changes without an event, as the length of a log, shows a second
later.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime

from buildmaster.feed import EventFeed
from buildmaster.status.interface import IFollow, IStatus
from buildmaster.status.proxy import StatusProxy
from buildmaster.status.questions import Question
from buildmaster.status.told import Told, version_of

#: Seconds for which an answer is good though nothing happens.
AGE = 1.0
#: Answers, and bytes of all of them.
MOST = 1000
MOST_BYTES = 64 * 2**20

#: What is asked often, and changes with events only. Explanations tell the time.
REMEMBERED = frozenset(
    {"overview", "runs", "run", "jobs", "job", "workers", "worker"}
    | {"grid", "graph", "build", "queue", "timeline", "history"}
)

T = TypeVar("T")


@dataclass(frozen=True)
class _Kept:
    told: Told[Any]
    until: float


class Remembering(StatusProxy):
    """`IStatus` of another, with a memory. For whoever may see what the other shows."""

    def __init__(self, status: IStatus, feed: EventFeed, clock: IReactorTime) -> None:
        self._status = status
        self._clock = clock
        self._kept: OrderedDict[tuple[str, Question], _Kept] = OrderedDict()
        self._bytes = 0
        self._age = 0  # counts how often all was forgotten
        feed.before_news(self.forget)

    def forget(self) -> None:
        """Something happened."""
        self._age += 1
        self._kept.clear()
        self._bytes = 0

    def follow(self, method: str, asked: Question, since: str | None = None) -> IFollow:
        """What happens to an answer; its snapshot is not remembered."""
        return self._status.follow(method, asked, since)

    def remembered(self, name: str, asked: Question) -> Told[Any] | None:
        """The answer if it is remembered, and good."""
        kept = self._kept.get((name, asked))
        if kept is None or kept.until <= self._clock.seconds():
            return None
        return kept.told

    async def _told(self, name: str, asked: Question, kind: type[T]) -> Told[T]:
        if (known := self.remembered(name, asked)) is not None:
            return known
        age, began = self._age, self._clock.seconds()
        told: Told[T] = await getattr(self._status, name)(asked)
        # What happened while the database answered may not be in the answer.
        if name in REMEMBERED and age == self._age:
            told = self._keep((name, asked), told, began + AGE)
        return told

    def _keep(self, key: tuple[str, Question], told: Told[T], until: float) -> Told[T]:
        if told.version is None:
            told = replace(told, version=version_of(told.json))
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= len(old.told.json)
        self._kept[key] = _Kept(told, until)
        self._bytes += len(told.json)
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= len(gone.told.json)
        return told
