"""One line to a master, from the first word to the last.

Decodes what arrives, holds it against the table of the conversation, feeds the session's
machine, and keeps the time between signs of life. What is said in one turn of the reactor
goes out as one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, SEVERAL_SINCE
from protocol.carrier import Line
from protocol.conversation import Conversation, OutOfTurn, Role, SessionState
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
    Holding,
    Recorded,
    Refused,
    Start,
    Welcome,
    decode_from_master,
    encode,
)
from protocol.outbox import Outbox
from worker.delivery import Parcel
from worker.session import Ending, Outputs, Session, new_session

#: Seconds without a word after which a master counts as gone, however slow its heartbeat.
SILENCE_LIMIT = 15.0
#: Bytes that may wait in the line before reports wait on the disk instead.
LINE_WINDOW = 8 * 1024 * 1024


class Mouth(Protocol):
    """What attempts may say through an open session."""

    @property
    def has_room(self) -> bool:
        """Whether reports should be sent just now."""

    def accepted(self, job: int, attempt: int) -> None:
        """The order is on the disk."""

    def refused(self, job: int, attempt: int, reason: str) -> None:
        """The order cannot be taken."""

    def report(self, job: int, attempt: int, parcel: Parcel) -> None:
        """One report, in its turn."""

    def give_up(self, reason: str) -> None:
        """Begin anew: something is not as the master must believe."""


class Attempts(Protocol):
    """What a dialogue needs of the worker's attempts."""

    def holding(self) -> tuple[Holding, ...]:
        """What is on the disk."""

    def resume(self, mouth: Mouth, welcome: Welcome) -> None:
        """A session is open."""

    def suspend(self) -> None:
        """There is none any more; safe to call if there was none."""

    def take(self, start: Start) -> None:
        """Accept the order or refuse it."""

    def settle(self, recorded: Recorded) -> None:
        """Reports are recorded."""

    def forget(self, forget: Forget) -> None:
        """An attempt no longer counts."""

    def cancel(self, cancel: Cancel) -> None:
        """An attempt is to end."""

    def renew(self) -> None:
        """The master renewed the leases."""


class Dialogue:
    """A `protocol.carrier.Peer`; ``over`` fires once with how it ended."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        attempts: Attempts,
        hello: Callable[[tuple[Holding, ...]], Hello],
    ) -> None:
        self.over: Deferred[Ending] = Deferred()
        self._clock = clock
        self._attempts = attempts
        self._hello = hello
        self._outbox = Outbox(clock)
        self._conversation = Conversation()
        self._heard_at = 0.0
        self._silence_limit = SILENCE_LIMIT
        self._beats = LoopingCall(self._beat)
        self._beats.clock = clock
        self._session = self._new_session()
        self._inputs: Mapping[type[FromMaster], Callable[[Any], None]] = {
            Welcome: self._session.heard_welcome,
            Goodbye: self._session.heard_goodbye,
            Start: self._session.heard_start,
            Recorded: self._session.heard_recorded,
            Forget: self._session.heard_forget,
            Cancel: self._session.heard_cancel,
            Alive: lambda alive: self._session.heard_alive(),
        }

    def _new_session(self) -> Session:
        return new_session(
            Outputs(
                greet=self._greet,
                resume=self._resume,
                take=self._attempts.take,
                settle=self._attempts.settle,
                forget=self._attempts.forget,
                cancel=self._attempts.cancel,
                renew=self._attempts.renew,
                say_alive=self._say_alive,
                hang_up=self._hang_up,
                over=self._over,
            )
        )

    # -- the carrier's side

    def opened(self, line: Line) -> None:
        """The line is there: greet."""
        self._outbox.line = line
        self._heard_at = self._clock.seconds()
        self._session.opened()
        self._keep_time(SILENCE_LIMIT / 3)

    def received(self, frame: bytes) -> None:
        """Act on the messages in a frame, or leave a master that talks nonsense."""
        self._heard_at = self._clock.seconds()
        try:
            messages = decode_from_master(frame)
            for message in messages:
                self._conversation.take(Role.MASTER, message)
        except (BadMessage, OutOfTurn) as error:
            self._session.leave(f"the master broke the rules of the protocol: {error}")
            return
        for message in messages:
            self._inputs[type(message)](message)
        # Not a turn later: the carrier sends it together with what it says itself.
        self._outbox.flush()

    def closed(self, reason: str) -> None:
        """The line is gone."""
        self._session.lost(reason)

    # -- the attempts' side: a `Mouth`

    @property
    def has_room(self) -> bool:
        """Whether the master takes what it is sent."""
        return self._outbox.line is not None and self._outbox.waiting < LINE_WINDOW

    def accepted(self, job: int, attempt: int) -> None:
        """Say so."""
        self._say(Accepted(job=job, attempt=attempt))

    def refused(self, job: int, attempt: int, reason: str) -> None:
        """Say so."""
        self._say(Refused(job=job, attempt=attempt, reason=reason[:4000]))

    def report(self, job: int, attempt: int, parcel: Parcel) -> None:
        """Send it as it lies on the disk."""
        self._conversation.reported(job, attempt, parcel.number, parcel.is_last)
        self._outbox.say(parcel.frame)

    def give_up(self, reason: str) -> None:
        """Leave the master; `worker.connection` soon comes back."""
        self._session.leave(reason)

    # -- what the machine causes

    def _greet(self) -> None:
        self._say(self._hello(self._attempts.holding()))

    def _resume(self, welcome: Welcome) -> None:
        if not OLDEST_PROTOCOL_VERSION <= welcome.version <= PROTOCOL_VERSION:
            self._session.leave(
                f"the master chose version {welcome.version}, which was not offered"
            )
            return
        line = self._outbox.line
        self.log.info(
            "joined master {master} at {peer}, session {session}",
            master=welcome.master,
            peer=line.peer if line is not None else "?",
            session=welcome.session,
        )
        self._outbox.several = welcome.version >= SEVERAL_SINCE
        self._silence_limit = max(SILENCE_LIMIT, 3 * welcome.heartbeat)
        self._keep_time(welcome.heartbeat)
        self._attempts.resume(self, welcome)

    def _say_alive(self) -> None:
        self._say(Alive(holding=self._attempts.holding()))

    def _hang_up(self) -> None:
        self._attempts.suspend()
        self._outbox.close()

    def _over(self, ending: Ending) -> None:
        self._outbox.drop()
        if self._beats.running:
            self._beats.stop()
        self._attempts.suspend()
        self.over.callback(ending)

    # -- time, and words

    def _keep_time(self, heartbeat: float) -> None:
        if self._beats.running:
            self._beats.stop()
        self._beats.start(heartbeat, now=False).addErrback(self._out_of_beat)

    def _out_of_beat(self, failure: Failure) -> None:
        self.log.failure("could not give a sign of life", failure)
        self._session.leave("this worker could not give a sign of life")

    def _beat(self) -> None:
        silent = self._clock.seconds() - self._heard_at
        if silent > self._silence_limit:
            self._session.leave(f"the master said nothing for {silent:.0f} seconds")
        elif self._session_is_open:
            self._session.beat()

    @property
    def _session_is_open(self) -> bool:
        return self._conversation.state is SessionState.OPEN

    def leave(self, reason: str) -> None:
        """End the dialogue for ``reason``; ``over`` fires when the line is closed."""
        self._session.leave(reason)

    def _say(self, message: FromWorker) -> None:
        self._conversation.take(Role.WORKER, message)
        self._outbox.say(encode(message))
