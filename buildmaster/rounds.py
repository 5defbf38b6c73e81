"""Work that is done again and again: at a wake-up, and from time to time anyway."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from buildmaster.database import DatabaseAway


class Rounds(Service):
    """Runs a round of work whenever woken, and every ``interval`` seconds anyway.

    Wake-ups are hints: one that is lost costs an interval. Rounds never overlap; being
    woken during one starts another after it.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Deferred[Any], Any, None]],
        clock: IReactorTime,
        interval: float = 1.0,
    ) -> None:
        self.setName(name)
        self._round = work
        self._timer = LoopingCall(self.wake)
        self._timer.clock = clock
        self._interval = interval
        self._busy = False
        self._again = False
        self._idle: list[Deferred[None]] = []

    def startService(self) -> None:
        super().startService()
        self._timer.start(self._interval)

    def stopService(self) -> Deferred[None]:
        """Fires when the round under way, if any, has ended."""
        super().stopService()
        if self._timer.running:
            self._timer.stop()
        done: Deferred[None] = Deferred()
        if self._busy:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def woken(self, payload: str) -> None:
        """A notification came; what it says does not matter."""
        self.wake()

    def wake(self) -> None:
        """Look now, or again after the round under way."""
        if not self.running:
            return
        self._again = True
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._rounds())

    async def _rounds(self) -> None:
        try:
            while self._again and self.running:
                self._again = False
                try:
                    await self._round()
                except DatabaseAway as error:
                    self.log.warn("{name}: {error}", name=self.name, error=error)
                except Exception:
                    self.log.failure("{name}: a round failed", name=self.name)
        finally:
            self._busy = False
            for waiting in self._idle:
                waiting.callback(None)
