"""Large answers, few at a time and with rests, so that dispatch has the processors, too.

Who asks for one waits a little longer when many do; who asks for a small one does not wait
behind them.
"""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from buildmaster.status.interface import IFollow, IStatus
from buildmaster.status.proxy import StatusProxy
from buildmaster.status.questions import Question
from buildmaster.status.told import Told

#: Large answers that are made at a time.
WIDTH = 2
#: A place stays free for as long as the last answer took to make, and no longer than this.
LONGEST_REST = 0.01
#: Entries from which on an answer is large.
LARGE = 200

T = TypeVar("T")


class Lane(StatusProxy):
    """`IStatus` of another."""

    def __init__(self, status: IStatus, clock: IReactorTime, width: int = WIDTH) -> None:
        self._status = status
        self._clock = clock
        self._places = DeferredSemaphore(width)

    def within(self, projects: tuple[str, ...] | None) -> IStatus:
        """The status of some projects only, whose large answers take the same places."""
        if projects is None:
            return self
        whole: Any = self._status  # which is a `BoundedStatus`
        narrow = copy(self)
        narrow._status = whole.within(projects)
        return narrow

    def follow(self, method: str, asked: Question, since: str | None = None) -> IFollow:
        """What happens to an answer; its snapshot waits for nobody."""
        return self._status.follow(method, asked, since)

    async def _told(self, name: str, asked: Question, kind: type[T]) -> Told[T]:
        if getattr(asked, "limit", 0) < LARGE:
            small: Told[T] = await getattr(self._status, name)(asked)
            return small
        await self._places.acquire()
        began = self._clock.seconds()
        try:
            told: Told[T] = await getattr(self._status, name)(asked)
            return told
        finally:
            took = max(0.0, self._clock.seconds() - began)
            self._clock.callLater(min(took, LONGEST_REST), self._places.release)
