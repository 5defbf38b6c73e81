"""Redaction: takes secrets out of bytes that go by, wherever these are cut in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

#: What stands in the place of a secret.
MASK = b"***"


class Redactor:
    """Knows secrets; nothing that holds one passes it."""

    def __init__(self) -> None:
        self._secrets: tuple[bytes, ...] = ()
        self._held = b""
        self._masked = 0  #: how many bytes at the start of ``_held`` are masked already

    def learn(self, values: Iterable[str]) -> None:
        """From now on let none of ``values`` pass, as it is or as a URL writes it."""
        from urllib.parse import quote  # takes long to import; few builds have secrets

        spellings = {
            spelling.encode(errors="surrogateescape")
            for value in values
            for spelling in (value, quote(value), quote(value, safe=""))
        }
        self._secrets = tuple(sorted({*self._secrets, *spellings} - {b""}))

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        if not self._secrets:
            return text
        return self.whole(text.encode(errors="surrogateescape")).decode(
            errors="surrogateescape"
        )

    def value(self, value: Any) -> Any:
        """``value``, made of what JSON can say, without secrets in its texts."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value

    def whole(self, data: bytes) -> bytes:
        """``data``, to which nothing will be added, without secrets."""
        return _without(data, self._found(data), 0, len(data))

    def feed(self, data: bytes) -> bytes:
        """What can go on now that ``data`` has come: all but a secret's possible start."""
        if not self._secrets:
            return data
        data = self._held + data
        cut = len(data) - max(_unfinished(data, secret) for secret in self._secrets)
        found = self._found(data)
        out = _without(data, found, self._masked, cut)
        reach = max((end for start, end in found if start < cut), default=0)
        self._masked = max(reach, self._masked, cut) - cut
        self._held = data[cut:]
        return out

    def rest(self) -> bytes:
        """What was held back, for nothing will follow."""
        held, masked = self._held, self._masked
        self._held, self._masked = b"", 0
        return _without(held, self._found(held), masked, len(held))

    def _found(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets are in ``data``: from, to; by place; they may overlap."""
        return sorted(
            place for secret in self._secrets for place in _occurrences(data, secret)
        )


def _without(data: bytes, found: list[tuple[int, int]], masked: int, cut: int) -> bytes:
    """``data`` up to ``cut`` without what was found; ``masked`` bytes are gone already."""
    out: list[bytes] = []
    place = masked
    for start, end in found:
        if start >= cut:
            break
        if start >= place:
            out += [data[place:start], MASK]
        place = max(place, end)
    out.append(data[place:cut])
    return b"".join(out)


def _occurrences(data: bytes, secret: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(secret)
    while start >= 0:
        yield start, start + len(secret)
        start = data.find(secret, start + 1)


def _unfinished(data: bytes, secret: bytes) -> int:
    """How many bytes at the end of ``data`` may be the beginning of ``secret``."""
    for length in range(min(len(secret) - 1, len(data)), 0, -1):
        if data.endswith(secret[:length]):
            return length
    return 0
