"""How the reports of one attempt go to the master: in order, and not too many at once.

The spool on the disk has them all; the master says how many it has recorded. Between the
two lies a window: what was sent in this session and is not yet recorded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

#: The window of an attempt: so much memory a slow master costs, on both sides.
WINDOW_REPORTS = 64
WINDOW_BYTES = 2 * 1024 * 1024


class Spooled(Protocol):
    """What of `worker.supervisor.spool.SpoolReader` is needed here."""

    @property
    def last_number(self) -> int:
        """The newest report's number."""

    @property
    def ended(self) -> bool:
        """Whether that is the attempt's end."""

    def read_from(self, number: int, limit_bytes: int) -> list[bytes]:
        """Frames from ``number`` on; at least one if there is one."""


@dataclass(frozen=True)
class Parcel:
    """One report to send."""

    number: int
    frame: bytes
    is_last: bool


class ReportsMissing(Exception):
    """The master has recorded reports that this disk has not: the disk was reset."""


class Delivery:
    """The window of one attempt."""

    def __init__(self, spool: Spooled) -> None:
        self._spool = spool
        self._sent: int | None = None  #: None: there is no session
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def resume(self, recorded: int) -> None:
        """A session begins, in which the master has ``recorded`` so many reports.

        Raises `ReportsMissing` if there are fewer.
        """
        if recorded > self._spool.last_number:
            raise ReportsMissing(
                f"the master has {recorded} reports, this worker's disk only "
                f"{self._spool.last_number}"
            )
        self._sent = recorded
        self._sizes.clear()
        self._bytes = 0

    def suspend(self) -> None:
        """The session is over: nothing is sent until `resume`."""
        self._sent = None

    def settle(self, recorded: int) -> None:
        """The master has ``recorded`` so many, which makes room in the window."""
        if self._sent is None:
            return
        while self._sizes and self._sent - len(self._sizes) < recorded:
            self._bytes -= self._sizes.popleft()

    @property
    def is_done(self) -> bool:
        """Whether the attempt's end is recorded."""
        return (
            self._sent is not None
            and not self._sizes
            and self._spool.ended
            and self._sent == self._spool.last_number
        )

    def next(self) -> list[Parcel]:
        """What may be sent now; counts as sent."""
        if self._sent is None:
            return []
        reports = WINDOW_REPORTS - len(self._sizes)
        room = WINDOW_BYTES - self._bytes
        if reports <= 0 or room <= 0:
            return []
        frames = self._spool.read_from(self._sent + 1, room)[:reports]
        last = self._spool.last_number if self._spool.ended else None
        parcels = []
        for frame in frames:
            self._sent += 1
            self._sizes.append(len(frame))
            self._bytes += len(frame)
            parcels.append(Parcel(self._sent, frame, self._sent == last))
        return parcels
