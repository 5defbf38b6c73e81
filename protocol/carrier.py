"""What carries frames between a master and a worker: two small interfaces.

A carrier (`protocol.pb` is one) moves frames of bytes in order and knows nothing of
what they mean. It gives the one who uses it a `Line` to speak into, and calls that
one's `Peer` with what arrives. Every carrier keeps the promises written here; the tests
in ``tests/protocol/carrier_conformance.py`` hold each of them to it.
"""

from __future__ import annotations

from typing import Protocol

#: Seconds that a new line may take until its first frame is there.
GREETING_LIMIT = 15.0
#: Bytes that may wait for a peer which takes nothing, before its line is given up.
WAITING_LIMIT = 64 * 1024 * 1024
#: Seconds that `Line.close` gives the peer to take what was sent before.
CLOSING_LIMIT = 10.0


class FrameTooLong(ValueError):
    """Our own side tried to send more than ``FRAME_LIMIT`` bytes as one frame."""


class CannotConnect(Exception):
    """No line to that address; the text says why. Trying again later can help."""


class Line(Protocol):
    """One connection, as the side that uses it sees it: a mouth."""

    @property
    def peer(self) -> str:
        """The other side's address, for logs."""

    @property
    def waiting(self) -> int:
        """Bytes of frames that were sent and that the peer has not yet taken."""

    def send(self, frame: bytes) -> None:
        """Queue ``frame``; never blocks, keeps the order.

        Does nothing once the line is closed: frames are promised to nobody, and what
        must not be lost is kept until the other side has said that it has it. Raises
        `FrameTooLong` for a frame over the limit.
        """

    def close(self) -> None:
        """Close the line after what was sent; nothing is received from now on.

        A peer that does not take the rest within ``CLOSING_LIMIT`` seconds loses it.
        """


class Peer(Protocol):
    """One connection, as it is told to the side that uses it: an ear.

    For each peer a carrier calls ``opened`` once, then ``received`` for each frame in
    order, then ``closed`` once; nothing before, nothing after.
    """

    def opened(self, line: Line) -> None:
        """The line is there; frames may be sent."""

    def received(self, frame: bytes) -> None:
        """The other side sent ``frame``. An exception closes the line."""

    def closed(self, reason: str) -> None:
        """The line is gone; ``reason`` is for logs."""
