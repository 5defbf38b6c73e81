"""One connection of a worker, on the master's side."""

from __future__ import annotations

from collections import deque
from secrets import token_hex
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from buildmaster.database import DatabaseAway
from buildmaster.desk import Desk
from buildmaster.joining import Joined
from buildmaster.recording import BadReport
from protocol.carrier import Line
from protocol.conversation import Conversation, OutOfTurn, Role
from protocol.messages import (
    Accepted,
    Alive,
    BadMessage,
    Cancel,
    Forget,
    FromMaster,
    FromWorker,
    Goodbye,
    Hello,
    Offer,
    Recorded,
    Refused,
    Report,
    Start,
    decode_from_worker,
    encode,
)
from protocol.order import Order

#: Seconds without a word after which a worker counts as cut off.
SILENCE_LIMIT = 15.0
#: Seconds until something is tried again for which the database was away.
DATABASE_PAUSE = 0.5
#: Messages that may wait for the database before the line is given up; a worker sends no
#: more than its windows allow.
INBOX_LIMIT = 100_000


class SessionOwner(Protocol):
    """Who wants to know of sessions: the roster."""

    def session_opened(self, session: Session) -> None:
        """``session`` can take orders."""

    def session_closed(self, session: Session) -> None:
        """``session`` is over; it had been opened."""

    def slot_freed(self) -> None:
        """Some session can take one more order."""


