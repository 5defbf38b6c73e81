"""Workers as JSON documents: all by name, and one."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database
from buildmaster.status.questions import LARGEST_LIMIT, Workers
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page, tests_of
from buildmaster.store.events import CURSOR

_WORKER: Mapping[str, str] = {
    "name": "w.name",
    "id": "w.name",
    "kind": "'worker'",
    "state": "w.state",
    "session": "w.session",
    "master": "w.master",
    "offers": "w.offers",
    "tags": "w.tags",
    "slots": "w.slots",
    "running": f"""(
        SELECT coalesce(json_agg(json_build_object('job', g.job, 'attempt', g.attempt)
                                 ORDER BY g.job), '[]')
          FROM (SELECT job, attempt FROM running WHERE worker = w.name
                 ORDER BY job LIMIT {LARGEST_LIMIT}) g)""",
    "may_join": """EXISTS (
        SELECT FROM worker_token t
         WHERE t.worker = w.name AND (t.ends_at IS NULL OR t.ends_at > farm_now()))""",
    "duty": "w.duty",
    "duty_reason": "w.duty_reason",
    "duty_by": "w.duty_by",
    "duty_until": at("w.duty_until"),
    "quarantined_at": at("w.quarantined_at"),
    "quarantine_reason": "w.quarantine_reason",
    "software": "w.software",
    "connected_at": at("w.connected_at"),
    "last_heard_at": at("w.last_heard_at"),
}


async def worker_list(database: Database, asked: Workers) -> Listing:
    """The workers that are ``asked`` for."""
    tests, parameters = tests_of(
        asked, (), {"state": "worker_state", "duty": "worker_duty"}
    )
    page = Page(
        "worker s",
        "s.name",
        "JOIN worker w ON w.name = shown.key",
        pairs(_WORKER, asked.fields),
    )
    return await page.read(database, asked, tests, parameters)


async def worker_document(database: Database, name: str) -> str | None:
    """One worker, as JSON; None if nobody of that name was ever here."""
    row = await database.row(
        f"""
        SELECT json_build_object({pairs(_WORKER)}, 'cursor', {CURSOR})::text
          FROM worker w WHERE w.name = %s
        """,
        (name,),
    )
    return None if row is None else str(row[0])
