"""One request as handlers see it, checked and whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec
from twisted.web.http_headers import Headers

from buildmaster.grants import Grant
from buildmaster.http.problems import bad_request
from buildmaster.http.queries import Query

#: Bytes of a JSON body.
BODY_LIMIT = 1024 * 1024

T = TypeVar("T")


class Sink(Protocol):
    """Where the body of a request goes while it arrives."""

    def write(self, data: bytes) -> None:
        """Take a piece; raises `Problem` to refuse all of it."""

    def abort(self) -> None:
        """Forget the body. Harmless when repeated, and after the body was used."""


class BodyInMemory:
    """A small body."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def abort(self) -> None:
        self.data.clear()


@dataclass(frozen=True)
class Head:
    """What is known of a request before its body."""

    method: str
    path: str  #: as sent, without the query
    query: str
    headers: Headers
    length: int | None  #: of the body; None if it comes in chunks
    address: str = ""  #: of the client, or of the proxy in front of it

    @property
    def is_upgrade(self) -> bool:
        """Whether the request wants to become a WebSocket."""
        wanted = (self.header("Upgrade") or "").strip().lower()
        return self.method == "GET" and wanted == "websocket"

    def header(self, name: str) -> str | None:
        """The header's value, the first if there are several."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


@dataclass(frozen=True)
class Call:
    """One request: what was asked, by whom, with which body."""

    head: Head
    query: Query
    grant: Grant | None
    parts: Mapping[str, str] = field(default_factory=dict)  #: the path's variable parts
    body: Sink = field(default_factory=BodyInMemory)
    #: Only what is of these projects may be seen; None: everything.
    within: tuple[str, ...] | None = None
    #: What the audit is to keep of it beside who, where and when; handlers add to it.
    facts: dict[str, Any] = field(default_factory=dict)
    #: Raises `Problem` if the bearer may no longer ask this: for answers that go on.
    recheck: Callable[[], None] = lambda: None

    def id(self, name: str) -> int:
        """The id that stands in the path as ``name``."""
        return int(self.parts[name])

    def json(self, kind: type[T], *, empty: T | None = None) -> T:
        """The body as a ``kind``, or `Problem`; ``empty`` is what no body at all means."""
        assert isinstance(self.body, BodyInMemory)
        if empty is not None and not self.body.data:
            return empty
        try:
            return msgspec.json.decode(bytes(self.body.data), type=kind)
        except msgspec.ValidationError as error:
            raise bad_request(
                "bad_body", f"the body is not what goes here: {error}"
            ) from error
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise bad_request("bad_json", f"the body is not JSON: {error}") from error
