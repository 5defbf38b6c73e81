"""No sequence of frames, legal or not, gets past a session what it must not.

A session is driven like a worker's line would, and held against a `Conversation` of the
test's own. The desk only remembers what it was asked: what reaches it would be written.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.joining import Joined
from buildmaster.matching import Leased, Needs
from buildmaster.recording import Outcome
from buildmaster.session import Session, Told
from protocol.conversation import Conversation, OutOfTurn, Role
from protocol.messages import (
    Attempt,
    BadMessage,
    Ended,
    FromMaster,
    FromWorker,
    Hello,
    Holding,
    Recorded,
    Report,
    Welcome,
    bundle,
    decode_from_master,
    decode_from_worker,
    encode,
)
from tests.laws import law
from tests.protocol.test_conversation import messages, start

NEEDS = Needs("amd64")
frames = st.one_of(
    st.lists(messages, min_size=1, max_size=3).map(lambda said: bundle(map(encode, said))),
    st.binary(max_size=40).map(lambda data: [data]),
)


class Desk:
    """Agrees to everything, and remembers."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def join(self, hello: Hello, session: str, peer: str) -> Joined:
        self.asked.append(hello)
        welcome = Welcome(
            version=hello.newest_version,
            session=session,
            master="m",
            heartbeat=5.0,
            recorded=tuple(
                Recorded(job=held.job, attempt=held.attempt, number=0)
                for held in hello.holding
            ),
        )
        return Joined(welcome, {})

    async def leave(self, worker: str, session: str) -> None:
        pass

    async def refused(self, worker: str, job: int, attempt: int, reason: str) -> None:
        self.asked.append((job, attempt, reason))

    async def record(self, worker: str, reports: Sequence[Report]) -> Outcome:
        self.asked.append(reports)
        last = reports[-1]
        ended = isinstance(last.body, Ended)
        return Outcome(last.job, last.attempt, last.number, forget=False, ended=ended)

    async def renew(self, worker: str, holding: Sequence[Holding]) -> list[Attempt]:
        self.asked.append(holding)
        return []


class Owner:
    """The roster's part."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def session_opened(self, session: Session) -> None:
        pass

    def session_closed(self, session: Session) -> None:
        pass

    def room_changed(self, session: Session) -> None:
        pass

    def tell(self, worker: str, accepted: Any, ends: Any) -> Deferred[Told]:
        self._desk.asked.append((accepted, ends))
        return succeed(Told(frozenset(), frozenset()))


class Line:
    """Remembers what the session said."""

    peer = "192.0.2.7:1"
    waiting = 0

    def __init__(self) -> None:
        self.said: list[FromMaster] = []
        self.is_closed = False

    def send(self, frame: bytes) -> None:
        self.said += decode_from_master(frame)

    def close(self) -> None:
        self.is_closed = True


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock, self.desk, self.line = Clock(), Desk(), Line()
        desk: Any = self.desk
        self.session = Session(desk, Owner(desk), self.clock)
        self.session.opened(self.line)
        self.model = Conversation()
        self.modelled = 0  # messages of the master that the model has
        self.expelled = False

    @rule(frames=frames)
    def the_worker_says_anything(self, frames: list[bytes]) -> None:
        for frame in frames:
            before = list(self.desk.asked)
            said = self._legal(frame)
            self.session.received(frame)
            if said is None:
                assert self.desk.asked == before, "an illegal frame got through"
                self.expelled = True
            else:
                assert not self.line.is_closed, "a legal frame ended the session"
            self._follow()

    @precondition(lambda self: self.session.is_open)
    @rule(job=st.integers(1, 3), what=st.sampled_from(("start", "cancel", "forget")))
    def the_master_says_something(self, job: int, what: str) -> None:
        try:
            if what == "start":
                copy.deepcopy(self.model).take(Role.MASTER, start(job))
                self.session.lease(job, 1, Leased(NEEDS, False))
                self.session.start(start(job).order)
            elif what == "cancel":
                self.session.cancel(job, 1, "because")
            else:
                self.session.forget(job, 1)
        except OutOfTurn:
            return  # Our own dispatcher leases nothing twice.
        self._follow()

    @rule(seconds=st.sampled_from((0.1, 16.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if seconds > 15:
            self.expelled = True

    @invariant()
    def one_who_broke_a_rule_is_out(self) -> None:
        if self.expelled:
            assert self.line.is_closed and not self.session.is_open

    @invariant()
    def what_the_master_says_is_in_turn(self) -> None:
        self._follow()

    def teardown(self) -> None:
        self.session.closed("the end")
        self.clock.advance(0)
        assert not self.clock.getDelayedCalls(), "something waits for a line that is gone"

    def _legal(self, frame: bytes) -> list[FromWorker] | None:
        """The messages of a frame that is legal now, which the model then has."""
        if self.line.is_closed:
            return None
        model = copy.deepcopy(self.model)
        try:
            said = list(decode_from_worker(frame))
            for message in said:
                model.take(Role.WORKER, message)
        except (BadMessage, OutOfTurn):
            return None
        self.model = model
        return said

    def _follow(self) -> None:
        """Let the model hear what the master said; it must be legal."""
        self.clock.advance(0)
        for message in self.line.said[self.modelled :]:
            self.model.take(Role.MASTER, message)
        self.modelled = len(self.line.said)


class SessionLaws(SynchronousTestCase):
    def test_no_sequence_of_frames_gets_through_what_is_illegal(self) -> None:
        run_state_machine_as_test(SessionMachine, settings=law)
        self.flushLoggedErrors()
