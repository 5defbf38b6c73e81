"""Readers of single values: each answers with the value, or reports why it is none."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from protocol.pipeline import document
from protocol.pipeline.document import Date, Entry, Node, Scalar, Sequence
from protocol.pipeline.problems import Spot, listed, quoted

T = TypeVar("T")
Reader = Callable[[Node, Spot], T | None]

#: As the database and the messages have it.
NAME_LENGTH_LIMIT = 200
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9+._-]+")
#: Beyond it, what reads JSON next door may not keep a number as it is.
_INTEGER_LIMIT = 2**63


def is_null(node: Node) -> bool:
    """Whether the value is given and is nothing."""
    return isinstance(node, Scalar) and node.value is None


def described(node: Node) -> str:
    """What ``node`` is, for a message: ``a list``, ``the number 3.10``."""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, document.Mapping):
        return "a mapping"
    if node.value is None:
        return "empty"
    if isinstance(node.value, bool):
        return f"the truth value {quoted(node.text)}"
    if isinstance(node.value, (int, float)):
        return f"the number {quoted(node.text)}"
    if isinstance(node.value, Date):
        return f"the date {quoted(node.text)}"
    return f"the text {quoted(node.text)}"


def not_text(node: Node) -> str:
    """Why ``node`` is no text, and what to write instead."""
    message = f"this must be text, and is {described(node)}"
    if isinstance(node, Scalar) and node.text and len(node.text) < 40:
        message += f'; quote it: "{node.text}"'
    return message


def text(node: Node, spot: Spot) -> str | None:
    """A string; numbers and truth values are not taken for text."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    spot.error(not_text(node))
    return None


def texts(node: Node, spot: Spot) -> tuple[str, ...] | None:
    """A list of strings."""
    return each(text)(node, spot)


def boolean(node: Node, spot: Spot) -> bool | None:
    """A real truth value, not a word for one."""
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    spot.error(f"this must be true or false, unquoted, and is {described(node)}")
    return None


def identifier(node: Node, spot: Spot) -> str | None:
    """A name: lower case, two characters or more."""
    name = text(node, spot)
    if name is None:
        return None
    if len(name) > NAME_LENGTH_LIMIT:
        spot.error(f"a name of more than {NAME_LENGTH_LIMIT} characters")
    elif _IDENTIFIER.fullmatch(name) is None:
        if _IDENTIFIER.fullmatch(name.removesuffix("\n")):
            spot.doubt("the name ends with a line break; take it out")
            return name
        spot.error(
            f"{quoted(name)} is not a name: names have two or more of a-z, 0-9, + . _ -"
            " and begin with a letter or a digit"
        )
    return name


def is_identifier(name: str) -> bool:
    """Whether a pipeline can name ``name``."""
    return len(name) <= NAME_LENGTH_LIMIT and _IDENTIFIER.fullmatch(name) is not None


def choice(options: Collection[str]) -> Reader[str]:
    """A reader of one of ``options``."""

    def read(node: Node, spot: Spot) -> str | None:
        if isinstance(node, Scalar) and node.value in options:
            return str(node.value)
        hint = ""
        if isinstance(node, Scalar):
            hint = spot.report.suggestion(node.text, options)
        spot.error(f"this must be {listed(options)}, and is {described(node)}{hint}")
        return None

    return read


def each(reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """A reader of a list whose items ``reader`` reads."""

    def read(node: Node, spot: Spot) -> tuple[T, ...] | None:
        if not isinstance(node, Sequence):
            spot.error(f"this must be a list, and is {described(node)}")
            return None
        values = []
        for index, item in enumerate(node.items):
            value = reader(item, spot.at(index, item.line))
            if value is not None:
                values.append(value)
            elif spot.report.full:
                break
        return tuple(values)

    return read


def optional(reader: Reader[T]) -> Reader[T]:
    """A reader for which nothing is as good as no key at all."""

    def read(node: Node, spot: Spot) -> T | None:
        return None if is_null(node) else reader(node, spot)

    return read


def fields(node: Node, spot: Spot, known: Collection[str]) -> dict[str, Entry] | None:
    """The entries of a mapping that may have the ``known`` keys and no others."""
    if not isinstance(node, document.Mapping):
        spot.error(f"this must be a mapping, and is {described(node)}")
        return None
    found = {}
    for entry in node.entries:
        if isinstance(entry.key.value, str) and entry.key.value in known:
            found[entry.key.value] = entry
        else:
            unknown(entry, spot, known)
    return found


def unknown(entry: Entry, spot: Spot, known: Collection[str]) -> None:
    """Report a key that does not belong here."""
    key = entry.key.text
    hint = spot.report.suggestion(key, known) or f"; known are {listed(sorted(known))}"
    spot.at(_step(key), entry.key.line).stray(f"unknown key {quoted(key)}{hint}")


def below(
    found: Mapping[str, Entry], key: str, spot: Spot, reader: Reader[T], required: str = ""
) -> T | None:
    """What ``reader`` makes of the value of ``key``; None when it is not given.

    A ``required`` says what the key is for, to those who left it out.
    """
    entry = found.get(key)
    if entry is not None:
        return reader(entry.value, spot.at(key, entry.key.line))
    if required:
        spot.at(key).error(f"the key {key} is missing: {required}")
    return None


def json_value(node: Node, spot: Spot) -> Any:
    """Anything that JSON can say, as Python has it."""
    if isinstance(node, Sequence):
        return [
            json_value(item, spot.at(index, item.line))
            for index, item in enumerate(node.items)
        ]
    if isinstance(node, document.Mapping):
        return json_mapping(node, spot)
    value = node.value
    if isinstance(value, Date):
        spot.error(not_text(node))
    elif isinstance(value, float) and not math.isfinite(value):
        spot.error(f"JSON has no number {quoted(node.text)}; quote it")
    elif isinstance(value, int) and not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        spot.error(f"the number {quoted(node.text)} is too large; quote it")
    else:
        return value
    return None


def json_mapping(node: Node, spot: Spot) -> dict[str, Any] | None:
    """A mapping of strings to anything that JSON can say."""
    if not isinstance(node, document.Mapping):
        spot.error(f"this must be a mapping, and is {described(node)}")
        return None
    found: dict[str, Any] = {}
    for entry in node.entries:
        key = entry.key
        if not isinstance(key.value, str):
            spot.at("__key__", key.line).error(not_text(key))
            continue
        found[key.value] = json_value(entry.value, spot.at(_step(key.value), key.line))
    return found


def _step(key: str) -> str:
    return key if len(key) <= NAME_LENGTH_LIMIT else key[:NAME_LENGTH_LIMIT] + "..."
