"""Asks once for all who ask the same at the same time.

Nobody gets an answer that was begun before the question came: who asks while the same
question is under way shares the next answer with all who come until that one begins.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from buildmaster.status.interface import IFollow, IStatus
from buildmaster.status.proxy import StatusProxy
from buildmaster.status.questions import Question
from buildmaster.status.told import Told

T = TypeVar("T")


class Sharing(StatusProxy):
    """`IStatus` of another. For whoever may see what the other shows."""

    def __init__(self, status: IStatus) -> None:
        self._status = status
        #: Who waits for the answer after the one that is under way.
        self._waiting: dict[tuple[str, Question], list[Deferred[Any]]] = {}

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

    def _next(self, key: tuple[str, Question]) -> None:
        waiting = [each for each in self._waiting.pop(key) if not each.called]
        if not waiting:
            return
        self._waiting[key] = []
        name, asked = key
        asking = Deferred.fromCoroutine(getattr(self._status, name)(asked))

        def tell(told: Any) -> None:
            self._next(key)
            for each in waiting:
                if not each.called:  # else it was cancelled: that one left
                    each.errback(told) if isinstance(told, Failure) else each.callback(told)

        asking.addBoth(tell)
