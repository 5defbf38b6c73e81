"""`worker.connection`: which master is tried when, with a clock of the test's own."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protocol.address import MasterAddress
from protocol.carrier import CannotConnect, Line, Peer
from protocol.messages import Goodbye, Welcome, encode
from tests.worker.test_dialogue import ListAttempts, ListLine, hello
from worker.config import ConfigError
from worker.connection import Connection, Delays
from worker.dialogue import Dialogue

ONE = MasterAddress("pb", "one", 1, "pb://one:1")
TWO = MasterAddress("pb", "two", 2, "pb://two:2")


class Longest(Random):
    """No luck: always the longest delay."""

    def uniform(self, a: float, b: float) -> float:
        return b


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.tried: list[str] = []
        self.lines: list[tuple[Peer, ListLine]] = []
        self.pending: list[Deferred[Line]] = []
        self.reachable = True
        self.hangs = False
        self.token_is_there = True

    def connection(self, *masters: MasterAddress) -> Connection:
        connection = Connection(
            self.clock,
            masters or (ONE,),
            self._connect,
            self._new_dialogue,
            delays=Delays(first=1.0, longest=5.0, refused=60.0),
            random=Longest(),
        )
        connection.startService()
        return connection

    def _new_dialogue(self) -> Dialogue:
        if not self.token_is_there:
            raise ConfigError("the token file is gone")
        return Dialogue(self.clock, ListAttempts(), hello)

    def _connect(self, master: MasterAddress, peer: Peer) -> Deferred[Line]:
        self.tried.append(master.host)
        if self.hangs:
            self.pending.append(Deferred())
            return self.pending[-1]
        if not self.reachable:
            return fail(CannotConnect("nobody there"))
        line = ListLine()
        self.lines.append((peer, line))
        peer.opened(line)
        return succeed(line)

    def join(self) -> None:
        peer, _ = self.lines[-1]
        peer.received(encode(Welcome(version=1, session="s", master="m", heartbeat=5.0)))

    def turn_away(self, *, retry: bool) -> None:
        peer, line = self.lines[-1]
        peer.received(encode(Goodbye(reason="unknown worker", retry=retry)))
        self.assertTrue(line.closed)
        peer.closed("closed")

    def test_masters_are_tried_in_turn_ever_more_slowly(self) -> None:
        self.reachable = False
        self.connection(ONE, TWO)
        self.assertEqual(self.tried, ["one"])
        tries = []
        for second in range(1, 25):
            before = len(self.tried)
            self.clock.advance(1)
            if len(self.tried) > before:
                tries.append(second)
        self.assertEqual(tries, [1, 3, 7, 12, 17, 22])
        self.assertEqual(self.tried, ["one", "two"] * 3 + ["one"])

    def test_a_session_that_breaks_is_tried_again_at_once_elsewhere(self) -> None:
        self.reachable = False
        self.connection(ONE, TWO)
        self.clock.pump([1, 2, 4])
        self.reachable = True
        self.clock.advance(5)
        self.join()
        last = self.tried[-1]
        self.lines[-1][0].closed("cut")
        self.clock.advance(1)
        self.assertNotEqual(self.tried[-1], last)

    def test_a_goodbye_for_good_makes_it_slow_and_says_so(self) -> None:
        self.connection()
        self.turn_away(retry=False)
        self.clock.advance(59)
        self.assertEqual(len(self.tried), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.tried), 2)

    def test_a_goodbye_for_now_does_not(self) -> None:
        self.connection()
        self.turn_away(retry=True)
        self.clock.advance(1)
        self.assertEqual(len(self.tried), 2)

    def test_a_token_that_cannot_be_read_is_waited_for(self) -> None:
        self.token_is_there = False
        self.connection()
        self.assertEqual(self.tried, [])
        self.token_is_there = True
        self.clock.advance(60)
        self.assertEqual(self.tried, ["one"])

    def test_stopping_in_a_session_closes_the_line_and_waits_for_it(self) -> None:
        connection = self.connection()
        self.join()
        stopped = connection.stopService()
        assert stopped is not None
        peer, line = self.lines[-1]
        self.assertTrue(line.closed)
        self.assertNoResult(stopped)
        peer.closed("closed")
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_between_two_tries_stops_at_once(self) -> None:
        self.reachable = False
        stopped = self.connection().stopService()
        assert stopped is not None
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_while_it_connects_stops_at_once(self) -> None:
        self.hangs = True
        stopped = self.connection().stopService()
        assert stopped is not None
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
