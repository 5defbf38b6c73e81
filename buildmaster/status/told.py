"""An answer of the status: JSON as PostgreSQL made it, read into types when asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


def version_of(json: bytes) -> str:
    """What stands for these bytes wherever an answer is validated."""
    return hashlib.sha256(json).hexdigest()[:32]


@dataclass(frozen=True)
class Told(Generic[T]):
    """One document. It is the same bytes, whichever way it came."""

    json: bytes
    kind: type[T]  #: of `buildmaster.status.documents`
    #: The same for the same bytes, another for others; None: the bytes tell.
    version: str | None = field(default=None, compare=False)

    def read(self) -> T:
        """The document as its type. Not for pages of chosen ``fields``: see `plain`."""
        return msgspec.json.decode(self.json, type=self.kind)

    def plain(self) -> Any:
        """The document as dicts and lists, with whatever fields it has."""
        return msgspec.json.decode(self.json)
