"""Asks once for all who ask the same at the same time.

Nobody gets an answer that was begun before the question came: who asks while the same
question is under way shares the next answer with all who come until that one begins.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from buildmaster.status.interface import IFollow, IStatus
from buildmaster.status.proxy import StatusProxy
from buildmaster.status.questions import Question
from buildmaster.status.told import Told

#: Bytes from which on an answer is large, and seconds between two who get it.
LARGE, GAP = 64 * 1024, 0.002

T = TypeVar("T")
Key = tuple[str, Question]


class Sharing(StatusProxy):
    """`IStatus` of another. For whoever may see what the other shows."""

    def __init__(self, status: IStatus, clock: IReactorTime) -> None:
        self._status = status
        self._clock = clock
        #: Who waits for the answer after the one that is under way.
        self._waiting: dict[Key, list[Deferred[Any]]] = {}

    def within(self, projects: tuple[str, ...] | None) -> IStatus:
        """The status of some projects only, of which nothing is shared; None: this one."""
        if projects is None:
            return self
        whole: Any = self._status  # which is a `BoundedStatus`
        narrow: IStatus = whole.within(projects)
        return narrow

    def follow(self, method: str, asked: Question, since: str | None = None) -> IFollow:
        """What happens to an answer; nothing of it is shared."""
        return self._status.follow(method, asked, since)

    async def _told(self, name: str, asked: Question, kind: type[T]) -> Told[T]:
        key = (name, asked)
        waiting = self._waiting.get(key)
        if waiting is not None:
            mine: Deferred[Told[T]] = Deferred()
            waiting.append(mine)
            return await mine
        self._waiting[key] = []
        try:
            told: Told[T] = await getattr(self._status, name)(asked)
            return told
        finally:
            self._next(key)

    def _next(self, key: Key) -> None:
        waiting = [each for each in self._waiting.pop(key) if not each.called]
        if not waiting:
            return
        self._waiting[key] = []
        name, asked = key
        asking = Deferred.fromCoroutine(getattr(self._status, name)(asked))

        asking.addBoth(self._hand_out, key, waiting)

    def _hand_out(self, told: Any, key: Key, waiting: list[Deferred[Any]]) -> None:
        """To all who wait; a large one to one after the other, and then comes the next.

        Sending a large answer is work, and dispatch is to have its turns meanwhile.
        """
        is_large = isinstance(told, Told) and len(told.json) >= LARGE
        while waiting:
            each = waiting.pop(0)
            if each.called:  # it was cancelled: that one left
                continue
            each.errback(told) if isinstance(told, Failure) else each.callback(told)
            if waiting and is_large:
                self._clock.callLater(GAP, self._hand_out, told, key, waiting)
                return
        self._next(key)
