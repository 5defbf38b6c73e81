"""The simulated fleet, small and short: nothing is said of how well it does."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.fleet import BARS, CONTRADICTIONS, STARVING, simulate
from benchmarks.fleet_parts import day


class FleetTests(SynchronousTestCase):
    def test_a_short_day_ends_with_sound_books(self) -> None:
        report = simulate(20, 0.5, tick=60.0)
        judged = {each.bar: each for each in report.must_show}
        self.assertEqual(list(judged), list(BARS))
        self.assertTrue(judged[STARVING].holds, report.as_table())
        self.assertTrue(judged[CONTRADICTIONS].holds, report.as_table())
        self.assertGreater(report.figures["jobs"], 20)

    def test_a_day_is_the_same_every_time(self) -> None:
        one, other = (day.submissions(100, 0.9, 2.0) for _ in range(2))
        self.assertEqual(one, other)
        self.assertEqual(one, sorted(one, key=lambda each: each.at))

    def test_it_is_about_as_much_work_as_was_asked_for(self) -> None:
        work = sum(
            piece.seconds * (4 if piece.is_big else 1)
            for one in day.submissions(900, 0.9, 24.0)
            for piece in one.pieces
        )
        asked = 0.9 * sum(owner.share for owner in day.OWNERS)
        self.assertLess(abs(work / (900 * day.DAY) - asked), 0.05)
