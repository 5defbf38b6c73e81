"""What workflows are given and give: JSON of a limited size, the same at each replay."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from buildmaster.workflow.failures import BadPayload

#: Bytes of one payload; what is larger is a file of the farm, and its hash a payload.
PAYLOAD_LIMIT = 256 * 1024
_DEPTH_LIMIT = 50


def plain(value: object, what: str = "this", *, limited: bool = True) -> Any:
    """``value`` as JSON has it; `BadPayload` says why it cannot be.

    Tuples become lists, structs and dataclasses mappings: as they come back from the
    database, so that the first run sees what every replay sees. Without ``limited`` it is
    not measured: at a replay it was before.
    """
    made = _plain(value, what, 0)
    if not limited:
        return made
    size = len(json.dumps(made, ensure_ascii=False).encode())
    if size > PAYLOAD_LIMIT:
        raise BadPayload(
            f"{what} takes {size} bytes, and {PAYLOAD_LIMIT} is the most: store it as an"
            f" artifact, and hand on its hash"
        )
    return made


def _plain(value: object, what: str, depth: int) -> Any:
    if depth > _DEPTH_LIMIT:
        raise BadPayload(f"{what} is nested deeper than {_DEPTH_LIMIT}")
    if isinstance(value, str) and not isinstance(value, Enum):
        return _text(value, what)
    if value is None or type(value) in (bool, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadPayload(f"{what} holds {value}, which JSON does not have")
        return value
    if isinstance(value, list | tuple):
        return [_plain(each, what, depth + 1) for each in value]
    if isinstance(value, Mapping):
        return {_key(k, what): _plain(v, what, depth + 1) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        raise BadPayload(
            f"{what} holds a set, whose order differs from process to process: use"
            f" sorted(...)"
        )
    is_struct = isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value)
    if is_struct or isinstance(value, Enum | datetime | date | timedelta | UUID):
        return _plain(msgspec.to_builtins(value), what, depth + 1)
    raise BadPayload(f"{what} holds a {type(value).__name__}, which is no JSON")


def _text(value: str, what: str) -> str:
    is_odd = not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value)
    if is_odd or "\0" in value:
        raise BadPayload(f"{what} holds a text with a character that no text here has")
    return str(value)


def _key(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise BadPayload(f"{what} holds a mapping with the key {key!r}, which is no text")
    return _text(key, what)


def typed(value: Any, kind: Any, what: str) -> Any:
    """``value`` as the annotation ``kind`` wants it; `BadPayload` if it is none."""
    if kind in (None, Any, type(None)) and not (kind is type(None) and value is not None):
        return value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadPayload(f"{what} is not what it should be: {error}") from error
    except TypeError:
        return value  # an annotation that msgspec knows nothing of
