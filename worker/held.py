"""One attempt on this worker's disk, and what the daemon does for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from protocol.messages import Attempt
from protocol.order import Order
from worker.attachment import Attachment
from worker.delivery import Delivery, ReportsMissing
from worker.dialogue import Mouth
from worker.supervisor import attach, control
from worker.supervisor.lingering import lingers
from worker.supervisor.settings import Settings
from worker.supervisor.spool import SpoolDamaged, SpoolReader

#: Seconds that a supervisor may take to clean up before it is killed.
CLEANING_LIMIT = 30.0
#: The same after ``kill``, which cleans up nothing.
KILL_LIMIT = 5.0
#: Seconds between two looks at a process that is about to end.
LOOK = 0.02
LONGEST_LOOK = 0.25
#: In the folder: the master has all reports, and something lingers.
RECORDED = "recorded"
#: Seconds until something is tried again that the disk did not allow.
DISK_PAUSE = 5.0


class Stage(Enum):
    """How far it is."""

    ARRIVING = "arriving"  #: the order is being written; nobody knows of it but us
    STARTING = "starting"  #: its supervisor is being started
    HELD = "held"  #: it runs or has something to report
    LINGERING = "lingering"  #: all is recorded; its environment lingers for a while
    LEAVING = "leaving"  #: it no longer counts, or all is recorded; it is being removed


class Held:
    """An attempt: its folder, its supervisor, its window of reports."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        key: Attempt,
        folder: Path,
        *,
        start: Callable[[Path], Deferred[None]],
        mouth: Callable[[], Mouth | None],
        removed: Callable[[Held], None],
    ) -> None:
        self.key = key
        self._reactor = reactor
        self._folder = folder
        self._start = start
        self._mouth = mouth
        self._removed = removed
        self._stage = Stage.ARRIVING
        self._reader = SpoolReader(folder)
        self._delivery = Delivery(self._reader)
        self._attachment = Attachment(
            reactor, folder, attached=self.renew, news=self._news, died=self._died
        )
        #: It has reports that the line had no room for.
        self.starves = False
        self._detached = False
        self._waiting_for_end: list[Deferred[None]] = []
        self._waiting_for_death: list[IDelayedCall] = []

    # -- what others ask

    @property
    def counts(self) -> bool:
        """Whether the master is told of it."""
        return self._stage in (Stage.STARTING, Stage.HELD)

    @property
    def lives(self) -> bool:
        """Whether its supervisor is alive."""
        return attach.is_alive(self._folder)

    @property
    def is_busy(self) -> bool:
        """Whether it takes a slot: it has not ended."""
        return self._stage is not Stage.LEAVING and not self._reader.ended

    # -- how it comes

    def find(self) -> None:
        """An earlier daemon left it in its folder."""
        self._stage = Stage.HELD
        try:
            attach.read_order(self._folder)
        except (OSError, msgspec.DecodeError):
            # The order was never whole on the disk, so nobody was told of it.
            self._leave(KILL_LIMIT)
            return
        if (self._folder / RECORDED).exists():
            self._part()
        if self.lives or not self._reader.ended:
            self._attachment.begin()

    def arrive(self, order: Order, settings: Settings) -> None:
        """Write ``order`` down, start its supervisor, say that it is accepted."""
        mouth = self._mouth()

        async def arrive() -> None:
            if await self._write_down(mouth, order, settings):
                await self._begin(mouth)

        Deferred.fromCoroutine(arrive()).addErrback(self._failed)

    async def _write_down(
        self, mouth: Mouth | None, order: Order, settings: Settings
    ) -> bool:
        """Whether the order is on the disk and still wanted."""
        try:
            await self._in_thread(attach.write_order, self._folder, order, settings)
        except OSError as error:
            self._turn_down(mouth, _cannot_write(self._folder, error))
            return False
        if self._stage is Stage.LEAVING or mouth is not self._mouth():
            # Forgotten, or of a session that is over: the master was never told that we
            # have it, and gives it to another worker.
            self._leave(KILL_LIMIT)
            return False
        return True

    async def _begin(self, mouth: Mouth | None) -> None:
        # From here on the next hello names it, or it could run here and elsewhere.
        self._stage = Stage.STARTING
        try:
            await self._start(self._folder)
        except (OSError, ValueError, attach.StillAlive) as error:
            why = f"its supervisor could not be started: {error}"
            if mouth is self._mouth() or self._forgotten():
                self._turn_down(mouth, why)
            else:
                # The master of this session was told that we have it.
                self._stage = Stage.HELD
                await self._write_off(why)
            return
        if self._forgotten():
            self._attachment.begin()
            self._attachment.say(control.Kill())
            self._leave(KILL_LIMIT)
            return
        self._stage = Stage.HELD
        if mouth is not None and mouth is self._mouth():
            self._delivery.resume(0)
            mouth.accepted(self.key.job, self.key.attempt)
        self._attachment.begin()

    def _forgotten(self) -> bool:
        return self._stage is Stage.LEAVING

    def _turn_down(self, mouth: Mouth | None, why: str) -> None:
        self.log.error(
            "job {key.job} attempt {key.attempt} refused: {why}", key=self.key, why=why
        )
        if mouth is not None and mouth is self._mouth() and not self._forgotten():
            mouth.refused(self.key.job, self.key.attempt, why)
        self._leave(KILL_LIMIT)

    # -- its reports

    def resume(self, recorded: int, files: str | None = None) -> None:
        """A session is open in which the master has ``recorded`` so many reports.

        Its files go below ``files`` now.
        """
        try:
            self._delivery.resume(recorded)
            if files is not None and not self._reader.ended:
                attach.tell_files_url(self._folder, files)
        except ReportsMissing as error:
            self._lose(str(error))
            return
        except OSError as error:  # It may yet do without: the first master may come back.
            self.log.error("{folder}: {error}", folder=self._folder, error=error)
        self.pump()

    def suspend(self) -> None:
        """There is no session."""
        self._delivery.suspend()
        self.starves = False

    def settle(self, recorded: int) -> None:
        """The master has ``recorded`` so many."""
        self._delivery.settle(recorded)
        self.pump()

    def pump(self) -> None:
        """Send what there is, as far as the window and the line allow."""
        mouth = self._mouth()
        if mouth is None or self._stage is not Stage.HELD:
            return
        try:
            while not (starves := not mouth.has_room) and (
                parcels := self._delivery.next()
            ):
                for parcel in parcels:
                    mouth.report(self.key.job, self.key.attempt, parcel)
        except (SpoolDamaged, OSError) as error:
            self._lose(str(error))
            return
        self.starves = starves
        if self._delivery.is_done:
            self._part()

    def _part(self) -> None:
        """The master has all of it: nothing is left but what lingers."""
        if self.lives and lingers(self._folder):
            # Without the note the next daemon would ask a master, who knows it no more.
            with suppress(OSError):
                (self._folder / RECORDED).touch()
            self._stage = Stage.LINGERING
        else:
            self._leave(CLEANING_LIMIT)

    def _lose(self, why: str) -> None:
        """What the master believes cannot be kept: give the attempt up, and say so.

        There is no message for it: the next hello does not name the attempt.
        """
        self.log.error(
            "job {key.job} attempt {key.attempt} is lost: {why}", key=self.key, why=why
        )
        self.forget()
        mouth = self._mouth()
        if mouth is not None:
            mouth.give_up(f"this worker lost job {self.key.job}: {why}")

    # -- its supervisor

    def renew(self) -> None:
        """The master renewed the lease just now, or the supervisor has just been reached.

        Only an open session makes that true: without one the supervisor hears nothing.
        """
        if self._mouth() is not None and self._stage is Stage.HELD:
            self._attachment.renew()

    def cancel(self, why: str) -> None:
        """Make it end with the result ``cancelled``; what lingers is removed."""
        if self._stage is Stage.LINGERING:
            self._attachment.say(control.Kill())
            self._leave(KILL_LIMIT)
        elif self._stage is not Stage.LEAVING:
            self._attachment.say(control.CancelAttempt(why=why))

    def _news(self, reports: control.Reports) -> None:
        self.pump()
        if reports.ended:
            self._ended()

    def _died(self) -> None:
        """The supervisor is no more: gladly, if it has reported the end."""
        waiting, self._waiting_for_death = self._waiting_for_death, []
        for call in waiting:
            call.reset(0)
        if self._stage is Stage.LINGERING and not self._detached:
            self._leave(KILL_LIMIT)
        if self._stage is not Stage.HELD or self._detached:
            return
        if self._reader.ended:
            self.pump()
            self._ended()
            return
        self.log.error(
            "the supervisor of job {key.job} attempt {key.attempt} died", key=self.key
        )
        reason = (
            "the process that watched over this build on its worker died; see "
            f"{self._folder / attach.LOG} there, or whether the machine was restarted"
        )
        Deferred.fromCoroutine(self._write_off(reason)).addErrback(self._failed)

    async def _write_off(self, reason: str) -> None:
        while self._stage is Stage.HELD and not self._detached:
            try:
                await self._in_thread(attach.write_off, self._folder, reason)
            except (OSError, attach.StillAlive) as error:
                self.log.error("{folder}: {error}", folder=self._folder, error=error)
                await self._pause(DISK_PAUSE)
            else:
                break
        self.pump()
        self._ended()

    # -- how it goes

    def forget(self) -> None:
        """It no longer counts: kill what runs, remove what is there."""
        if self._stage in (Stage.ARRIVING, Stage.STARTING):
            self._stage = Stage.LEAVING  # `arrive` sees that
        elif self._stage is Stage.HELD:
            self._attachment.say(control.Kill())
            self._leave(KILL_LIMIT)

    async def until_over(self) -> None:
        """Returns when it has ended and nothing of it runs any more."""
        ended: Deferred[None] = Deferred()
        self._waiting_for_end.append(ended)
        if self._stage is Stage.LEAVING or self._reader.ended:
            self._ended()
        await ended
        while self.lives:
            await self._until_look(LOOK)

    def detach(self) -> None:
        """Let go of it; it lives on."""
        self._detached = True
        self._attachment.end()

    def kill(self) -> Deferred[None]:
        """End its supervisor, and with it all that it runs; the folder stays."""
        return Deferred.fromCoroutine(self._until_dead(0.0))

    def _ended(self) -> None:
        waiting, self._waiting_for_end = self._waiting_for_end, []
        for ended in waiting:
            ended.callback(None)

    def _leave(self, patience: float) -> None:
        """Remove it as soon as its supervisor is gone, which is made to happen."""
        self._stage = Stage.LEAVING
        Deferred.fromCoroutine(self._remove(patience)).addErrback(self._failed)

    async def _remove(self, patience: float) -> None:
        await self._until_dead(patience)
        if self._detached:
            return
        self._attachment.end()
        self._reader.close()
        try:
            await self._in_thread(attach.remove, self._folder)
        except (attach.NotRemoved, attach.StillAlive, OSError) as error:
            self.log.error(
                "something of job {key.job} attempt {key.attempt} is left: {error}",
                key=self.key,
                error=error,
            )
        self._ended()
        self._removed(self)

    async def _until_dead(self, patience: float) -> None:
        waited, look = 0.0, LOOK
        while (pid := attach.supervisor_pid(self._folder)) is not None:
            if self._detached:
                return
            if waited > patience:
                self.log.error("process {pid} does not end; it is killed", pid=pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                patience = waited + 1.0
            await self._until_look(look)
            waited += look
            look = min(look * 2, LONGEST_LOOK)

    async def _until_look(self, seconds: float) -> None:
        """Returns after ``seconds``, or as soon as the attachment sees the death."""
        waiting: Deferred[None] = Deferred()
        self._waiting_for_death.append(
            self._reactor.callLater(seconds, waiting.callback, None)
        )
        await waiting
        self._waiting_for_death = [c for c in self._waiting_for_death if c.active()]

    # -- small things

    def _in_thread(self, call: Callable[..., None], *arguments: object) -> Deferred[None]:
        """Disks may be slow: not in the reactor's thread."""
        return deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), call, *arguments
        )

    def _pause(self, seconds: float) -> Deferred[None]:
        pause: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, pause.callback, None)
        return pause

    def _failed(self, failure: object) -> None:
        self.log.error(
            "job {key.job} attempt {key.attempt}: {failure}", key=self.key, failure=failure
        )


def _cannot_write(folder: Path, error: OSError) -> str:
    return (
        f"the worker cannot write the order into {folder}: {error.strerror}; "
        "its operator must make room or mend that"
    )
