"""How Python values travel to PostgreSQL and back.

To it: a dict becomes jsonb, a list an array, a tuple the inside of ``IN``, bytes bytea,
UUID and datetime themselves. From it: bytea comes as bytes (psycopg2 would give a
memoryview of one use), json as Python values, timestamptz as an aware datetime.
Arrays of our own enums come as text; write ``::text[]`` in the statement. What a list
holds the statement says, as in ``%s::bigint[]``.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg2
from psycopg2 import extensions, extras

from buildmaster.database.arrays import Array


class _Json(extras.Json):
    """Refuses NaN, which Python would write and PostgreSQL not read."""

    def dumps(self, obj: Any) -> str:
        return json.dumps(obj, allow_nan=False, separators=(",", ":"))


def _bytes(value: Any, cursor: Any) -> bytes | None:
    view = psycopg2.BINARY(value, cursor)
    return None if view is None else bytes(view)


_BYTEA = extensions.new_type((17,), "BYTES", _bytes)
_BYTEA_ARRAY = extensions.new_array_type((1001,), "BYTES[]", _BYTEA)


def register_values() -> None:
    """Teach psycopg2, once for the process, what this module's docstring says."""
    extensions.register_adapter(dict, _Json)
    extensions.register_adapter(list, Array)
    extras.register_uuid()
    extensions.register_type(_BYTEA)
    extensions.register_type(_BYTEA_ARRAY)
