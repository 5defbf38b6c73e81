"""Workers as JSON documents: all by name, and one."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.store.documents.fragments import (
    LARGEST_LIMIT,
    Listing,
    array,
    document,
    number,
    text,
    time,
    value,
    word,
)
from buildmaster.store.events import CURSOR

_RUNNING = array(
    document(job=number("g.job"), attempt=number("g.attempt")),
    f"""
    (SELECT job, attempt FROM running WHERE worker = w.name
      ORDER BY job LIMIT {LARGEST_LIMIT}) g
    """,
    "g.job",
)

_WORKER_FIELDS = {
    "name": text("w.name"),
    "id": text("w.name"),
    "kind": word("'worker'"),
    "state": word("w.state"),
    "session": text("w.session"),
    "master": text("w.master"),
    "offers": value("w.offers"),
    "tags": value("w.tags"),
    "slots": number("w.slots"),
    "running": _RUNNING,
    "software": text("w.software"),
    "connected_at": time("w.connected_at"),
    "last_heard_at": time("w.last_heard_at"),
}
_WHOLE_WORKER = document(**_WORKER_FIELDS, cursor=word(CURSOR))
_PAGE = array(document(**_WORKER_FIELDS), "shown JOIN worker w USING (name)", "w.name")


async def worker_list(
    database: Database, *, after: str = "", limit: int = LARGEST_LIMIT
) -> Listing:
    """Workers in the order of their names, of those after ``after``; at most ``limit``."""
    items, last, is_more, cursor = await database.one(
        f"""
        WITH page AS MATERIALIZED (
            SELECT name FROM worker WHERE name > %s ORDER BY name LIMIT %s),
        shown AS (SELECT name FROM page ORDER BY name LIMIT %s)
        SELECT {_PAGE}, (SELECT max(name) FROM shown), (SELECT count(*) > %s FROM page),
               {CURSOR}
        """,
        (after, limit + 1, limit, limit),
    )
    return Listing(items, last if is_more else None, cursor)


async def worker_document(database: Database, name: str) -> str | None:
    """One worker, as JSON; None if nobody of that name was ever here."""
    row = await database.row(
        f"SELECT {_WHOLE_WORKER} FROM worker w WHERE w.name = %s", (name,)
    )
    return None if row is None else str(row[0])
