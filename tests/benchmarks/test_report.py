from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.latency import Latencies, quantile
from benchmarks.report import Bar, Judged, Measured, Report, Status

FAST = Bar("fast", "jobs/s", ">=", 1000)
SOON = Bar("soon", "ms", "<=", 8)


def report(*judged: Judged) -> Report:
    """A report of nothing but bars."""
    return Report({}, {}, {}, judged)


class BarTests(SynchronousTestCase):
    """What a figure says of a bar."""

    def test_a_bar_that_is_just_reached_holds(self) -> None:
        self.assertTrue(FAST.judged(Measured(values={"fast": 1000})).holds)
        self.assertTrue(SOON.judged(Measured(values={"soon": 8})).holds)

    def test_a_bar_that_is_missed_fails_in_its_own_sense(self) -> None:
        self.assertIs(FAST.judged(Measured(values={"fast": 999.9})).holds, False)
        self.assertIs(SOON.judged(Measured(values={"soon": 8.001})).holds, False)

    def test_what_was_not_measured_neither_holds_nor_fails(self) -> None:
        judged = FAST.judged(Measured(values={"soon": 1}, why="no workers here"))
        self.assertIsNone(judged.holds)
        self.assertEqual(judged.document["why"], "no workers here")

    def test_a_run_can_lower_a_limit(self) -> None:
        judged = FAST.judged(Measured(values={"fast": 900}, limits={"fast": 800}))
        self.assertTrue(judged.holds)
        self.assertEqual(judged.document["bar"], ">= 800")

    def test_a_figure_is_judged_before_it_is_rounded(self) -> None:
        """8.0001 is shown as 8.0, and is too much."""
        judged = SOON.judged(Measured(values={"soon": 8.0001}))
        self.assertEqual(judged.document["value"], 8.0)
        self.assertIs(judged.holds, False)


class ReportTests(SynchronousTestCase):
    """What a run prints, and how it exits."""

    HOLDS = FAST.judged(Measured(values={"fast": 2000}))
    FAILS = SOON.judged(Measured(values={"soon": 9}))
    OPEN = SOON.judged(Measured())

    def test_only_a_run_that_shows_everything_exits_with_0(self) -> None:
        self.assertEqual(report(self.HOLDS).status, Status.HOLDS)
        self.assertEqual(int(Status.HOLDS), 0)
        self.assertEqual(report(self.HOLDS, self.OPEN).status, Status.INCOMPLETE)
        self.assertEqual(report(self.HOLDS, self.OPEN, self.FAILS).status, Status.FAILS)

    def test_json_is_one_object_of_four_parts(self) -> None:
        made = Report({"processors": 2}, {"turns": 1.23456}, {"a": {"b": 2}}, [self.FAILS])
        document = json.loads(made.as_json())
        self.assertEqual(list(document), ["machine", "reference", "figures", "must_show"])
        self.assertEqual(document["reference"], {"turns": 1.235})
        self.assertEqual(
            document["must_show"],
            [{"name": "soon", "value": 9, "unit": "ms", "bar": "<= 8", "holds": False}],
        )

    def test_the_table_says_everything_that_json_says(self) -> None:
        made = Report({"cpu": "x"}, {}, {"a": {"b": 12345.6}}, [self.FAILS, self.OPEN])
        table = made.as_table()
        for said in ("cpu", "a.b", "12,350", "FAILS  soon", "(bar: <= 8)", "not measured"):
            self.assertIn(said, table)


class LatencyTests(SynchronousTestCase):
    """Quantiles by nearest rank."""

    def test_quantiles_are_times_that_were_measured(self) -> None:
        times = [float(number) for number in range(1, 101)]
        self.assertEqual(quantile(times, 0.5), 50)
        self.assertEqual(quantile(times, 0.99), 99)
        self.assertEqual(quantile(times, 1.0), 100)
        self.assertEqual(quantile([7.0], 0.01), 7)

    def test_figures_are_milliseconds(self) -> None:
        times = Latencies()
        for number in (3, 1, 2):
            times.add(number / 1000)
        self.assertEqual(times.figures, {"n": 3, "p50_ms": 2, "p99_ms": 3, "max_ms": 3})
