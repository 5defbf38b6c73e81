"""Which bytes a Range header asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from buildmaster.http.call import Head
from buildmaster.http.problems import Problem

_RANGE = re.compile(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """Bytes ``first`` up to but not including ``end``, out of ``total``."""

    first: int
    end: int
    total: int
    status: int = 200

    @property
    def length(self) -> int:
        return self.end - self.first

    def headers(self) -> dict[str, str]:
        """What tells the client which bytes it gets."""
        told = {"Content-Length": str(self.length), "Accept-Ranges": "bytes"}
        if self.status == 206:
            told["Content-Range"] = f"bytes {self.first}-{self.end - 1}/{self.total}"
        return told


def span_of(head: Head, total: int, etag: str | None = None) -> Span:
    """What to send of ``total`` bytes; `Problem` 416 for bytes that do not exist.

    Several ranges, other units and what cannot be read are answered with everything,
    and so is a range of another version than ``etag``.
    """
    whole = Span(0, total, total)
    found = _RANGE.match(head.header("Range") or "")
    only_if = head.header("If-Range")
    if found is None or (only_if is not None and only_if != etag):
        return whole
    first, last = found[1], found[2]
    if first:
        start, end = int(first), min(int(last) + 1, total) if last else total
        if last and int(last) < start:
            return whole
    elif last:
        start, end = max(total - int(last), 0), total
    else:
        return whole
    if start >= end:
        raise Problem(
            416,
            "no_such_range",
            f"there are {total} bytes, and the range lies outside",
            headers={"Content-Range": f"bytes */{total}"},
        )
    return Span(start, end, total, 206)
