"""Rounds: woken or by the clock, one at a time, and past every failure."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.database import DatabaseAway
from buildmaster.rounds import Rounds


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[Deferred[None]] = []
        self.rounds = Rounds("test", self._work, self.clock, interval=10)
        self.addCleanup(self.rounds.stopService)

    async def _work(self) -> None:
        waiting: Deferred[None] = Deferred()
        self.begun.append(waiting)
        await waiting

    def test_the_clock_wakes_it(self) -> None:
        self.rounds.startService()
        self.begun[0].callback(None)
        self.clock.advance(10)
        self.assertEqual(len(self.begun), 2)
        self.begun[1].callback(None)

    def test_being_woken_during_a_round_starts_one_more_after_it(self) -> None:
        self.rounds.startService()
        for _ in range(3):
            self.rounds.woken("")
        self.assertEqual(len(self.begun), 1)
        self.begun[0].callback(None)
        self.assertEqual(len(self.begun), 2)
        self.begun[1].callback(None)
        self.assertEqual(len(self.begun), 2)

    def test_it_goes_on_after_a_failure(self) -> None:
        self.rounds.startService()
        self.begun[0].errback(DatabaseAway("it is away"))
        self.clock.advance(10)
        self.begun[1].errback(ValueError("a mistake"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(10)
        self.assertEqual(len(self.begun), 3)
        self.begun[2].callback(None)

    def test_stopping_waits_for_the_round_under_way_and_begins_no_other(self) -> None:
        self.rounds.startService()
        self.rounds.wake()
        stopped = self.rounds.stopService()
        self.assertNoResult(stopped)
        self.begun[0].callback(None)
        self.successResultOf(stopped)
        self.rounds.wake()
        self.clock.advance(100)
        self.assertEqual(len(self.begun), 1)
