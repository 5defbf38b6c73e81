"""Schedules as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database
from buildmaster.status.questions import Schedules
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page

_TIME: Mapping[str, str] = {
    "at": at("f.at"),
    "state": "f.state",
    "reason": "f.reason",
    "workflow": "w.name",
    "run": "f.run",
    "result": "coalesce(w.result, r.result)",
}
_SCHEDULE: Mapping[str, str] = {
    "id": "s.name",
    "kind": "'schedule'",
    "name": "s.name",
    "cron": "s.cron",
    "zone": "s.zone",
    "starts": "s.starts",
    "overlap": "s.overlap",
    "catch_up": "s.catch_up",
    "catch_up_limit": "s.catch_up_limit",
    "owner": "s.owner",
    "by": "s.made_by",
    "state": "CASE WHEN s.paused THEN 'paused' ELSE 'active' END",
    "next_at": at("s.next_at"),
    "times": f"""(
        SELECT coalesce(json_agg(json_build_object({pairs(_TIME)})
                                 ORDER BY f.at DESC), '[]')
          FROM (SELECT * FROM firing WHERE schedule = s.id ORDER BY at DESC LIMIT 10) f
          LEFT JOIN workflow w ON w.id = f.workflow LEFT JOIN run r ON r.id = f.run)""",
    "created_at": at("s.made_at"),
}


async def schedule_list(database: Database, asked: Schedules) -> Listing:
    """The schedules that are ``asked`` for."""
    page = Page(
        "schedule source",
        "source.name",
        "JOIN schedule s ON s.name = shown.key",
        pairs(_SCHEDULE, asked.fields),
    )
    return await page.read(database, asked, (), ())
