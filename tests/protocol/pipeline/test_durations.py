from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.document import Scalar
from protocol.pipeline.durations import expiry
from protocol.pipeline.model import Expiry
from protocol.pipeline.problems import Report, Spot
from protocol.pipeline.scalars import Value, resolved
from tests.laws import law


def duration(text: str, value: Value) -> Expiry | None:
    """What becomes of a word; None with an error."""
    report = Report()
    scalar = Scalar(value, text, 1, 8, True)
    got = expiry(scalar, Spot(report, "expires", 1))
    if (got is None) != (len(report.errors) == 1):
        raise AssertionError(f"{text!r}: {got}, {report.errors}")
    return got


class DurationTests(SynchronousTestCase):
    def test_every_form_is_understood(self) -> None:
        for text, seconds in (
            ("90", 90),
            ("1.5", 1.5),
            ("1:00:00", 3600),
            ("'2:30'", None),
            ("0", 0),
            ("4 days, 01:00:00", 4 * 86400 + 3600),
            ("1 day, 0:00:01", 86401),
            ("00:30", 30),
            ("P3DT12H", 3.5 * 86400),
            ("PT1M30S", 90),
            ("PT0.5H", 1800),
            ("P1D", 86400),
        ):
            expected = None if seconds is None else Expiry(float(seconds))
            self.assertEqual(duration(text, resolved(text)), expected, text)

    def test_what_is_none_is_refused(self) -> None:
        for text in (
            "",
            "soon",
            "true",
            "-5",
            "-P1D",
            "P",
            "PT",
            "P1",
            "1 day",
            "1:2:3:4:5.x",
            ".inf",
            "-.inf",
            ".nan",
            "9" * 90,
            "1e300",
            "2024-01-01",
            "P" + "9" * 99 + "D",
        ):
            self.assertIsNone(duration(text, resolved(text)), text)

    @law
    @given(st.text("0123456789:.PTDHMS ,days-+", max_size=30))
    def test_any_text_is_a_duration_or_refused(self, text: str) -> None:
        got = duration(text, text)
        if got is not None:
            self.assertGreaterEqual(got.seconds, 0)
