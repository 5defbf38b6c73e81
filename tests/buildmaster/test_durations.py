"""Sketches of durations, and what is drawn from them."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster import durations
from buildmaster.durations import BUCKETS, DEFAULT, Spread, bucket, expected, spread

SECONDS = st.floats(0.01, 100_000)


def sketch(values: list[float]) -> list[float]:
    counts = [0.0] * BUCKETS
    for value in values:
        counts[bucket(value)] += 1
    return counts


class SketchTests(SynchronousTestCase):
    @given(st.lists(SECONDS, min_size=1, max_size=50))
    def test_a_sketch_is_right_to_one_bucket(self, values: list[float]) -> None:
        told = spread(sketch(values))
        assert told is not None
        self.assertEqual(told.samples, len(values))
        self.assertEqual(list(told.values), sorted(told.values))
        ratio = 2 ** (1 / durations.PER_DOUBLING) * 1.001
        self.assertLess(told.values[-1] / max(values), ratio)
        self.assertGreater(told.values[-1] / max(values), 1 / ratio)
        self.assertGreater(told.values[0] / min(values), 1 / ratio)

    @given(SECONDS, SECONDS)
    def test_longer_is_never_counted_before_shorter(self, one: float, two: float) -> None:
        low, high = sorted((one, two))
        self.assertLessEqual(bucket(low), bucket(high))

    def test_nothing_and_everything_have_a_bucket(self) -> None:
        for value in (-1.0, 0.0, float("nan")):
            self.assertEqual(bucket(value), 0)
        self.assertEqual(bucket(1e300), BUCKETS - 1)
        self.assertIsNone(spread([0.0] * BUCKETS))

    def test_the_middle_of_many_is_theirs(self) -> None:
        chance = Random(1)
        told = spread(sketch([chance.lognormvariate(4, 0.5) for _ in range(2000)]))
        assert told is not None
        self.assertLess(abs(told.quantile(0.5) / 54.6 - 1), 0.1)
        self.assertLess(abs(told.quantile(0.9) / 103.6 - 1), 0.15)


class ExpectedTests(SynchronousTestCase):
    def test_its_own_name_counts_when_seen_often_enough(self) -> None:
        own, kind = sketch([10.0] * 5), sketch([1000.0] * 50)
        self.assertLess(expected(own, kind).mean, 20)
        self.assertGreater(expected(sketch([10.0] * 4), kind).mean, 500)

    def test_the_less_is_known_the_wider_it_is(self) -> None:
        def width(one: Spread) -> float:
            return one.quantile(0.9) / one.quantile(0.1)

        own, kind = sketch([100.0] * 20), sketch([100.0] * 20)
        known = [expected(own, kind), expected(None, kind), expected(None, None)]
        self.assertEqual(known[2], DEFAULT)
        widths = [width(one) for one in known]
        self.assertEqual(widths, sorted(widths))
        self.assertGreater(widths[2], 100)
        self.assertLess(spread(sketch([9.0] * 99)).doubt, 0.05)  # type: ignore[union-attr]


class LeftTests(SynchronousTestCase):
    @given(st.floats(0, 1e6), st.floats(0, 0.999))
    def test_what_runs_ends_in_the_future(self, elapsed: float, luck: float) -> None:
        self.assertGreaterEqual(DEFAULT.left(elapsed, luck), 0)

    def test_only_what_is_longer_than_it_ran_is_possible(self) -> None:
        one = Spread((10.0, 20.0, 300.0), 3)
        self.assertEqual([one.left(15, luck) for luck in (0.0, 0.4, 0.6)], [5, 5, 285])
        self.assertEqual(one.left(400, 0.5), 100)
