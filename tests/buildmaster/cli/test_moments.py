from __future__ import annotations

import argparse
from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.moments import until

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


class UntilTests(SynchronousTestCase):
    def test_spans_and_times(self) -> None:
        for text, wanted in (
            ("90s", "2026-01-31T12:01:30+00:00"),
            ("30m", "2026-01-31T12:30:00+00:00"),
            ("2h", "2026-01-31T14:00:00+00:00"),
            ("3d", "2026-02-03T12:00:00+00:00"),
            ("2026-02-01T10:00+02:00", "2026-02-01T08:00:00+00:00"),
        ):
            self.assertEqual(until(text, NOW), wanted)

    def test_anything_else_is_wrong_usage(self) -> None:
        for text in ("", "2", "h", "2w", "-1h", "tomorrow", "2026-13-01", "٣h"):
            self.assertRaises(argparse.ArgumentTypeError, until, text, NOW)
