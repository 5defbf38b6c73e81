"""What an unquoted word means in YAML 1.1: text, a number, a truth value, nothing, a date.

The words are told apart by PyYAML's own table, because that is what the reference
implementation reads with: ``on`` is true, ``1:00:00`` is 3600 and ``3.10`` is 3.1.
"""

from __future__ import annotations

import re

import msgspec
import yaml

#: No number that means something is longer, and converting long ones takes long.
NUMBER_LENGTH_LIMIT = 100
_PREFIX = "tag:yaml.org,2002:"
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = (
    yaml.SafeLoader.yaml_implicit_resolvers
)
_TRUTH = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Date(msgspec.Struct, frozen=True):
    """A word that YAML takes for a date or a time; no key of a pipeline wants one."""

    text: str


Value = str | int | float | bool | None | Date


class BadScalar(ValueError):
    """The file's fault: the word is not what its tag or its form says."""


def resolved(text: str) -> Value:
    """The value of the plain, untagged scalar ``text``."""
    first = text[0] if text else ""
    for tag, pattern in _RESOLVERS.get(first, ()):
        if pattern.match(text):
            return _construct(tag.removeprefix(_PREFIX), text)
    return text


def tagged(tag: str, text: str) -> Value:
    """The value of ``text`` under an explicit ``tag``, or `BadScalar`."""
    kind = tag.removeprefix(_PREFIX)
    if kind == tag or kind not in _TAGS:
        raise BadScalar("only the plain YAML tags (!!str, !!int and so on) are supported")
    return _construct(kind, text)


_TAGS = frozenset({"str", "int", "float", "bool", "null", "timestamp"})


def _construct(kind: str, text: str) -> Value:
    if kind in ("int", "float") and len(text) > NUMBER_LENGTH_LIMIT:
        raise BadScalar(
            f"a number of {len(text)} characters; quote it if it is meant as text"
        )
    try:
        if kind == "int":
            return _integer(text.replace("_", ""))
        if kind == "float":
            return _float(text.replace("_", "").lower())
        if kind == "bool":
            return _TRUTH[text.lower()]
        if kind == "null" and text not in _NULLS:
            raise ValueError
    except (ValueError, KeyError, IndexError, OverflowError):
        raise BadScalar(f"this is not what the tag !!{kind} says") from None
    if kind == "null":
        return None
    return Date(text) if kind == "timestamp" else text


def _integer(text: str) -> int:
    sign, digits = _signed(text)
    if ":" in digits:
        return sign * int(_base_60([int(part) for part in digits.split(":")]))
    for prefix, base in (("0b", 2), ("0x", 16)):
        if digits.startswith(prefix):
            return sign * int(digits.removeprefix(prefix), base)
    octal = digits.startswith("0") and digits != "0"
    return sign * int(digits, 8 if octal else 10)


def _float(text: str) -> float:
    sign, digits = _signed(text)
    if digits in (".inf", ".nan"):
        return sign * float(digits[1:])
    if ":" in digits:
        return sign * float(_base_60([float(part) for part in digits.split(":")]))
    return sign * float(digits)


def _signed(text: str) -> tuple[int, str]:
    if text[0] in "+-":
        return (-1 if text[0] == "-" else 1), text[1:]
    return 1, text


def _base_60(parts: list[int] | list[float]) -> int | float:
    total: int | float = 0
    for part in parts:
        total = total * 60 + part
    return total
