"""Lists come back from PostgreSQL as they were sent, whatever is in them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as some
from psycopg2.errors import InvalidTextRepresentation
from twisted.trial.unittest import SynchronousTestCase, TestCase

from buildmaster.database.arrays import array_literal
from tests.buildmaster.database.farm_database import started

HOSTILE = [
    "", " ", "NULL", "null", "{", "}", "{}", ",", '"', '""', "\\", '\\"', "\\\\", "'", "''",
    "a,b", "{1,2}", "'); DROP TABLE job; --", "E'\\x41'", "%s", "%(a)s", "$1", "\n", "\t",
    "\r", "\u202e", "\N{SNOWMAN}", "\U0001f600", "\x01", "\x7f",
]  # fmt: skip
VALUES: list[tuple[list[Any], str]] = [
    ([], "bigint[]"),
    ([1, -(2**62), 0], "bigint[]"),
    ([None], "text[]"),
    ([None, 7, None], "integer[]"),
    ([1.5, -0.0, math.inf, 1e300, 5e-324], "double precision[]"),
    ([True, False, None], "boolean[]"),
    (HOSTILE, "text[]"),
    ([*HOSTILE, None], "text[]"),
    ([[1, 2], [3, 4]], "integer[]"),
    ([b"\x00\\'\"", b""], "bytea[]"),
    ([datetime(2026, 2, 3, tzinfo=UTC), None], "timestamptz[]"),
    ([uuid4(), uuid4()], "uuid[]"),
    ([{"a": '"{},\\'}, None], "jsonb[]"),
]


class ArrayTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await started(self, size=1)

    async def test_all_kinds_come_back(self) -> None:
        for values, kind in VALUES:
            found = await self.database.one(f"SELECT %s::{kind}", (values,))
            self.assertEqual(found, (values,), kind)

    async def test_a_zero_byte_is_refused_before_it_is_sent(self) -> None:
        with self.assertRaises(ValueError):
            await self.database.one("SELECT %s::text[]", (["a\x00b"],))

    async def test_what_is_no_number_is_not_taken_for_one(self) -> None:
        with self.assertRaises(InvalidTextRepresentation):
            await self.database.one("SELECT %s::bigint[]", (["1); SELECT (2"],))


class LiteralTests(SynchronousTestCase):
    def test_what_it_is_not_sure_of_is_left_to_the_driver(self) -> None:
        values: list[Any]
        for values in ([[1]], [b""], [1, b""], [{}], [object()], [(1, 2)]):
            self.assertIsNone(array_literal(values))

    @settings(deadline=None)
    @given(some.lists(some.one_of(some.none(), some.text())))
    def test_no_text_ends_its_quotes(self, values: list[str | None]) -> None:
        literal = array_literal(values)
        assert literal is not None
        self.assertEqual(_read(literal), values)


def _read(literal: str) -> list[str | None]:
    """What PostgreSQL makes of a literal, by its manual."""
    assert literal[0] == "{" and literal[-1] == "}"
    values: list[str | None] = []
    rest = literal[1:-1]
    while rest:
        if rest[0] == '"':
            text, at = "", 1
            while rest[at] != '"':
                at += rest[at] == "\\"
                text += rest[at]
                at += 1
            values.append(text)
            rest = rest[at + 1 :]
        else:
            word, _, _ = rest.partition(",")
            assert word == "NULL", word
            values.append(None)
            rest = rest[len(word) :]
        assert not rest or rest[0] == ","
        rest = rest[1:]
    return values