class Session:
    """A `protocol.carrier.Peer`: hears one worker, in turn, and answers.

    Messages are worked off one after the other, neighbouring reports of an attempt as one
    transaction; whatever arrives meanwhile waits.
    """

    log = Logger()

    def __init__(self, desk: Desk, owner: SessionOwner, clock: IReactorTime) -> None:
        self._desk = desk
        self._owner = owner
        self._clock = clock
        self._inbox: deque[FromWorker] = deque()
        self._working = False
        self._said = Conversation()
        self._line: Line | None = None
        self._silence: IDelayedCall | None = None
        self.id = token_hex(8)
        self.worker: str | None = None  #: its name, once it has joined
        self.is_open = False
        self.offers: tuple[Offer, ...] = ()
        self.tags: tuple[str, ...] = ()
        self.slots = 0
        self.attempts: set[tuple[int, int]] = set()  #: leased through this session

    @property
    def free(self) -> int:
        """How many more orders the worker can take."""
        return self.slots - len(self.attempts) if self.is_open else 0

    # What the master wants to say.

    def start(self, order: Order) -> None:
        """Send an order whose lease is in ``attempts`` already."""
        self._send(Start(order=order))

    def cancel(self, job: int, attempt: int, why: str) -> None:
        """Ask the worker to end an attempt."""
        self._send(Cancel(job=job, attempt=attempt, why=why[:4000]))

    def forget(self, job: int, attempt: int) -> None:
        """Tell the worker that an attempt no longer counts."""
        self.attempts.discard((job, attempt))
        self._send(Forget(job=job, attempt=attempt))

    def close(self) -> None:
        """End the session; its attempts may be resumed in another."""
        if self._line is not None:
            self._line.close()
            self._over("this side closed it")

    # What the carrier tells.

    def opened(self, line: Line) -> None:
        """The line is there; the worker speaks first."""
        self._line = line
        self._wait_for_words()

    def received(self, frame: bytes) -> None:
        """Take one message; it is worked off in its turn."""
        if self._line is None:
            return
        self._wait_for_words()
        try:
            message = decode_from_worker(frame)
            self._said.take(Role.WORKER, message)
        except (BadMessage, OutOfTurn) as error:
            self._expel(str(error))
            return
        if len(self._inbox) >= INBOX_LIMIT:
            self._expel(f"{INBOX_LIMIT} messages wait already")
            return
        self._inbox.append(message)
        self._work()

    def closed(self, reason: str) -> None:
        """The line is gone."""
        self._over(reason)

    # The work.

    def _work(self) -> None:
        if not self._working and self._inbox:
            self._working = True
            Deferred.fromCoroutine(self._work_off()).addErrback(self._failed)

    async def _work_off(self) -> None:
        try:
            while self._inbox and self._line is not None:
                batch = self._next_batch()
                try:
                    await self._handle(batch)
                except DatabaseAway:
                    await self._pause()
                except BadReport as error:
                    self._expel(str(error))
                else:
                    for _ in batch:
                        self._inbox.popleft()
        finally:
            self._working = False

    def _next_batch(self) -> list[FromWorker]:
        """The first message, with the reports of the same attempt that follow it."""
        first = self._inbox[0]
        batch = [first]
        if isinstance(first, Report):
            for message in list(self._inbox)[1:256]:
                if not isinstance(message, Report) or (message.job, message.attempt) != (
                    first.job,
                    first.attempt,
                ):
                    break
                batch.append(message)
        return batch

    async def _handle(self, batch: list[FromWorker]) -> None:
        match batch[0]:
            case Hello() as hello:
                await self._join(hello)
            case Accepted(job=job, attempt=attempt):
                if not await self._desk.accept(self._name, job, attempt):
                    self.forget(job, attempt)
            case Refused(job=job, attempt=attempt, reason=reason):
                await self._refused(job, attempt, reason)
            case Report():
                await self._record([m for m in batch if isinstance(m, Report)])
            case Alive(holding=holding):
                for entry in await self._desk.renew(self._name, holding):
                    self.forget(entry.job, entry.attempt)
                self._send(Alive())

    async def _join(self, hello: Hello) -> None:
        answer = await self._desk.join(hello, self.id)
        if isinstance(answer, Goodbye):
            self.log.warn(
                "worker {worker!r} at {peer} was turned away: {reason}",
                worker=hello.worker,
                peer=self._peer,
                reason=answer.reason,
            )
            self._send(answer)
            self.close()
            return
        self._open(hello, answer)

    def _open(self, hello: Hello, joined: Joined) -> None:
        self.worker = hello.worker
        if self._line is None:  # It left while the database was asked.
            self._note_leave()
            return
        self.offers, self.tags, self.slots = hello.offers, hello.tags, hello.slots
        self.attempts = set(joined.attempts)
        self.is_open = True
        self._send(joined.welcome)
        self.log.info(
            "worker {worker} joined from {peer} with {slots} slots, {count} builds running",
            worker=self.worker,
            peer=self._peer,
            slots=self.slots,
            count=len(self.attempts),
        )
        self._owner.session_opened(self)

    async def _refused(self, job: int, attempt: int, reason: str) -> None:
        self.log.warn(
            "worker {worker} refused job {job}: {reason}",
            worker=self.worker,
            job=job,
            reason=reason,
        )
        await self._desk.refused(self._name, job, attempt, reason)
        self.attempts.discard((job, attempt))
        self._owner.slot_freed()

    async def _record(self, reports: list[Report]) -> None:
        outcome = await self._desk.record(self._name, reports)
        job, attempt = outcome.job, outcome.attempt
        if outcome.forget:
            self.forget(job, attempt)
        else:
            self._send(Recorded(job=job, attempt=attempt, number=outcome.recorded))
        if outcome.ended:
            self.attempts.discard((job, attempt))
            self._owner.slot_freed()

    # Endings.

    def _expel(self, why: str) -> None:
        self.log.warn(
            "line of worker {worker} at {peer} closed: {why}",
            worker=self.worker or "(not joined)",
            peer=self._peer,
            why=why,
        )
        self._send(Goodbye(reason=why[:4000], retry=True))
        self.close()

    def _over(self, reason: str) -> None:
        if self._line is None:
            return
        self._line = None
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if self.is_open:
            self.is_open = False
            self.log.info(
                "session of worker {worker} over: {reason}",
                worker=self.worker,
                reason=reason,
            )
            self._owner.session_closed(self)
            self._note_leave()

    def _note_leave(self) -> None:
        async def leave() -> None:
            while True:
                try:
                    await self._desk.leave(self._name, self.id)
                    return
                except DatabaseAway:
                    await self._pause()

        Deferred.fromCoroutine(leave()).addErrback(self._failed)

    def _failed(self, failure: object) -> None:
        self.log.error(
            "session of worker {worker} failed: {failure}",
            worker=self.worker,
            failure=failure,
        )
        self.close()

    def _wait_for_words(self) -> None:
        if self._silence is None:
            self._silence = self._clock.callLater(SILENCE_LIMIT, self._silent)
        else:
            self._silence.reset(SILENCE_LIMIT)

    def _silent(self) -> None:
        self._silence = None
        self._expel(f"it said nothing for {SILENCE_LIMIT:.0f} seconds")

    def _pause(self) -> Deferred[None]:
        pause: Deferred[None] = Deferred()
        self._clock.callLater(DATABASE_PAUSE, pause.callback, None)
        return pause

    def _send(self, message: FromMaster) -> None:
        if self._line is not None:
            self._said.take(Role.MASTER, message)
            self._line.send(encode(message))

    @property
    def _name(self) -> str:
        assert self.worker is not None
        return self.worker

    @property
    def _peer(self) -> str:
        return self._line.peer if self._line is not None else "?"
