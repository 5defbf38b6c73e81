"""What handlers give back: an answer, whole or streamed."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from buildmaster.http.problems import Problem
from buildmaster.status.told import version_of
from buildmaster.store.documents.pages import Listing

JSON = "application/json; charset=utf-8"

#: Shorter bodies are sent as they are.
_WORTH_PACKING = 1400


class Outlet(Protocol):
    """Where a streamed answer goes."""

    async def write(self, data: bytes) -> None:
        """Send ``data``; waits while the client does not take what was sent before.

        Raises `ClientGone` when the client left or takes nothing at all.
        """


Stream = Callable[[Outlet], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """A response. A streamed body is written by calling ``stream``, unless for HEAD."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Stream | None = None
    has_etag: bool = False  #: the body may be validated by its hash, and packed
    version: str | None = None  #: instead of a hash of the body
    cookies: tuple[str, ...] = ()  #: lines of Set-Cookie, where there are several
    code: str = ""  #: of a problem: its word for programs
    #: Instead of everything else: goes on with the transport, given the request's bytes.
    take_over: Callable[[Any, bytes], None] | None = None


def document(text: str, status: int = 200) -> Answer:
    """A JSON document; unchanged ones need not be sent again."""
    return Answer(status, text.encode(), has_etag=status == 200)


def listing(name: str, page: Listing) -> Answer:
    """A page of a list."""
    return Answer(body=page.document(name), has_etag=True)


def problem(told: Problem) -> Answer:
    """An error."""
    return Answer(
        told.status,
        told.document(),
        "application/problem+json; charset=utf-8",
        headers=told.headers,
        code=told.code,
    )


@dataclass(frozen=True)
class Validated:
    """A body as it goes out: perhaps packed, perhaps left out because it is known."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def validated(
    body: bytes,
    if_none_match: str | None,
    accepts: str | None,
    version: str | None = None,
) -> Validated:
    """``body`` with a strong ETag: packed if accepted, 304 if the client has it."""
    is_packed = len(body) > _WORTH_PACKING and _takes_gzip(accepts)
    digest = version or version_of(body)
    etag = f'"{digest}-gzip"' if is_packed else f'"{digest}"'
    headers = {"ETag": etag, "Vary": "Accept-Encoding", "Cache-Control": "no-cache"}
    if if_none_match is not None and _has_it(if_none_match, etag):
        return Validated(304, b"", headers)
    if is_packed:
        headers["Content-Encoding"] = "gzip"
        body = _pack(body) if version is None else _packed(body)
    return Validated(200, body, headers)


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=1, mtime=0)


# Answers with a version are remembered, and asked for again as the same bytes.
_packed = lru_cache(maxsize=32)(_pack)


def _has_it(if_none_match: str, etag: str) -> bool:
    # If-None-Match compares weakly: a proxy that packed the body may have added W/.
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def _takes_gzip(accepts: str | None) -> bool:
    for part in (accepts or "").lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
