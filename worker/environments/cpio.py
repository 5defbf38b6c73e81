"""An archive in cpio's "newc" format, which the kernel unpacks as its first file system."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A file or, without content, a folder."""

    name: str  #: relative
    mode: int = 0o755
    content: bytes | None = None


def archive(members: Iterable[Member]) -> bytes:
    """The bytes of the archive; folders must come before what lies in them."""
    parts = []
    for number, member in enumerate(members, 1):
        kind = stat.S_IFDIR if member.content is None else stat.S_IFREG
        parts.append(_entry(number, member.name, kind | member.mode, member.content or b""))
    parts.append(_entry(0, "TRAILER!!!", 0, b""))
    return b"".join(parts)


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
