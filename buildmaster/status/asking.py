"""Makes questions of what came from outside, or says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_origin
from urllib.parse import quote, urlencode

import msgspec

from buildmaster.status.methods import Method
from buildmaster.status.problems import StatusProblem, bad_parameter
from buildmaster.status.questions import Question

_PLACE = re.compile(r" - at `\$\.?([a-z_]*)")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,19}\Z", re.ASCII)


def from_texts(method: Method, given: Mapping[str, str]) -> Question:
    """The question whose parameters came as texts, as in a query or a command.

    Lists are written with commas. `StatusProblem` names what is wrong.
    """
    lists, numbers = _sorts(method.question)
    told: dict[str, Any] = {}
    for name, text in given.items():
        if name in lists:
            told[name] = [part for part in text.split(",") if part]
        elif name in numbers and not _WHOLE_NUMBER.match(text):
            # Others would take 1e2 and 1.0, too.
            raise bad_parameter(name, "must be a whole number")
        else:
            told[name] = text
    return _converted(method, told, strict=False)


def from_values(method: Method, given: Mapping[str, object]) -> Question:
    """The question whose parameters came as values, as over PB."""
    return _converted(method, given, strict=True)


def _converted(method: Method, given: Mapping[str, object], *, strict: bool) -> Question:
    known = method.question.__struct_fields__
    for name in given:
        if name not in known:
            there = ", ".join(known) or "none"
            raise StatusProblem(
                400,
                "unknown_parameter",
                f"there is no parameter {name!r} here; there are: {there}",
            )
    try:
        question = msgspec.convert(given, method.question, strict=strict)
    except msgspec.ValidationError as error:
        raise _told(str(error)) from error
    for field in getattr(question, "fields", ()):
        _check_field(method, field)
    return question


def _told(error: str) -> StatusProblem:
    found = _PLACE.search(error)
    if found is None:
        return StatusProblem(400, "bad_parameter", f"the parameters do not fit: {error}")
    why = _PLACE.sub("", error).rstrip("`")
    return bad_parameter(found[1], f"does not fit: {why}")


@cache
def _sorts(question: type[Question]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of parameters that are lists, and of those that are numbers."""
    lists, numbers = set(), set()
    for field in _fields(question):
        for kind in _kinds(msgspec.inspect.type_info(field.type)):
            if isinstance(kind, msgspec.inspect.VarTupleType):
                lists.add(field.name)
            elif isinstance(kind, msgspec.inspect.IntType):
                numbers.add(field.name)
    return frozenset(lists), frozenset(numbers)


def _kinds(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _kinds(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return tuple(found for each in kind.types for found in _kinds(each))
    return (kind,)


@cache
def _fields(question: type[Question]) -> tuple[msgspec.structs.FieldInfo, ...]:
    # Found out anew each time, by compiling the annotations.
    return msgspec.structs.fields(question)


def given(asked: Question) -> dict[str, Any]:
    """The parameters of a question that say something, as plain values."""
    told: dict[str, Any] = {}
    for field in _fields(type(asked)):
        value = getattr(asked, field.name)
        if field.required or value != field.default:
            told[field.name] = list(value) if isinstance(value, tuple) else value
    return told


def address(method: Method, asked: Question, since: str | None = None) -> str:
    """The path and query with which HTTP asks the question, or follows its answer."""
    told = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in given(asked).items()
    }
    if since is not None:
        told["since"] = since
    path = method.path
    for name in method.in_path:
        path = path.replace(f"{{{name}}}", quote(told.pop(name), safe=""))
    return f"{path}?{urlencode(told)}" if told else path


def entry_fields(document: type[Any]) -> tuple[str, ...]:
    """The names of the fields that the entries of a page have."""
    if document not in _entry_fields:
        _entry_fields[document] = _find_entry_fields(document)
    return _entry_fields[document]


_entry_fields: dict[type[Any], tuple[str, ...]] = {}


def _find_entry_fields(document: type[Any]) -> tuple[str, ...]:
    hints = msgspec.structs.fields(document)
    for field in hints:
        if get_origin(field.type) is tuple:
            entry = field.type.__args__[0]
            if not isinstance(entry, type) or not issubclass(entry, msgspec.Struct):
                continue
            return tuple(each.encode_name for each in msgspec.structs.fields(entry))
    return ()


def _check_field(method: Method, name: str) -> None:
    known = entry_fields(method.document)
    if name not in known:
        raise bad_parameter("fields", f"names {name!r}; there are: {', '.join(known)}")
