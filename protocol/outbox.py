"""Collects what one side says, so that it goes out in as few frames as possible."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from protocol.carrier import FrameTooLong, Line
from protocol.messages import FRAME_LIMIT, bundle


class Outbox:
    """What was said in one turn of the reactor, as one frame in the next.

    A peer that does not know of several messages in a frame gets each at once.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.line: Line | None = None  #: without one, nothing is said
        self.several = False  #: whether the peer takes several messages in a frame
        self._clock = clock
        self._pieces: list[bytes] = []
        self._size = 0
        self._sending: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not yet taken."""
        return self._size + (self.line.waiting if self.line is not None else 0)

    def say(self, encoded: bytes) -> None:
        """Put a message, in `protocol.messages.encode`'s form, behind those before.

        Raises `FrameTooLong` for one that fits into no frame.
        """
        if self.line is None:
            return
        if len(encoded) > FRAME_LIMIT:
            raise FrameTooLong(f"{len(encoded)} bytes; a frame has {FRAME_LIMIT} at most")
        if not self.several:
            self.line.send(encoded)
            return
        self._pieces.append(encoded)
        self._size += len(encoded)
        if self._sending is None:
            self._sending = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Send what there is now: nothing more is to be expected in this turn."""
        sending, self._sending = self._sending, None
        if sending is not None and sending.active():
            sending.cancel()
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self.line is not None:
            for frame in bundle(pieces):
                self.line.send(frame)

    def close(self) -> None:
        """Send what there is, and close the line behind it."""
        if self.line is not None:
            self.flush()
            self.line.close()

    def drop(self) -> None:
        """The line is gone, and what was not sent with it."""
        self.line = None
        self.flush()
