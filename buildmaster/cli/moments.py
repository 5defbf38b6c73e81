"""Reads how long something is to last, or until when."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

_SPAN = re.compile(r"(\d{1,6})(s|m|h|d)\Z", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def span(text: str) -> float:
    """``30s``, ``5m``, ``2h`` or ``3d`` in seconds."""
    found = _SPAN.match(text)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no span like 30m, 2h or 3d")
    return float(int(found[1]) * _SECONDS[found[2]])


def until(text: str, now: datetime | None = None) -> str:
    """``2h``, or ``2026-01-31 12:00`` (local unless it has an offset), as a time."""
    now = now or datetime.now(UTC)
    span = _SPAN.match(text)
    if span is not None:
        try:
            moment = now + timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
        except OverflowError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is too far away") from error
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r} is neither a span like 30m, 2h or 3d nor a time like"
                f" 2026-01-31T12:00"
            ) from error
    return moment.astimezone(UTC).isoformat()
