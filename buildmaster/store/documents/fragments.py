"""SQL that makes JSON documents, and the shape of a page of a list.

The documents are put together as text: ``json_build_object`` looks up every type anew for
every field of every row and takes twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Rows of a page when the reader does not say, and at most.
DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000


def number(sql: str) -> str:
    """A number, or null."""
    return f"coalesce(({sql})::text, 'null')"


def text(sql: str) -> str:
    """A text of any characters, or null."""
    return f"coalesce(to_json(({sql})::text)::text, 'null')"


def word(sql: str) -> str:
    """A text of ours that has nothing to escape, as of an enum, or null."""
    return f"""coalesce('"' || ({sql})::text || '"', 'null')"""


def time(sql: str) -> str:
    """A time as clients get it, ISO 8601, UTC, microseconds and Z, or null."""
    pattern = r"""\"YYYY-MM-DD"T"HH24:MI:SS.US"Z"\""""  # the outer quotes are JSON's
    return f"coalesce(to_char({sql} AT TIME ZONE 'UTC', '{pattern}'), 'null')"


def value(sql: str) -> str:
    """What PostgreSQL can write as JSON: an array, jsonb, a boolean; or null."""
    return f"coalesce(to_json({sql})::text, 'null')"


def document(**fields: str) -> str:
    """A JSON object as SQL text; the fields are made by the functions above."""
    pairs = [f"""'"{name}":' || {sql}""" for name, sql in fields.items()]
    return "('{' || " + " || ',' || ".join(pairs) + " || '}')"


def array(each: str, tables: str, order: str) -> str:
    """A JSON array as SQL text: ``each`` of the rows of ``tables``, in ``order``."""
    rows = f"coalesce(string_agg({each}, ',' ORDER BY {order}), '')"
    return f"(SELECT '[' || {rows} || ']' FROM {tables})"


@dataclass(frozen=True)
class Listing:
    """One page of a list, as PostgreSQL made it."""

    items: str  #: a JSON array
    following: str | None  #: what ``before`` (or ``after``) of the next page is, if any
    cursor: str  #: the event id after which a follower goes on
