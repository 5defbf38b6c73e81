"""A master for workers in tests: real messages over real PB, a dictionary as database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import TestCase

from protocol import PROTOCOL_VERSION, SEVERAL_SINCE, pb
from protocol.carrier import Line
from protocol.conversation import Conversation, Role
from protocol.messages import (
    Accepted,
    Alive,
    Attempt,
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
    Welcome,
    decode_from_worker,
    encode,
    encode_all,
)
from protocol.order import AnyOrder
from tests.protocol.lines import loopback
from tests.worker.supervisor.attempts import Told

M = TypeVar("M")


@dataclass
class FakeSession:
    """One line of a worker: a `protocol.carrier.Peer`."""

    master: FakeMaster
    line: Line | None = None
    hello: Hello | None = None
    ended: str = ""
    heard: list[FromWorker] = field(default_factory=list)
    frames: int = 0
    _conversation: Conversation = field(default_factory=Conversation)

    def opened(self, line: Line) -> None:
        self.line = line
        self.master.look()

    def received(self, frame: bytes) -> None:
        self.frames += 1
        messages = decode_from_worker(frame)
        for message in messages:
            try:
                self._conversation.take(Role.WORKER, message)
            except Exception as error:
                self.master.broken.append(error)
                raise
        for message in messages:
            self.heard.append(message)
            self.master.hear(self, message)
        self.master.look()

    def closed(self, reason: str) -> None:
        self.ended = reason
        self.master.look()

    def say(self, *messages: FromMaster) -> None:
        """Say them, in one frame if the worker takes that."""
        for message in messages:
            self._conversation.take(Role.MASTER, message)
        assert self.line is not None
        together = self.master.version >= SEVERAL_SINCE
        for frame in encode_all(messages) if together else map(encode, messages):
            self.line.send(frame)

    def of(self, kind: type[M]) -> list[M]:
        """What the worker said of one kind."""
        return [message for message in self.heard if isinstance(message, kind)]


class FakeMaster:
    """Records what it is told; keeps to the conversation, and notes who does not."""

    def __init__(
        self, test: TestCase, heartbeat: float = 0.2, version: int = PROTOCOL_VERSION
    ) -> None:
        self.heartbeat = heartbeat
        self.version = version
        self.sessions: list[FakeSession] = []
        self.reports: dict[Attempt, list[Report]] = {}
        self.current: set[Attempt] = set()  #: attempts that count
        self.deaf = False  #: reports are heard, but not recorded
        self.mute = False  #: signs of life are not answered
        self.turn_away: Goodbye | None = None
        self.broken: list[Exception] = []  #: rules that the worker broke
        self._test = test
        self._port: IListeningPort | None = None
        self._waits: list[tuple[Callable[[], object], Deferred[None]]] = []
        test.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    async def listen(self, port: int = 0) -> None:
        self._port = await pb.listen(reactor, loopback(port), self._new_session)

    @property
    def port(self) -> int:
        assert self._port is not None
        return int(self._port.getHost().port)  # type: ignore[attr-defined]

    async def close(self) -> None:
        """As if it were killed: no goodbye."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        for session in self.sessions:
            if session.line is not None and not session.ended:
                session.line.close()
                await self.until(lambda session=session: session.ended)  # type: ignore[misc]
        self._test.assertEqual(self.broken, [])

    def until(self, condition: Callable[[], object]) -> Deferred[None]:
        """Fires as soon as ``condition`` holds after something was heard."""
        waiting: Deferred[None] = Deferred()
        self._waits.append((condition, waiting))
        self.look()
        return waiting

    def look(self) -> None:
        for wait in list(self._waits):
            condition, waiting = wait
            if wait in self._waits and condition():
                self._waits.remove(wait)
                waiting.callback(None)

    # -- what tests ask

    @property
    def session(self) -> FakeSession:
        """The newest."""
        return self.sessions[-1]

    async def until_joined(self, sessions: int = 1) -> FakeSession:
        """So many sessions were opened; the newest."""
        await self.until(
            lambda: len([s for s in self.sessions if s.hello is not None]) >= sessions
        )
        return self.session

    def start(self, *orders: AnyOrder) -> Attempt:
        """Give them out together; the last one's attempt."""
        for order in orders:
            key = Attempt(order.job, order.attempt)
            self.current.add(key)
            self.reports[key] = []
        self.session.say(*(Start(order=order) for order in orders))
        return key

    async def until_accepted(self, key: Attempt) -> None:
        await self.until(lambda: self._answers(Accepted, key))

    async def until_refused(self, key: Attempt) -> str:
        await self.until(lambda: self._answers(Refused, key))
        return self._answers(Refused, key)[0].reason

    def _answers(self, kind: type[M], key: Attempt) -> list[M]:
        return [
            message
            for session in self.sessions
            for message in session.of(kind)
            if Attempt(message.job, message.attempt) == key  # type: ignore[attr-defined]
        ]

    def told(self, key: Attempt) -> Told:
        """All that was recorded of an attempt; its numbers are as they must be."""
        reports = self.reports[key]
        numbers = [report.number for report in reports]
        self._test.assertEqual(numbers, list(range(1, len(reports) + 1)))
        return Told(tuple(report.body for report in reports))

    async def until_log(self, key: Attempt, text: str) -> None:
        await self.until(lambda: text in self.told(key).log())

    async def until_more(self, key: Attempt, number: int) -> None:
        """So many further reports are recorded."""
        enough = len(self.reports[key]) + number
        await self.until(lambda: len(self.reports[key]) >= enough)

    async def until_ended(self, key: Attempt) -> Told:
        await self.until(
            lambda: self.reports.get(key) and isinstance(self.reports[key][-1].body, Ended)
        )
        return self.told(key)

    async def until_beat(self) -> None:
        """The worker gave another sign of life."""
        heard = self.session.heard
        before = len(heard)
        await self.until(lambda: any(isinstance(m, Alive) for m in heard[before:]))

    async def until_let_go(self, key: Attempt) -> None:
        """The worker's next sign of life no longer names the attempt."""
        session = self.session
        begin = len(session.heard)
        await self.until(
            lambda: any(
                isinstance(message, Alive)
                and key not in {Attempt(h.job, h.attempt) for h in message.holding}
                for message in session.heard[begin:]
            )
        )

    # -- what it does

    def _new_session(self) -> FakeSession:
        session = FakeSession(self)
        self.sessions.append(session)
        return session

    def hear(self, session: FakeSession, message: FromWorker) -> None:
        if isinstance(message, Hello):
            self._greet(session, message)
        elif isinstance(message, Report):
            self._record(session, message)
        elif isinstance(message, Alive) and not self.mute:
            session.say(Alive())

    def _greet(self, session: FakeSession, hello: Hello) -> None:
        session.hello = hello
        if self.turn_away is not None:
            session.say(self.turn_away)
            assert session.line is not None
            session.line.close()
            return
        held = [Attempt(holding.job, holding.attempt) for holding in hello.holding]
        session.say(
            Welcome(
                version=self.version,
                session=f"session {len(self.sessions)}",
                master="a fake",
                heartbeat=self.heartbeat,
                recorded=tuple(
                    Recorded(job=k.job, attempt=k.attempt, number=len(self.reports[k]))
                    for k in held
                    if k in self.current
                ),
                forget=tuple(key for key in held if key not in self.current),
            )
        )

    def _record(self, session: FakeSession, report: Report) -> None:
        key = Attempt(report.job, report.attempt)
        if key not in self.current:
            session.say(Forget(job=key.job, attempt=key.attempt))
            return
        if self.deaf:
            return
        self.reports[key].append(report)
        number = len(self.reports[key])
        session.say(Recorded(job=key.job, attempt=key.attempt, number=number))

    def cancel(self, key: Attempt, why: str) -> None:
        self.session.say(Cancel(job=key.job, attempt=key.attempt, why=why))

    def forget(self, key: Attempt) -> None:
        self.current.discard(key)
        self.session.say(Forget(job=key.job, attempt=key.attempt))
