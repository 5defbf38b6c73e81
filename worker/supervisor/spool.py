"""The spool: an attempt's reports on disk, from its supervisor to the worker daemon.

``FOLDER/reports`` only ever grows. A record is a header (length of the frame, its CRC-32,
its kind) and the frame: the encoded `protocol.messages.Report`, as it goes to the master.
Reports are numbered from 1 in the order of the file. A record is in the file, as the
operating system sees it, before anybody is told of it; one that a crash cut short is not
counted by readers and is cut off before anything is added.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from array import array
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from protocol.messages import (
    FRAME_LIMIT,
    Ended,
    LogChunk,
    PipelineJobEnded,
    PipelineJobStarted,
    Report,
    ReportBody,
    encode,
)

REPORTS = "reports"
RESERVE = "reports.reserve"

_header = struct.Struct(">IIB")


class Kind(IntEnum):
    """What a record holds, so that a reader can pass over log without decoding it."""

    LOG = 1
    STARTED = 2
    JOB_ENDED = 3
    ENDED = 4


_KINDS: dict[type[ReportBody], Kind] = {
    LogChunk: Kind.LOG,
    PipelineJobStarted: Kind.STARTED,
    PipelineJobEnded: Kind.JOB_ENDED,
    Ended: Kind.ENDED,
}


class SpoolDamaged(Exception):
    """A record in the middle of a spool is not what was written; the disk's fault."""


class SpoolSealed(Exception):
    """The last report has been written, so this one no longer counts."""


class ReportTooLong(Exception):
    """A report is longer than a frame may be; who makes reports must look to that."""


class Spool:
    """The writing end: one process at a time has it."""

    def __init__(
        self,
        folder: Path,
        job: int,
        attempt: int,
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        """``tell`` is called when there is one more report."""
        self._folder = folder
        self._tell = tell
        self._job = job
        self._attempt = attempt
        self._file = os.open(
            folder / REPORTS, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self.last_number, self._size, self._sealed = _whole_records(self._file)
        os.ftruncate(self._file, self._size)

    def reserve(self, size: int) -> None:
        """Set ``size`` bytes of disk aside for the last reports, or raise OSError."""
        reserve = os.open(
            self._folder / RESERVE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            os.posix_fallocate(reserve, 0, size)
        finally:
            os.close(reserve)

    def use_reserve(self) -> None:
        """Give the disk space that was set aside back, for what comes next."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._folder / RESERVE)

    def append(self, body: ReportBody) -> int:
        """Write the next report; its number.

        OSError if the disk is full or broken: then nothing of it is in the file.
        SpoolSealed if the attempt's end was written before; ReportTooLong.
        """
        if self._sealed:
            raise SpoolSealed("the attempt's end has been reported")
        number = self.last_number + 1
        report = Report(job=self._job, attempt=self._attempt, number=number, body=body)
        frame = encode(report)
        if len(frame) > FRAME_LIMIT:
            raise ReportTooLong(
                f"a report of {len(frame)} bytes; {FRAME_LIMIT} can be sent"
            )
        self._write(frame, _KINDS[type(body)])
        self.last_number = number
        self._sealed = isinstance(body, Ended)
        self._tell()
        return number

    def _write(self, frame: bytes, kind: Kind) -> None:
        record = _header.pack(len(frame), zlib.crc32(frame), kind) + frame
        try:
            written = os.write(self._file, record)
            while written < len(record):
                written += os.write(self._file, record[written:])
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(record)

    def close(self) -> None:
        """Close the file and remove what was set aside."""
        self.use_reserve()
        os.close(self._file)


class SpoolReader:
    """The reading end: finds reports by number, also while the file grows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / REPORTS
        self._file: int | None = None
        self._offsets: array[int] = array("Q")
        self._end = 0
        self._ended = False

    @property
    def last_number(self) -> int:
        """The number of the newest whole report; 0 if there is none."""
        self._look()
        return len(self._offsets)

    @property
    def ended(self) -> bool:
        """Whether the newest report is the attempt's end."""
        self._look()
        return self._ended

    def read_from(self, number: int, limit_bytes: int) -> list[bytes]:
        """Frames of the reports ``number``, ``number + 1``, ... that are there.

        As many as fit into ``limit_bytes``, but at least one; [] if there is none yet.
        SpoolDamaged if one of them is not as it was written.
        """
        if number < 1:
            raise ValueError("reports are numbered from 1")
        self._look()
        frames: list[bytes] = []
        size = 0
        for place in range(number - 1, len(self._offsets)):
            offset = self._offsets[place]
            frame = self._frame(offset, limit_bytes - size if frames else None)
            if frame is None:
                break
            frames.append(frame)
            size += len(frame)
            if size >= limit_bytes:
                break
        return frames

    def numbers_of(self, *kinds: Kind) -> list[int]:
        """Numbers of the reports of these ``kinds``, in order."""
        self._look()
        return [
            number
            for number, offset in enumerate(self._offsets, 1)
            if _header.unpack(os.pread(self._opened(), _header.size, offset))[2] in kinds
        ]

    def close(self) -> None:
        """Close the file, if it was ever opened."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    def _look(self) -> None:
        try:
            file = self._opened()
        except FileNotFoundError:
            return
        size = os.fstat(file).st_size
        while self._end + _header.size <= size:
            header = os.pread(file, _header.size, self._end)
            length, _, kind = _header.unpack(header)
            if length == 0 or self._end + _header.size + length > size:
                break
            self._offsets.append(self._end)
            self._end += _header.size + length
            self._ended = kind == Kind.ENDED

    def _frame(self, offset: int, room: int | None) -> bytes | None:
        file = self._opened()
        length, crc, _ = _header.unpack(os.pread(file, _header.size, offset))
        if room is not None and length > room:
            return None
        frame = os.pread(file, length, offset + _header.size)
        if len(frame) != length or zlib.crc32(frame) != crc:
            raise SpoolDamaged(
                f"{self._path} is damaged at byte {offset}; the disk of this worker "
                "lost what was written there"
            )
        return frame


def _whole_records(file: int) -> tuple[int, int, bool]:
    """How many whole records ``file`` holds, their bytes, and whether they end it."""
    size = os.fstat(file).st_size
    number = offset = 0
    ended = False
    while offset + _header.size <= size:
        length, crc, kind = _header.unpack(os.pread(file, _header.size, offset))
        if not 0 < length <= FRAME_LIMIT:
            break
        frame = os.pread(file, length, offset + _header.size)
        if len(frame) != length or zlib.crc32(frame) != crc:
            break
        number += 1
        offset += _header.size + length
        ended = kind == Kind.ENDED
    return number, offset, ended
