"""SQL that several documents share: times, and objects of chosen fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def at(column: str) -> str:
    """SQL for a time as clients get it: ISO 8601, UTC, microseconds and Z."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def pairs(fields: Mapping[str, str], chosen: Sequence[str] = ()) -> str:
    """SQL for the arguments of json_build_object: the ``chosen`` fields, or all.

    ``fields`` are SQL by name, in the order of the document; names are ours, so a chosen
    one that is none of them is a mistake of the caller.
    """
    assert set(chosen) <= set(fields), chosen
    return ", ".join(
        f"'{name}', {sql}" for name, sql in fields.items() if not chosen or name in chosen
    )


def micros(column: str) -> str:
    """SQL for a time as a whole number: microseconds since 1970, UTC."""
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"
