"""Times of a calendar: cron expressions in a time zone, and when they come next.

Pure. Five fields (minute, hour, day of the month, month, day of the week) with ``*``,
lists, ranges, steps and names, or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly`` or
``@yearly``.
Where both days are given, one of them must fit, as cron has it.

When clocks are put forward or back: an expression with certain hours comes once a day. A
time that is left out comes as much later as clocks went forward, one that there is twice
comes the first time. With ``*`` as hours it goes by the time that passes: nothing is left
out, and the hour that there is twice counts twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SHORT: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_PART = re.compile(r"(\*|[a-z0-9]+)(?:-([a-z0-9]+))?(?:/([0-9]{1,3}))?\Z")
#: Days that are looked through: the 29th of February comes after eight years at the latest.
_HORIZON = 366 * 9
#: More than clocks are put forward or back.
_SHIFT = timedelta(hours=3)


class BadCron(Exception):
    """The expression, or its zone, is none: its author's to mend."""


@dataclass(frozen=True)
class Field:
    """One of the five."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first: int = 0  #: the number of the first of ``names``


_FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, _MONTHS, 1),
    Field("day of the week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """An expression that was read."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  #: 0 is Sunday
    any_hour: bool
    any_day: bool
    any_weekday: bool
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``, in UTC; None if there is none any more."""
        best: datetime | None = None
        stop: datetime | None = None
        for local in self._on_the_wall(moment):
            if stop is not None and local > stop:
                break
            for each in self._moments(local):
                if each > moment and (best is None or each < best):
                    best = each
            if best is not None and stop is None:
                stop = local + _SHIFT  # clocks that change mix the order
        return best

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """All times after the one moment and up to the other, in their order."""
        found: list[datetime] = []
        last = self._local(until) + _SHIFT
        for local in self._on_the_wall(after):
            if local > last:
                break
            found += [each for each in self._moments(local) if after < each <= until]
        return sorted(found)

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def _on_the_wall(self, moment: datetime) -> Iterator[datetime]:
        """What a clock on the wall may show, in order, from a little before ``moment``."""
        begin = self._local(moment) - _SHIFT
        day = begin.date()
        for _ in range(_HORIZON):
            if day.month in self.months and self._fits(day):
                for hour in self.hours:
                    if datetime.combine(day, time(hour, 59)) < begin:
                        continue
                    for minute in self.minutes:
                        yield datetime.combine(day, time(hour, minute))
            if day == date.max:
                return
            day += timedelta(days=1)

    def _fits(self, day: date) -> bool:
        of_month = day.day in self.days
        of_week = day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return of_month and of_week
        return of_month or of_week

    def _moments(self, local: datetime) -> Iterator[datetime]:
        first = local.replace(tzinfo=self.zone, fold=0)
        second = local.replace(tzinfo=self.zone, fold=1)
        is_there = first.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == local
        if is_there or not self.any_hour:
            yield first.astimezone(UTC)
        if self.any_hour and is_there and first.utcoffset() != second.utcoffset():
            yield second.astimezone(UTC)


def read_cron(text: str, zone: str = "UTC") -> Cron:
    """The expression in ``text``; `BadCron` says what is wrong with it."""
    words = _SHORT.get(text.strip().lower(), text).lower().split()
    if len(words) != len(_FIELDS):
        raise BadCron(
            f"{text!r} has {len(words)} fields, and a time of the calendar five: minute,"
            f" hour, day of the month, month, day of the week"
        )
    try:
        known = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadCron(f"there is no time zone {zone!r}: one is Europe/Berlin") from error
    values = [_values(field, word) for field, word in zip(_FIELDS, words, strict=True)]
    minutes, hours, days, months, weekdays = values
    return Cron(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(each % 7 for each in weekdays),
        words[1].startswith("*"),
        words[2].startswith("*"),
        words[4].startswith("*"),
        known,
    )


def _values(field: Field, word: str) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.match(part)
        if match is None:
            raise BadCron(f"{part!r} is no {field.name}")
        begin, end, step = match[1], match[2], int(match[3] or 1)
        if begin == "*":
            low, high = field.low, field.high
        else:
            low = _number(field, begin)
            high = _number(field, end) if end else (field.high if match[3] else low)
        if high < low or step < 1 or (begin == "*" and end):
            raise BadCron(f"{part!r} is no {field.name}")
        found |= set(range(low, high + 1, step))
    return found


def _number(field: Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.first
    is_number = text.isascii() and text.isdigit() and len(text) <= 3
    if not is_number or not field.low <= int(text) <= field.high:
        raise BadCron(
            f"{text[:20]!r} is no {field.name}: it is from {field.low} to {field.high}"
        )
    return int(text)
