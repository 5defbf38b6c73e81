"""The reports of a native attempt, kept in memory until the master has recorded them."""

from __future__ import annotations


class Kept:
    """A `worker.delivery.Spooled` without a disk."""

    __slots__ = ("_frames", "dropped", "ended")

    def __init__(self) -> None:
        self.dropped = 0  #: so many of the first are no longer here
        self._frames: list[bytes] = []
        self.ended = False

    @property
    def last_number(self) -> int:
        """The newest report's number."""
        return self.dropped + len(self._frames)

    def append(self, frame: bytes, is_last: bool) -> None:
        """Add the next report."""
        self._frames.append(frame)
        self.ended = is_last

    def read_from(self, number: int, limit_bytes: int) -> list[bytes]:
        """Frames from ``number`` on; at least one if there is one."""
        found: list[bytes] = []
        for frame in self._frames[number - self.dropped - 1 :]:
            limit_bytes -= len(frame)
            if found and limit_bytes < 0:
                break
            found.append(frame)
        return found

    def drop(self, recorded: int) -> None:
        """Nobody asks for reports up to ``recorded`` again."""
        if recorded > self.dropped:
            del self._frames[: recorded - self.dropped]
            self.dropped = recorded
