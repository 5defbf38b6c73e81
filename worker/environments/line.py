"""A line to the agent in a virtual machine: frames over a virtio serial port.

``guest/agent`` is the other end.  What comes from there is as hostile as any job: it is
bounded, and taken for what it says only about its own machine.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from worker.environments.interface import BadPath, EnvironmentFault, Unfit

#: Bytes of a frame; the agent sends less.
_LIMIT = 1 << 20

_numbers = itertools.count(1)


class MachineGone(EnvironmentFault):
    """The virtual machine ended while it was needed."""


def listed(words: Sequence[bytes | str]) -> bytes:
    """``words`` with their lengths before them."""
    encoded = [os.fsencode(word) for word in words]
    return b"".join(struct.pack(">I", len(word)) + word for word in encoded)


def words(data: bytes) -> list[bytes]:
    """What `listed` made ``data`` of."""
    found, place = [], 0
    while place < len(data):
        if place + 4 > len(data):
            raise EnvironmentFault("The virtual machine sent half a list.")
        (length,) = struct.unpack_from(">I", data, place)
        found.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return found


class Line:
    """This process's end of one port."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        #: The request that is being answered; answers to earlier ones are passed over.
        self.number = 0

    def fileno(self) -> int:
        """The descriptor."""
        return self._end.fileno()

    def close(self) -> None:
        """Let go of it."""
        self._end.close()

    def say(self, kind: bytes, rest: bytes = b"", number: int | None = None) -> None:
        """Send a frame; MachineGone if nobody is there."""
        told = self.number if number is None else number
        frame = struct.pack(">IcI", 5 + len(rest), kind, told) + rest
        try:
            self._end.sendall(frame)
        except OSError:
            raise MachineGone("The virtual machine ended unexpectedly.") from None

    def ask(self, kind: bytes, *wanted: bytes | str) -> None:
        """Begin a request."""
        self.number = next(_numbers)
        self.say(kind, listed(wanted))

    def hear(self) -> tuple[bytes, bytes]:
        """The next frame that belongs to the request: its kind, and the rest."""
        while True:
            (length,) = struct.unpack(">I", self._take(4))
            if not 5 <= length <= _LIMIT:
                raise EnvironmentFault("The virtual machine sent what is no frame.")
            kind, number = struct.unpack(">cI", self._take(5))
            rest = self._take(length - 5)
            if number == self.number:
                return kind, rest

    def answer(self) -> list[bytes]:
        """The list that answers the request; raises what the agent refuses with."""
        found: list[bytes] = []
        for kind, rest in self.frames():
            if kind in (b"m", b"y"):
                found += words(rest)
        return found

    def frames(self) -> Iterator[tuple[bytes, bytes]]:
        """All frames until the answer is whole; raises what the agent refuses with."""
        while True:
            kind, rest = self.hear()
            if kind == b"n":
                raise refusal(rest)
            yield kind, rest
            if kind == b"y":
                return

    def _take(self, length: int) -> bytes:
        parts = []
        while length:
            try:
                part = self._end.recv(min(length, 1 << 16))
            except TimeoutError:
                raise EnvironmentFault("The virtual machine does not answer.") from None
            except OSError:
                part = b""
            if not part:
                raise MachineGone("The virtual machine ended unexpectedly.")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def refusal(rest: bytes) -> Exception:
    """What the agent says with a frame of kind ``n``, as an exception."""
    told = [word.decode(errors="replace") for word in words(rest)]
    kind, text = (*told, "", "")[:2]
    if kind == "bad":
        return BadPath(text)
    return Unfit(text) if kind == "unfit" else EnvironmentFault(text)
