"""The end of a log, as text."""

from __future__ import annotations

from dataclasses import dataclass

from buildmaster.database import Database
from buildmaster.store.logs import LogName, find_log, has_ended, log_length, read_from


@dataclass(frozen=True)
class LogTail:
    """What a log ends with."""

    attempt: int
    start: int  #: the byte with which it begins
    length: int  #: of the whole log
    text: str
    has_ended: bool


async def log_tail(
    database: Database, job: int, attempt: int | None, most: int
) -> LogTail | None:
    """The last ``most`` bytes of an attempt's log; None if there is no such attempt.

    It begins with a whole character. What is no UTF-8 is replaced.
    """
    log = await find_log(database, job, attempt, None)
    if log is None:
        return None
    is_over = await has_ended(database, log)
    length = await log_length(database, log)
    start = max(0, length - most)
    data = await _bytes(database, log, start, length - start)
    cut = 0
    if start:
        while cut < min(3, len(data)) and data[cut] & 0xC0 == 0x80:
            cut += 1
    text = data[cut:].decode("utf-8", "replace")
    return LogTail(log.attempt, start + cut, length, text, is_over)


async def _bytes(database: Database, log: LogName, start: int, most: int) -> bytes:
    """So many bytes of a log, from one on; fewer where it has no more."""
    if not most:
        return b""
    found = bytearray()
    async for piece in read_from(database, log, start):
        found += piece
        if len(found) >= most:
            break
    return bytes(found[:most])
