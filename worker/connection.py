"""Keeps the worker connected to one of its masters, whichever can be reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from protocol.address import MasterAddress
from protocol.carrier import CannotConnect, Line, Peer
from worker.config import ConfigError
from worker.dialogue import Dialogue
from worker.session import Ending

#: Opens a line to a master; `CannotConnect` if there is none.
Connect = Callable[[MasterAddress, Peer], Deferred[Line]]


@dataclass(frozen=True)
class Delays:
    """Seconds between two tries. Each is shortened at random by up to a half."""

    first: float = 0.1
    longest: float = 5.0
    #: After a goodbye that a person must do something about.
    refused: float = 60.0


class Connection(Service):
    """Tries its masters in turn, for ever; stays with the one that answers."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        masters: Sequence[MasterAddress],
        connect: Connect,
        new_dialogue: Callable[[], Dialogue],
        *,
        delays: Delays = Delays(),
        random: Random | None = None,
    ) -> None:
        self._clock = clock
        self._masters = masters
        self._connect = connect
        self._new_dialogue = new_dialogue
        self._delays = delays
        self._random = random or Random()
        self._dialogue: Dialogue | None = None
        self._pending: Deferred[object] | None = None
        self._rounds: Deferred[None] | None = None
        self._last_said: tuple[str, str] | None = None

    def startService(self) -> None:
        """Begin to try."""
        super().startService()
        self._rounds = Deferred.fromCoroutine(self._go_round())

    def stopService(self) -> Deferred[None] | None:
        """Fires when the line, if there is one, has delivered what was sent."""
        super().stopService()
        if self._dialogue is not None:
            self._dialogue.leave("this worker stops")
        elif self._pending is not None:
            self._pending.cancel()
        rounds, self._rounds = self._rounds, None
        return rounds

    async def _go_round(self) -> None:
        turn = 0
        delay = self._delays.first
        while self.running:
            master = self._masters[turn % len(self._masters)]
            ending = await self._visit(master)
            if not self.running:
                return
            if ending.welcomed:
                delay = self._delays.first
            self._tell(master, ending)
            pause = delay if ending.retry else self._delays.refused
            await self._sleep(pause * self._random.uniform(0.5, 1.0))
            delay = min(delay * 2, self._delays.longest)
            turn += 1

    async def _visit(self, master: MasterAddress) -> Ending:
        """Connect and talk until it is over."""
        try:
            dialogue = self._new_dialogue()
        except ConfigError as error:
            return Ending(str(error), retry=False)
        connecting = self._connect(master, dialogue)
        self._pending = connecting  # type: ignore[assignment]
        try:
            await connecting
        except (CannotConnect, CancelledError) as error:
            return Ending(str(error) or "given up")
        finally:
            self._pending = None
        self._dialogue = dialogue
        try:
            if not self.running:
                dialogue.leave("this worker stops")
            return await dialogue.over
        finally:
            self._dialogue = None

    def _tell(self, master: MasterAddress, ending: Ending) -> None:
        """Log how it ended, but the same only once in a row."""
        said = (master.url, ending.reason)
        if said == self._last_said and ending.retry:
            return
        self._last_said = said
        if not ending.retry:
            self.log.error(
                "master {url} does not want this worker: {reason} "
                "(asking again every {seconds:g} seconds)",
                url=master.url,
                reason=ending.reason,
                seconds=self._delays.refused,
            )
        elif ending.welcomed:
            self.log.warn(
                "session with {url} over: {reason}", url=master.url, reason=ending.reason
            )
        else:
            self.log.warn(
                "no session with {url} yet: {reason}", url=master.url, reason=ending.reason
            )

    async def _sleep(self, seconds: float) -> None:
        waiting: Deferred[object] = Deferred()
        call = self._clock.callLater(seconds, waiting.callback, None)
        self._pending = waiting
        try:
            await waiting
        except CancelledError:
            call.cancel()
        finally:
            self._pending = None
