"""The log of an attempt: bytes in, numbered and compressed chunks out.

The first bytes after a silence leave at once, so that a line is seen as soon as it is
written; what follows within `PAUSE` leaves together.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import zstandard

from protocol.messages import LogChunk
from protocol.stages import Cell
from worker.supervisor.endings import Failed
from worker.supervisor.redaction import Redactor

#: Uncompressed bytes of a chunk, at most.
CHUNK = 256 * 1024
#: Seconds that bytes may wait for company.
PAUSE = 0.05


class Log:
    """Collects the output of an attempt and appends it to the spool in chunks."""

    def __init__(
        self,
        append: Callable[[LogChunk], object],
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._append = append
        self._limit = limit
        self._clock = clock
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self.redactor = Redactor()  #: what it knows stands nowhere in the log
        self._waiting = bytearray()
        self._at_line_start = True
        self._start = 0
        self._cell: Cell | None = None
        self._flushed = clock() - PAUSE
        self.last_byte = clock()  #: when something was written last

    def now(self) -> float:
        """The time by the clock that the log goes by."""
        return self._clock()

    def belongs_to(self, cell: Cell | None) -> None:
        """What follows is the log of ``cell``, or of none (preparation)."""
        self.flush()
        self._cell = cell

    def write(self, data: bytes) -> None:
        """Add ``data``; Failed if that makes the log longer than it may be.

        OSError if the disk is full.
        """
        self.last_byte = self._clock()
        data = self.redactor.feed(data)
        room = self._limit - self._start - len(self._waiting)
        taken = data[: max(room, 0)]
        self._waiting += taken
        if taken:
            self._at_line_start = taken.endswith(b"\n")
        while len(self._waiting) >= CHUNK:
            self._send(CHUNK)
        if room < len(data):
            self.flush()
            raise Failed(
                f"the log became longer than the {self._limit} bytes that this worker "
                "keeps; let the job print less"
            )

    def say(self, line: str) -> None:
        """Add a line of our own; it never fails for the length of the log."""
        self._release()
        if not self._at_line_start:
            self._waiting += b"\n"
        self._at_line_start = True
        self._waiting += self.redactor.whole(line.encode(errors="replace")) + b"\n"
        self.flush()

    @property
    def due(self) -> float | None:
        """When, by the clock, waiting bytes must leave; None if there are none."""
        return self._flushed + PAUSE if self._waiting else None

    def flush_if_due(self) -> None:
        """Let waiting bytes leave if their time has come."""
        if self._waiting and self._clock() >= self._flushed + PAUSE:
            self._leave()

    def flush(self) -> None:
        """Let all waiting bytes leave now; no secret goes on in what follows."""
        self._release()
        self._leave()

    def _release(self) -> None:
        """Add what might have become a secret, and did not."""
        if rest := self.redactor.rest():
            self._waiting += rest
            self._at_line_start = rest.endswith(b"\n")

    def _leave(self) -> None:
        while self._waiting:
            self._send(min(len(self._waiting), CHUNK))

    def _send(self, length: int) -> None:
        data = bytes(self._waiting[:length])
        # Gone before it is stored: on a full disk the same bytes must not fail twice.
        del self._waiting[:length]
        name, index = self._cell or (None, None)
        self._append(
            LogChunk(
                start=self._start,
                length=length,
                data=self._compress(data),
                name=name,
                index=index,
            )
        )
        self._start += length
        self._flushed = self._clock()
