"""One connection of a worker, on the master's side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from secrets import token_hex
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from buildmaster.database import DatabaseAway
from buildmaster.desk import Desk
from buildmaster.joining import Joined
from buildmaster.matching import Amounts, Capability, tags_of
from buildmaster.recording import (
    ATTEMPT_RESULTS,
    BadReport,
    Outcome,
    ReportsMissing,
    attempt_end,
)
from buildmaster.room import Room
from buildmaster.store.step import Acceptance, AttemptEnd
from protocol import SEVERAL_SINCE
from protocol.carrier import Line
from protocol.conversation import Conversation, OutOfTurn, Role
from protocol.messages import (
    Accepted,
    Alive,
    BadMessage,
    Cancel,
    Ended,
    Forget,
    FromMaster,
    FromWorker,
    Goodbye,
    Hello,
    Recorded,
    Refused,
    Report,
    Start,
    decode_from_worker,
    encode,
)
from protocol.order import AnyOrder
from protocol.outbox import Outbox

#: Seconds without a word after which a worker counts as cut off: all is told in 15.
SILENCE_LIMIT = 14.0
#: Seconds until something is tried again for which the database was away.
DATABASE_PAUSE = 0.5
#: Messages, and bytes of them, that may wait for the database before the line is given
#: up; a worker sends no more than its windows allow, 2 MiB for each attempt.
INBOX_LIMIT = 100_000
INBOX_BYTES = 256 * 1024 * 1024
#: Messages, and about how many bytes of them, that are worked off in one transaction.
BATCH_LIMIT = 256
BATCH_BYTES = 4 * 1024 * 1024


class SessionOwner(Protocol):
    """Who wants to know of sessions: the roster."""

    def session_opened(self, session: Session) -> None:
        """``session`` can take orders."""

    def session_closed(self, session: Session) -> None:
        """``session`` is over; it had been opened."""

    def room_changed(self, session: Session) -> None:
        """``session`` can take more, or less."""

    def tell(
        self, worker: str, accepted: Sequence[Acceptance], ends: Sequence[AttemptEnd]
    ) -> Deferred[Told]:
        """Write what a worker told with the master's next step."""


@dataclass(frozen=True)
class Told:
    """What became of what a worker told."""

    ended: frozenset[tuple[int, int]]  #: recorded
    forget: frozenset[tuple[int, int]]  #: not its leases any more


def capability_of(hello: Hello) -> Capability:
    """What a worker offers."""
    return Capability(
        hello.worker,
        hello.offers,
        tuple(tags_of(hello)),
        hello.restricted_tags,
        hello.performs,
        Amounts(
            hello.slots,
            None if hello.cpu is None else 100 * hello.cpu,
            hello.memory,
            hello.disk,
        ),
    )


