"""Reading logs out of their compressed chunks, in bounded memory.

Positions count uncompressed bytes. Those of a whole attempt's log are the positions that
the worker gave; those of one pipeline job's log count its own bytes only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import zstandard

from buildmaster.database import Database

#: Uncompressed bytes of one reading, about; the last chunk may exceed it.
READING = 1024 * 1024
#: Uncompressed bytes that a chunk may claim; the protocol allows a quarter of it.
CHUNK_LIMIT = 1024 * 1024

_CHUNKS_OF_READING = 256


class DamagedLog(Exception):
    """A stored chunk is not what it claims to be: the farm's disk, or a hostile worker."""


@dataclass(frozen=True)
class LogName:
    """Which log: an attempt's, or that of one of its pipeline jobs."""

    job: int
    attempt: int
    pipeline_job: tuple[str, int] | None = None


@dataclass(frozen=True)
class Tail:
    """What came after a chunk: the bytes, and the chunk to read on after."""

    data: tuple[bytes, ...]
    chunk: int  #: where the last chunk read began; -1 before the first


@dataclass(frozen=True)
class Place:
    """Where a byte lies: read on after ``chunk``, leaving out ``skip`` bytes."""

    chunk: int
    skip: int


BEGINNING = Place(-1, 0)


async def find_log(
    database: Database,
    job: int,
    attempt: int | None,
    pipeline_job: tuple[str, int] | None,
) -> LogName | None:
    """The log that was asked for; ``attempt`` None is the current one.

    None if there is no such job, attempt or pipeline job. A job that has not begun
    has an empty log.
    """
    row = await database.row(
        """
        SELECT coalesce(%s, j.attempt), b.stages FROM job j
          LEFT JOIN build b ON b.job = j.id
         WHERE j.id = %s AND (coalesce(%s, j.attempt) = j.attempt OR EXISTS (
                SELECT FROM attempt a WHERE a.job = j.id AND a.number = %s))
        """,
        (attempt, job, attempt, attempt),
    )
    if row is None:
        return None
    number, stages = row
    if pipeline_job is not None:
        cells = [tuple(cell) for stage in stages or () for cell in stage]
        if pipeline_job not in cells:
            return None
    return LogName(job, number, pipeline_job)


async def log_length(database: Database, log: LogName) -> int:
    """How many bytes the log has now."""
    if log.pipeline_job is None:
        [length] = await database.one(
            """
            SELECT coalesce((SELECT start + length FROM log_chunk
                              WHERE job = %s AND attempt = %s
                              ORDER BY start DESC LIMIT 1), 0)
            """,
            (log.job, log.attempt),
        )
    else:
        tests, parameters = _tests(log)
        [length] = await database.one(
            f"SELECT coalesce(sum(length), 0)::bigint FROM log_chunk WHERE {tests}",
            parameters,
        )
    return int(length)


async def find_place(database: Database, log: LogName, position: int) -> Place:
    """Where byte ``position`` of the log lies; it must be within the log."""
    if position == 0:
        return BEGINNING
    tests, parameters = _tests(log)
    if log.pipeline_job is None:
        row = await database.row(
            f"""
            SELECT start, start FROM log_chunk WHERE {tests} AND start <= %s
             ORDER BY start DESC LIMIT 1
            """,
            (*parameters, position),
        )
    else:
        row = await database.row(
            f"""
            SELECT start, before FROM (
                SELECT start, (sum(length) OVER (ORDER BY start) - length)::bigint AS before
                  FROM log_chunk WHERE {tests}) chunk
             WHERE before <= %s ORDER BY start DESC LIMIT 1
            """,
            (*parameters, position),
        )
    if row is None:
        return BEGINNING
    start, before = row
    return Place(start - 1, position - before)


async def read_log(database: Database, log: LogName, after: int) -> Tail:
    """What the chunks hold that begin after ``after``: about `READING` bytes at most.

    Empty at the end of what there is so far. `DamagedLog` if a chunk cannot be read.
    """
    tests, parameters = _tests(log)
    # The window keeps back chunks whose bytes, stored or not, would make this reading too
    # long; octet_length does not fetch them.
    rows = await database.rows(
        f"""
        SELECT start, length, data FROM (
            SELECT start, length, data,
                   sum(length + octet_length(data)) OVER (ORDER BY start)
                       - length - octet_length(data) AS before
              FROM (SELECT * FROM log_chunk WHERE {tests} AND start > %s
                     ORDER BY start LIMIT {_CHUNKS_OF_READING}) chunk) chunk
         WHERE before < {READING} ORDER BY start
        """,
        (*parameters, after),
    )
    data = tuple(decompress(bytes(row[2]), row[1]) for row in rows)
    return Tail(data, rows[-1][0] if rows else after)


async def read_from(
    database: Database, log: LogName, position: int
) -> AsyncIterator[bytes]:
    """What there is from byte ``position`` on, in pieces of about `READING` bytes."""
    place = await find_place(database, log, position)
    chunk, skip = place.chunk, place.skip
    while (tail := await read_log(database, log, chunk)).data:
        chunk = tail.chunk
        yield b"".join(tail.data)[skip:]
        skip = 0


async def end_of(database: Database, log: LogName, most: int) -> AsyncIterator[bytes]:
    """The last ``most`` bytes there are now, and what comes while they are read."""
    start = max(0, await log_length(database, log) - most)
    async for piece in read_from(database, log, start):
        yield piece


async def has_ended(database: Database, log: LogName) -> bool:
    """Whether the log is complete: nothing will be added to it.

    Ask before reading the last of it, not after.
    """
    name, index = log.pipeline_job or (None, None)
    row = await database.row(
        """
        SELECT j.attempt > %(attempt)s OR j.state = 'done' OR a.finished_at IS NOT NULL
               OR coalesce(p.state = 'done', false)
          FROM job j LEFT JOIN attempt a ON a.job = j.id AND a.number = %(attempt)s
          LEFT JOIN pipeline_job p ON p.job = j.id AND p.attempt = %(attempt)s
               AND p.name = %(name)s AND p.index = %(index)s
         WHERE j.id = %(job)s
        """,
        {"job": log.job, "attempt": log.attempt, "name": name, "index": index},
    )
    return row is None or bool(row[0])


def decompress(data: bytes, length: int) -> bytes:
    """The ``length`` bytes that the zstandard frame ``data`` holds, or `DamagedLog`.

    Never makes more than ``length`` bytes, whatever the frame claims.
    """
    if length > CHUNK_LIMIT:
        raise DamagedLog(f"a log chunk claims {length} bytes; {CHUNK_LIMIT} are allowed")
    try:
        # The decompressor believes the frame's own claim, and would make room for it.
        if zstandard.frame_content_size(data) not in (-1, length):
            raise DamagedLog("a log chunk's frame is of another length than it claims")
        plain = _decompressor.decompress(data, max_output_size=length)
    except zstandard.ZstdError as error:
        raise DamagedLog(f"a log chunk cannot be decompressed: {error}") from error
    if len(plain) != length:
        raise DamagedLog(f"a log chunk holds {len(plain)} bytes instead of {length}")
    return plain


# A worker's chunks need no larger window than they are long.
_decompressor = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)


def _tests(log: LogName) -> tuple[str, list[Any]]:
    tests, parameters = "job = %s AND attempt = %s", list[Any]([log.job, log.attempt])
    if log.pipeline_job is not None:
        tests += " AND name = %s AND index = %s"
        parameters += log.pipeline_job
    return tests, parameters
