from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.series import DEFAULT_SERIES, Series, compare_versions, newest
from tests.laws import law

versions = st.text("0123456789.~a+-", max_size=8)


class SeriesTests(SynchronousTestCase):
    def test_versions_are_ordered_as_debian_orders_them(self) -> None:
        ordered = [
            "",
            "1~rc1",
            "1",
            "1a",
            "1+b",
            "9.04",
            "9.10",
            "10.04",
            "10.4.1",
            "24.04",
        ]
        for left, right in pairwise(ordered):
            self.assertLess(compare_versions(left, right), 0, (left, right))
            self.assertGreater(compare_versions(right, left), 0, (left, right))
        self.assertEqual(compare_versions("9.04", "9.4"), 0)

    @law
    @given(versions, versions, versions)
    def test_the_order_of_versions_is_one(self, a: str, b: str, c: str) -> None:
        self.assertEqual(compare_versions(a, b) > 0, compare_versions(b, a) < 0)
        if compare_versions(a, b) <= 0 and compare_versions(b, c) <= 0:
            self.assertLessEqual(compare_versions(a, c), 0)

    def test_the_newest_is_by_version_and_not_by_name(self) -> None:
        self.assertEqual(newest(list(DEFAULT_SERIES)), Series("noble", "24.04"))
        self.assertIsNone(newest([]))

    def test_a_series_without_architectures_has_every_one(self) -> None:
        self.assertTrue(Series("focal", "20.04").has("m68k"))
        self.assertFalse(Series("focal", "20.04", frozenset({"amd64"})).has("m68k"))
