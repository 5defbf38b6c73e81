"""Fires the timers of workflows: one clock for all of them, however many sleep."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from buildmaster.database import Database
from buildmaster.store import workflows as store

#: Timers that one statement fires, and the seconds after which it is looked anyway.
AT_ONCE = 500
LONGEST = 30.0


class Timing:
    """One round fires what is due, and asks for the next one when something will be."""

    def __init__(
        self, database: Database, clock: IReactorTime, wake: Callable[[], None]
    ) -> None:
        """``wake`` lets all rounds for workflows look again."""
        self._database = database
        self._clock = clock
        self._wake = wake
        self._next: IDelayedCall | None = None

    async def round(self) -> None:
        while await store.fire_timers(self._database, AT_ONCE) == AT_ONCE:
            pass
        seconds = await store.next_time(self._database)
        self.stop()
        if seconds is not None and seconds < LONGEST:
            # Never at once, again and again: another master may be at it just now.
            self._next = self._clock.callLater(max(0.02, seconds), self._wake)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
