from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.database import DatabaseAway
from buildmaster.together import MOST, Together


class TogetherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.goes: list[list[int]] = []
        self.gates: list[Deferred[None]] = []
        self.together: Together[int, int] = Together(self.work)

    async def work(self, questions: list[int]) -> list[int]:
        self.goes.append(questions)
        gate: Deferred[None] = Deferred()
        self.gates.append(gate)
        await gate
        if 13 in questions:
            raise LookupError("unlucky")
        if 99 in questions:
            raise DatabaseAway("away")
        return [question * 2 for question in questions]

    def open(self) -> None:
        """Let all goes end."""
        while self.gates:
            self.gates.pop(0).callback(None)

    def test_the_first_goes_at_once_and_the_others_together(self) -> None:
        asked = [self.together.ask(number) for number in range(4)]
        self.assertEqual(self.goes, [[0]])
        self.open()
        self.assertEqual(self.goes, [[0], [1, 2, 3]])
        self.assertEqual([self.successResultOf(each) for each in asked], [0, 2, 4, 6])
        self.assertEqual(self.successResultOf(self.asked_and_opened(5)), 10)

    def asked_and_opened(self, number: int) -> Deferred[int]:
        asked = self.together.ask(number)
        self.open()
        return asked

    def test_between_two_goes_it_rests_so_that_more_come_together(self) -> None:
        rests: list[Deferred[None]] = []

        def rest() -> Deferred[None]:
            rests.append(Deferred())
            return rests[-1]

        self.together = Together(self.work, rest)
        self.assertEqual(self.successResultOf(self.asked_and_opened(0)), 0)
        asked = [self.together.ask(1), self.together.ask(2)]
        self.assertEqual(self.goes, [[0]])
        rests.pop().callback(None)
        self.open()
        self.assertEqual(self.goes, [[0], [1, 2]])
        self.assertEqual([self.successResultOf(each) for each in asked], [2, 4])

    def test_nobody_suffers_for_what_another_one_asked(self) -> None:
        asked = [self.together.ask(number) for number in (0, 1, 13, 2)]
        self.open()
        self.assertEqual(self.successResultOf(asked[1]), 2)
        self.failureResultOf(asked[2], LookupError)
        self.assertEqual(self.successResultOf(asked[3]), 4)

    def test_where_the_database_is_away_all_hear_it_and_later_ones_are_asked(self) -> None:
        asked = [self.together.ask(number) for number in (0, 1, 99)]
        self.open()
        self.failureResultOf(asked[1], DatabaseAway)
        self.failureResultOf(asked[2], DatabaseAway)
        self.assertEqual(self.goes, [[0], [1, 99]])
        self.assertEqual(self.successResultOf(self.asked_and_opened(5)), 10)

    def test_one_go_has_bounds(self) -> None:
        for number in range(100, 100 + MOST + 2):
            self.together.ask(number)
        self.open()
        self.assertEqual([len(go) for go in self.goes], [1, MOST, 1])
