"""Questions that come at the same time are asked once, and never too early."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.status import questions as q
from buildmaster.status.problems import StatusProblem
from buildmaster.status.sharing import GAP, LARGE, Sharing
from buildmaster.status.told import Told

FIRST, OTHER = q.Jobs(limit=1), q.Jobs(limit=2)


class _Held:
    """A status that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[q.Question, Deferred[Any]]] = []

    async def jobs(self, asked: q.Question) -> Any:
        answer: Deferred[Any] = Deferred()
        self.asked.append((asked, answer))
        return await answer


class SharingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.held = _Held()
        status: Any = self.held
        self.clock = Clock()
        self.sharing = Sharing(status, self.clock)

    def ask(self, asked: q.Jobs = FIRST) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.sharing.jobs(asked))

    def answer(self, number: int, told: Any) -> None:
        self.held.asked[number][1].callback(told)

    def test_who_comes_later_gets_what_was_begun_later(self) -> None:
        first, second, third = self.ask(), self.ask(), self.ask()
        self.assertEqual(len(self.held.asked), 1)
        self.answer(0, "old")
        self.assertEqual(self.successResultOf(first), "old")
        self.assertNoResult(second)
        self.assertEqual(len(self.held.asked), 2)
        late = self.ask()
        self.answer(1, "new")
        self.assertEqual(self.successResultOf(second), "new")
        self.assertEqual(self.successResultOf(third), "new")
        self.assertNoResult(late)
        self.answer(2, "newest")
        self.assertEqual(self.successResultOf(late), "newest")
        self.assertEqual(len(self.held.asked), 3)

    def test_large_answers_are_handed_out_one_by_one_before_the_next_is_made(self) -> None:
        large: Told[Any] = Told(b"x" * LARGE, dict)
        first, second, third = self.ask(), self.ask(), self.ask()
        self.answer(0, large)
        self.assertIs(self.successResultOf(first), large)
        late = self.ask()
        self.answer(1, large)
        self.assertIs(self.successResultOf(second), large)
        self.assertNoResult(third)
        self.assertEqual(len(self.held.asked), 2)
        self.clock.advance(GAP)
        self.assertIs(self.successResultOf(third), large)
        self.assertEqual(len(self.held.asked), 3)
        self.answer(2, large)
        self.assertIs(self.successResultOf(late), large)

    def test_other_questions_wait_for_nobody(self) -> None:
        self.ask()
        other = self.ask(OTHER)
        self.assertEqual([asked for asked, _ in self.held.asked], [FIRST, OTHER])
        self.answer(1, "x")
        self.assertEqual(self.successResultOf(other), "x")

    def test_after_an_answer_the_next_is_asked_anew(self) -> None:
        self.ask()
        self.answer(0, "x")
        self.ask()
        self.assertEqual(len(self.held.asked), 2)

    def test_who_leaves_takes_nothing_from_the_others(self) -> None:
        leader, second, third = self.ask(), self.ask(), self.ask()
        leader.cancel()
        self.failureResultOf(leader, CancelledError)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(len(self.held.asked), 2)
        self.answer(1, "x")
        self.assertEqual(self.successResultOf(third), "x")

    def test_nothing_is_asked_for_those_who_have_all_left(self) -> None:
        leader, second = self.ask(), self.ask()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.answer(0, "x")
        self.assertEqual(self.successResultOf(leader), "x")
        self.assertEqual(len(self.held.asked), 1)

    def test_a_problem_is_told_to_all(self) -> None:
        first, second, third = self.ask(), self.ask(), self.ask()
        self.held.asked[0][1].errback(StatusProblem(503, "too_slow", "x"))
        self.failureResultOf(first, StatusProblem)
        self.held.asked[1][1].errback(StatusProblem(503, "too_slow", "x"))
        self.failureResultOf(second, StatusProblem)
        self.failureResultOf(third, StatusProblem)
        self.ask()
        self.assertEqual(len(self.held.asked), 3)
