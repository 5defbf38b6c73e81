"""Lists as PostgreSQL's array literals: one word for its parser, however long they are.

psycopg2 would write ``ARRAY[1, 2, ...]``, an expression for each element: for tens of
thousands of them both sides take longer than for the work that the statement is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg2 import extensions

_PLAIN = extensions.adapters[(list, extensions.ISQLQuote)]
_TRUTH = {True: "t", False: "f"}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


#: How elements of exactly this type are written; of others psycopg2 knows.
_WRITTEN: dict[type, Callable[[Any], str]] = {
    int: str,
    float: repr,
    bool: _TRUTH.__getitem__,
    str: _quoted,
    type(None): lambda _: "NULL",
}


def array_literal(values: Sequence[Any]) -> str | None:
    """``{1,2,NULL}`` of numbers, truth values, texts and None; None: of something else."""
    kinds = set(map(type, values))
    if not kinds <= _WRITTEN.keys():
        return None
    written: Iterable[str]
    if len(kinds) == 1:
        written = map(_WRITTEN[kinds.pop()], values)
    else:
        written = (_WRITTEN[type(each)](each) for each in values)
    return f"{{{','.join(written)}}}"


class Array:
    """What psycopg2 asks for a list's SQL."""

    def __init__(self, values: list[Any]) -> None:
        literal = array_literal(values)
        self._adapted: Any = (
            _PLAIN(values) if literal is None else extensions.QuotedString(literal)
        )

    def prepare(self, connection: Any) -> None:
        """Write for this connection's encoding."""
        self._adapted.prepare(connection)

    def getquoted(self) -> bytes:
        """The SQL."""
        quoted: bytes = self._adapted.getquoted()
        return quoted
