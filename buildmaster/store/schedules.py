"""Schedules in the database, and each of their times, which happens once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from buildmaster.database import Cursor, Database


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, as the rules see it."""

    id: int
    name: str
    cron: str
    zone: str
    starts: dict[str, Any]
    overlap: str
    catch_up: str
    catch_up_limit: int
    owner: str
    next_at: datetime


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """A time of a schedule that waits to be dealt with."""

    schedule: int
    name: str
    at: datetime
    starts: dict[str, Any]
    overlap: str
    owner: str


async def add(
    cursor: Cursor,
    *,
    name: str,
    cron: str,
    zone: str,
    starts: dict[str, Any],
    overlap: str,
    catch_up: str,
    catch_up_limit: int,
    owner: str,
    by: str,
    next_at: datetime,
) -> bool:
    """Make a schedule; False if the name is taken."""
    made = await cursor.run(
        """
        INSERT INTO schedule (name, cron, zone, starts, overlap, catch_up, catch_up_limit,
                              owner, made_by, next_at)
        VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (name) DO NOTHING
        """,
        (
            name,
            cron,
            zone,
            msgspec.json.encode(starts).decode(),
            overlap,
            catch_up,
            catch_up_limit,
            owner,
            by,
            next_at,
        ),
    )
    return bool(made)


async def remove(cursor: Cursor, name: str) -> bool:
    """Forget a schedule; what it started goes on. False if there is none."""
    return bool(await cursor.run("DELETE FROM schedule WHERE name = %s", (name,)))


async def get(cursor: Cursor, name: str) -> tuple[str, str] | None:
    """The expression and the zone of a schedule, whose row stays locked."""
    row = await cursor.row(
        "SELECT cron, zone FROM schedule WHERE name = %s FOR UPDATE", (name,)
    )
    return None if row is None else (row[0], row[1])


async def pause(cursor: Cursor, name: str, paused: bool, next_at: datetime | None) -> None:
    """Let a schedule pass its times by, or go on with those after now."""
    await cursor.run(
        "UPDATE schedule SET paused = %s, next_at = %s WHERE name = %s",
        (paused, next_at, name),
    )


async def now(cursor: Cursor | Database) -> datetime:
    """The time of the database."""
    (moment,) = await cursor.one("SELECT farm_now()")
    assert isinstance(moment, datetime)
    return moment


async def due(cursor: Cursor) -> Schedule | None:
    """A schedule whose time has come, for this transaction alone."""
    row = await cursor.row(
        """
        SELECT id, name, cron, zone, starts, overlap, catch_up, catch_up_limit, owner,
               next_at
        FROM schedule WHERE NOT paused AND next_at <= farm_now()
        ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED
        """
    )
    if row is None:
        return None
    return Schedule(**dict(zip(Schedule.__struct_fields__, row, strict=True)))


async def plan(
    cursor: Cursor, schedule: int, times: list[datetime], next_at: datetime | None
) -> None:
    """Note times that are to be dealt with, and when the next one is."""
    await cursor.run(
        """
        INSERT INTO firing (schedule, at)
        SELECT %s, at FROM unnest(%s::timestamptz[]) AS at ON CONFLICT DO NOTHING
        """,
        (schedule, times),
    )
    await cursor.run("UPDATE schedule SET next_at = %s WHERE id = %s", (next_at, schedule))


async def waiting(database: Database, limit: int) -> list[Firing]:
    """The oldest time that waits, of each schedule."""
    rows = await database.rows(
        """
        SELECT s.id, s.name, f.at, s.starts, s.overlap, s.owner FROM schedule AS s
        JOIN LATERAL (SELECT * FROM firing AS f
                      WHERE f.schedule = s.id AND f.state = 'waiting'
                      ORDER BY f.at LIMIT 1) AS f ON true
        ORDER BY f.at LIMIT %s
        """,
        (limit,),
    )
    return [Firing(**dict(zip(Firing.__struct_fields__, row, strict=True))) for row in rows]


async def take(cursor: Cursor, firing: Firing) -> bool:
    """Have one for this transaction; False if another has, or it was dealt with."""
    row = await cursor.row(
        """
        SELECT 1 FROM schedule AS s JOIN firing AS f ON f.schedule = s.id
        WHERE s.id = %s AND f.at = %s AND f.state = 'waiting'
        FOR UPDATE OF s SKIP LOCKED
        """,
        (firing.schedule, firing.at),
    )
    return row is not None


async def under_way(cursor: Cursor, schedule: int) -> list[tuple[int | None, int | None]]:
    """What the schedule started and has not ended: workflows, or runs; 100 at most."""
    rows = await cursor.rows(
        """
        SELECT f.workflow, f.run FROM firing AS f
        WHERE f.schedule = %s AND f.state = 'started' AND is_under_way(f)
        ORDER BY f.at DESC LIMIT 100
        """,
        (schedule,),
    )
    return [(row[0], row[1]) for row in rows]


async def decide(
    cursor: Cursor,
    firing: Firing,
    state: str,
    *,
    reason: str = "",
    workflow: int | None = None,
    run: int | None = None,
) -> None:
    """Note what became of one."""
    await cursor.run(
        """
        UPDATE firing SET state = %s, reason = %s, workflow = %s, run = %s,
                          decided_at = farm_now()
        WHERE schedule = %s AND at = %s
        """,
        (state, reason.replace("\0", "")[:2000], workflow, run, firing.schedule, firing.at),
    )
