"""Which jobs and which workers an operator means: two small languages.

Pure. A worker selector is ``all``, ``tag:X``, ``arch:Y``, or a name with ``*`` and ``?``.
A job filter is conditions with commas between them, all of which must hold::

    state=ready,owner=ann,arch=arm64|amd64,name~test-*,project!="https://example.com/a,b"

Nothing of them ever becomes part of a statement: ``buildmaster/store`` has a fixed piece of
SQL for each field and operator, and values are parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from buildmaster.lifecycle import JobState
from protocol.results import Result

#: Characters of a filter or a selector, and conditions of a filter.
LONGEST = 2000
MOST = 20


class BadPattern(ValueError):
    """Not a selector, or not a filter; the message says what is wrong with it."""


class Sort(Enum):
    """What the values of a field are."""

    TEXT = "text"
    NUMBER = "number"
    LIST = "list"  #: a job has several of them


#: Fields of a filter.
FIELDS: Mapping[str, Sort] = {
    "id": Sort.NUMBER,
    "run": Sort.NUMBER,
    "state": Sort.TEXT,
    "result": Sort.TEXT,
    "kind": Sort.TEXT,
    "name": Sort.TEXT,
    "owner": Sort.TEXT,
    "requester": Sort.TEXT,
    "project": Sort.TEXT,
    "group": Sort.TEXT,
    "parked": Sort.TEXT,
    "reason": Sort.TEXT,
    "arch": Sort.TEXT,
    "isolation": Sort.TEXT,
    "performs": Sort.TEXT,
    "worker": Sort.TEXT,
    "series": Sort.LIST,
    "tag": Sort.LIST,
}

_ENUMS: Mapping[str, frozenset[str]] = {
    "state": frozenset(each.value for each in JobState),
    "result": frozenset(each.value for each in Result),
}

_CONDITION = re.compile(
    r"\s*(?P<field>[a-z]+)\s*(?P<operator>!=|!~|=|~|<|>)\s*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^",]*?))\s*(?P<end>,|\Z)',
    re.DOTALL,
)
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Condition:
    """One condition; any of ``values`` will do, or none of them with an operator of !."""

    field: str
    operator: str  #: ``=``, ``!=``, ``~``, ``!~``, and of numbers ``<``, ``>``
    values: tuple[str | int, ...]


def parse_filter(text: str) -> tuple[Condition, ...]:
    """The conditions of a filter; `BadPattern` if it is none. There is one at least."""
    _check(text, "filter")
    found: list[Condition] = []
    at = 0
    while True:
        match = _CONDITION.match(text, at)
        if match is None:
            raise BadPattern(
                f"the filter cannot be read at {text[at : at + 30]!r}: give conditions"
                f" like owner=ann or name~test-* with commas between them"
            )
        found.append(_condition(match))
        at = match.end()
        if not match["end"]:
            break
    if len(found) > MOST:
        raise BadPattern(f"a filter has {MOST} conditions at most")
    return tuple(found)


def _condition(match: re.Match[str]) -> Condition:
    field, operator = match["field"], match["operator"]
    sort = FIELDS.get(field)
    if sort is None:
        raise BadPattern(f"jobs have no field {field!r}; there are {', '.join(FIELDS)}")
    if match["quoted"] is not None:
        values = [re.sub(r"\\(.)", r"\1", match["quoted"], flags=re.DOTALL)]
    else:
        values = [value.strip() for value in match["bare"].split("|")]
    if any(not value for value in values) and operator not in ("=", "!="):
        raise BadPattern(f"say what {field} is to be compared with")
    if sort is Sort.NUMBER:
        return Condition(field, operator, _numbers(field, operator, values))
    if operator in "<>":
        raise BadPattern(f"{field} is no number: use = or ~")
    allowed = _ENUMS.get(field)
    if allowed is not None and operator in ("=", "!="):
        for value in values:
            if value not in allowed:
                known = ", ".join(sorted(allowed))
                raise BadPattern(f"no job has the {field} {value!r}; there are {known}")
    if values == [""] and operator == "=" and sort is not Sort.TEXT:
        raise BadPattern(f"say what {field} is to be")
    return Condition(field, operator, tuple(values))


def _numbers(field: str, operator: str, values: list[str]) -> tuple[int, ...]:
    if "~" in operator:
        raise BadPattern(f"{field} is a number: use =, != , < or >")
    if operator in "<>" and len(values) > 1:
        raise BadPattern(f"give one number to compare {field} with")
    for value in values:
        if not (value.isascii() and value.isdigit() and int(value[:20]) <= _LARGEST):
            raise BadPattern(f"{field} is a whole number, which {value[:30]!r} is not")
    return tuple(int(value) for value in values)


@dataclass(frozen=True)
class Selector:
    """Which workers: ``kind`` is ``all``, ``tag``, ``arch`` or ``name``."""

    kind: str
    value: str = ""


def parse_selector(text: str) -> Selector:
    """What a selector means; `BadPattern` if it is none."""
    _check(text, "selector")
    if text == "all":
        return Selector("all")
    kind, colon, value = text.partition(":")
    if not colon:
        return Selector("name", text)
    if kind not in ("tag", "arch") or not value:
        raise BadPattern(
            f"{text[:50]!r} names no workers: give a name, which may have * and ?, or"
            f" tag:TAG, arch:ARCHITECTURE or all"
        )
    return Selector(kind, value)


def like(glob: str) -> str:
    """A glob as a pattern of LIKE: ``*`` any characters, ``?`` one, all else itself."""
    return re.sub(r"[\\%_*?]", lambda found: _LIKE[found[0]], glob)


_LIKE = {"\\": r"\\", "%": r"\%", "_": r"\_", "*": "%", "?": "_"}


def _check(text: str, what: str) -> None:
    if not text.strip() or len(text) > LONGEST or "\0" in text:
        raise BadPattern(f"a {what} has 1 to {LONGEST} characters")
