"""SQL that several documents share: times, and the shape of a page of a list."""

from __future__ import annotations

from dataclasses import dataclass

#: Rows of a page when the reader does not say, and at most.
DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000


def at(column: str) -> str:
    """SQL for a time as clients get it: ISO 8601, UTC, microseconds and Z."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


@dataclass(frozen=True)
class Listing:
    """One page of a list, as PostgreSQL made it."""

    items: str  #: a JSON array
    following: str | None  #: what ``before`` (or ``after``) of the next page is, if any
    cursor: str  #: the event id after which a follower goes on