class Session(Room):
    """A `protocol.carrier.Peer`: hears one worker, in turn, and answers.

    Messages are worked off one after the other, neighbouring reports of an attempt as one
    transaction; whatever arrives meanwhile waits. What is said in one turn of the reactor
    goes out as one frame.
    """

    log = Logger()

    def __init__(self, desk: Desk, owner: SessionOwner, clock: IReactorTime) -> None:
        super().__init__()
        self._desk = desk
        self._owner = owner
        self._clock = clock
        # With their sizes. A deque takes a kilobyte when it is empty.
        self._inbox: list[tuple[FromWorker, int]] = []
        self._waiting = 0  # bytes in it
        self._outbox = Outbox(clock)
        self._working = False
        self._said = Conversation()
        self._silence: IDelayedCall | None = None
        self.id = token_hex(8)
        self.worker: str | None = None  #: its name, once it has joined
        self.is_open = False

    def room_changed(self) -> None:
        """The dispatcher hears of it."""
        self._owner.room_changed(self)

    # What the master wants to say.

    def start(self, order: AnyOrder) -> None:
        """Send an order whose lease is in ``attempts`` already."""
        self._send(Start(order=order))

    def cancel(self, job: int, attempt: int, why: str) -> None:
        """Ask the worker to end an attempt."""
        self._send(Cancel(job=job, attempt=attempt, why=why[:4000]))

    def forget(self, job: int, attempt: int) -> None:
        """Tell the worker that an attempt no longer counts."""
        self.drop(job, attempt)
        self._send(Forget(job=job, attempt=attempt))

    def close(self) -> None:
        """End the session; its attempts may be resumed in another."""
        if self._line is not None:
            self._outbox.close()
            self._over("this side closed it")

    # What the carrier tells.

    def opened(self, line: Line) -> None:
        """The line is there; the worker speaks first."""
        self._outbox.line = line
        self._wait_for_words()

    def received(self, frame: bytes) -> None:
        """Take the messages of a frame; they are worked off in their turn."""
        if self._line is None:
            return
        self._wait_for_words()
        try:
            messages = decode_from_worker(frame)
            for message in messages:
                self._said.take(Role.WORKER, message)
        except (BadMessage, OutOfTurn) as error:
            self._expel(str(error))
            return
        share = -(-len(frame) // len(messages))
        self._waiting += share * len(messages)
        if len(self._inbox) >= INBOX_LIMIT or self._waiting > INBOX_BYTES:
            self._expel(f"{len(self._inbox)} messages of it wait already")
            return
        self._inbox.extend((message, share) for message in messages)
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
                except ReportsMissing as error:
                    self._expel(str(error))
                else:
                    done = self._inbox[: len(batch)]
                    self._waiting -= sum(size for _, size in done)
                    del self._inbox[: len(batch)]
        finally:
            self._working = False

    def _next_batch(self) -> list[FromWorker]:
        """The first message, with those that follow and can be written with it.

        Those are the reports of the same attempt, or acceptances and the ends of native
        jobs of whichever attempts.
        """
        first, size = self._inbox[0]
        batch = [first]
        if self._is_told(first):
            for message, _ in islice(self._inbox, 1, BATCH_LIMIT):
                if not self._is_told(message):
                    break
                batch.append(message)
        elif isinstance(first, Report):
            attempt = (first.job, first.attempt)
            for message, more in islice(self._inbox, 1, BATCH_LIMIT):
                size += more
                if (
                    not isinstance(message, Report)
                    or (message.job, message.attempt) != attempt
                    or size > BATCH_BYTES
                ):
                    break
                batch.append(message)
        return batch

    async def _handle(self, batch: list[FromWorker]) -> None:
        match batch[0]:
            case Hello() as hello:
                await self._join(hello)
            case first if self._is_told(first):
                await self._tell(batch)
            case Refused(job=job, attempt=attempt, reason=reason):
                await self._refused(job, attempt, reason)
            case Report():
                await self._record([m for m in batch if isinstance(m, Report)])
            case Alive(holding=holding):
                for entry in await self._desk.renew(self._name, holding):
                    self.forget(entry.job, entry.attempt)
                self._send(Alive())

    async def _join(self, hello: Hello) -> None:
        try:
            answer = await self._desk.join(hello, self.id, self._peer)
        except DatabaseAway:
            if self._line is None:  # Nobody would ask again, and it may have joined.
                self._note_leave(hello.worker)
            raise
        if isinstance(answer, Goodbye):
            if not answer.retry:  # Who floods us must not flood the log.
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
            self._note_leave(hello.worker)
            return
        self.begin(capability_of(hello), joined.attempts)
        self.is_open = True
        self._outbox.several = joined.welcome.version >= SEVERAL_SINCE
        self._send(joined.welcome)
        self.log.info(
            "worker {worker} joined from {peer} with {slots} slots, {count} jobs running",
            worker=self.worker,
            peer=self._peer,
            slots=hello.slots,
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
        self.drop(job, attempt)

    def _is_told(self, message: FromWorker) -> bool:
        """Whether the message goes into the master's next step."""
        if isinstance(message, Accepted):
            return True
        if not isinstance(message, Report) or message.number != 1:
            return False
        leased = self.attempts.get((message.job, message.attempt))
        return (
            leased is not None
            and leased.is_native
            and isinstance(message.body, Ended)
            and message.body.result in ATTEMPT_RESULTS
        )

    async def _tell(self, batch: list[FromWorker]) -> None:
        """Tell acceptances, and ends of native jobs that have nothing else to report."""
        accepted = [
            Acceptance(message.job, message.attempt, self._name)
            for message in batch
            if isinstance(message, Accepted)
        ]
        ends = [
            attempt_end(self._name, message.job, message.attempt, message.body, 1)
            for message in batch
            if isinstance(message, Report) and isinstance(message.body, Ended)
        ]
        told = await self._owner.tell(self._name, accepted, ends)
        for job, attempt in told.ended:
            self._send(Recorded(job=job, attempt=attempt, number=1))
            self.drop(job, attempt)
        for job, attempt in told.forget:
            self.forget(job, attempt)

    async def _record(self, reports: list[Report]) -> None:
        job, attempt = reports[0].job, reports[0].attempt
        try:
            outcome = await self._desk.record(self._name, reports)
        except (DatabaseAway, ReportsMissing):
            raise
        except Exception as error:
            outcome = await self._give_up(job, attempt, error)
        if outcome.forget:
            self.forget(job, attempt)
        else:
            self._send(Recorded(job=job, attempt=attempt, number=outcome.recorded))
        if outcome.ended:
            self.drop(job, attempt)

    async def _give_up(self, job: int, attempt: int, error: Exception) -> Outcome:
        """End an attempt that would otherwise report the same again, for ever."""
        told = str(error) if isinstance(error, BadReport) else "an error of the buildmaster"
        reason = f"worker {self.worker} reported what cannot be recorded: {told}"
        if isinstance(error, BadReport):
            self.log.warn("job {job}: {reason}", job=job, reason=reason)
        else:
            self.log.failure("job {job}: {reason}", job=job, reason=reason)
        await self._desk.give_up(self._name, job, attempt, reason)
        return Outcome(job, attempt, 0, forget=True, ended=True)

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
        self._outbox.drop()
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
            self._note_leave(self._name)

    def _note_leave(self, worker: str) -> None:
        async def leave() -> None:
            while True:
                try:
                    await self._desk.leave(worker, self.id)
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
            self._outbox.say(encode(message))

    @property
    def _line(self) -> Line | None:
        return self._outbox.line

    @property
    def _name(self) -> str:
        assert self.worker is not None
        return self.worker

    @property
    def _peer(self) -> str:
        return self._line.peer if self._line is not None else "?"
