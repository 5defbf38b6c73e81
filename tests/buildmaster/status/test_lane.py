"""Large answers wait for each other, small ones for nobody."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.status import questions as q
from buildmaster.status.lane import LARGE, LONGEST_REST, Lane


class _Held:
    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    async def jobs(self, asked: q.Question) -> Any:
        answer: Deferred[Any] = Deferred()
        self.asked.append(answer)
        return await answer


class LaneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.held, self.clock = _Held(), Clock()
        status: Any = self.held
        self.lane = Lane(status, self.clock, width=1)

    def ask(self, limit: int = LARGE) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.lane.jobs(q.Jobs(limit=limit)))

    def test_one_at_a_time_and_a_rest_as_long_as_it_took(self) -> None:
        first, second = self.ask(), self.ask()
        self.assertEqual(len(self.held.asked), 1)
        self.clock.advance(0.004)
        self.held.asked[0].callback("x")
        self.assertEqual(self.successResultOf(first), "x")
        self.clock.advance(0.003)
        self.assertEqual(len(self.held.asked), 1)
        self.clock.advance(0.001)
        self.assertEqual(len(self.held.asked), 2)
        self.assertNoResult(second)

    def test_the_rest_is_short_whatever_happened(self) -> None:
        self.ask().addErrback(lambda _: None)
        self.ask()
        self.clock.advance(10)
        self.held.asked[0].errback(KeyError())
        self.clock.advance(LONGEST_REST)
        self.assertEqual(len(self.held.asked), 2)

    def test_small_answers_wait_for_nobody(self) -> None:
        self.ask()
        self.ask(limit=LARGE - 1)
        self.assertEqual(len(self.held.asked), 2)

    def test_who_leaves_gives_the_place_back(self) -> None:
        first = self.ask()
        waiting = self.ask()
        self.ask()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        first.addErrback(lambda _: None)
        first.cancel()
        self.clock.advance(LONGEST_REST)
        self.assertEqual(len(self.held.asked), 2)
