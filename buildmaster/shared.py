"""A value that is costly to make, made once for all who ask within a moment."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Shared(Generic[T]):
    """Makes a value when asked, unless the last one is fresh, or on its way."""

    def __init__(
        self,
        make: Callable[[], Coroutine[Deferred[Any], Any, T]],
        fresh_for: float,
        seconds: Callable[[], float],
    ) -> None:
        """``fresh_for``: seconds; below 0 every one who asks gets a new one."""
        self._make = make
        self._fresh_for = fresh_for
        self._seconds = seconds
        self._made: tuple[float, T] | None = None
        self._waiting: list[Deferred[T]] | None = None

    async def get(self) -> T:
        """The value; fails as making it did."""
        if self._made is not None:
            at, value = self._made
            if self._seconds() - at <= self._fresh_for:
                return value
        waiting: Deferred[T] = Deferred()
        if self._waiting is None:
            self._waiting = [waiting]
            # Whoever asked first may leave before it is made.
            making = Deferred.fromCoroutine(self._make())
            making.addCallbacks(self._done, self._failed)
        else:
            self._waiting.append(waiting)
        return await waiting

    def _done(self, value: T) -> None:
        self._made = (self._seconds(), value)
        for waiting in self._take():
            waiting.callback(value)

    def _failed(self, failure: Failure) -> None:
        for waiting in self._take():
            waiting.errback(failure)

    def _take(self) -> list[Deferred[T]]:
        waiting, self._waiting = self._waiting or [], None
        return [one for one in waiting if not one.called]
