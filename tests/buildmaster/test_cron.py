"""Times of a calendar, also when clocks are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cron import BadCron, read_cron
from tests.laws import law


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class CronTests(SynchronousTestCase):
    def times(self, cron: str, after: str, count: int = 3, zone: str = "UTC") -> list[str]:
        read, moment, found = read_cron(cron, zone), at(after), []
        for _ in range(count):
            following = read.after(moment)
            assert following is not None
            moment = following
            found.append(f"{moment:%Y-%m-%dT%H:%M}")
        return found

    def test_fields(self) -> None:
        new_year = "2026-01-01T00:00"  # a Thursday
        self.assertEqual(
            self.times("*/20 3 * * *", new_year),
            ["2026-01-01T03:00", "2026-01-01T03:20", "2026-01-01T03:40"],
        )
        self.assertEqual(
            self.times("0 12 * * mon-wed,5", new_year, 4),
            [
                "2026-01-02T12:00",
                "2026-01-05T12:00",
                "2026-01-06T12:00",
                "2026-01-07T12:00",
            ],
        )
        self.assertEqual(
            self.times("30 6 29 feb *", new_year, 2),
            ["2028-02-29T06:30", "2032-02-29T06:30"],
        )
        self.assertEqual(
            self.times("0 0 13 * fri", new_year),  # either of the two
            ["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00"],
        )
        self.assertEqual(self.times("@monthly", new_year, 1), ["2026-02-01T00:00"])
        self.assertEqual(self.times("0 0 * * 7", new_year, 1), ["2026-01-04T00:00"])

    def test_what_is_none_is_told_in_a_sentence(self) -> None:
        for wrong in (
            *("", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
            *("* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "*-5 * * * *"),
            *("@never", "1,,2 * * * *", "-1 * * * *", "1" * 5000 + " * * * *"),
            "\N{SUPERSCRIPT TWO} * * * *",
        ):
            self.assertRaises(BadCron, read_cron, wrong)
        for zone in ("Nowhere/Else", "", "../../etc/passwd", "\0"):
            self.assertRaises(BadCron, read_cron, "@daily", zone)
        self.assertIs(read_cron("0 0 30 feb *").after(at("2026-01-01T00:00")), None)

    def test_clocks_that_go_forward(self) -> None:
        """In Berlin there is no half past two on 29 March 2026: it comes an hour later."""
        self.assertEqual(
            self.times("30 2 * * *", "2026-03-28T12:00", 2, "Europe/Berlin"),
            ["2026-03-29T01:30", "2026-03-30T00:30"],
        )
        self.assertEqual(
            self.times("30 * * * *", "2026-03-28T23:45", 3, "Europe/Berlin"),
            ["2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T02:30"],
        )

    def test_clocks_that_go_back(self) -> None:
        """On 25 October there are two: once for certain hours, twice for any."""
        self.assertEqual(
            self.times("30 2 * * *", "2026-10-24T12:00", 2, "Europe/Berlin"),
            ["2026-10-25T00:30", "2026-10-26T01:30"],
        )
        self.assertEqual(
            self.times("30 * * * *", "2026-10-24T23:45", 3, "Europe/Berlin"),
            ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"],
        )

    @law
    @given(
        st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
        st.sampled_from(["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "UTC"]),
        st.sampled_from(["0 0 * * *", "30 2 * * *", "*/7 * * * *", "59 23 * * 1-5"]),
    )
    def test_times_come_in_order_and_none_is_left_out(
        self, moment: datetime, zone: str, text: str
    ) -> None:
        cron = read_cron(text, zone)
        until = moment + timedelta(days=3)
        one_by_one: list[datetime] = []
        at = cron.after(moment)
        while at is not None and at <= until and len(one_by_one) < 50:
            one_by_one.append(at)
            at = cron.after(at)
        self.assertEqual(sorted(set(one_by_one)), one_by_one)
        self.assertEqual(cron.between(moment, until)[:50], one_by_one)
        if text == "0 0 * * *":
            self.assertIn(len(one_by_one), (2, 3, 4))
