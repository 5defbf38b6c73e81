"""Semaphores as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database
from buildmaster.status.questions import Semaphores
from buildmaster.store.documents.fragments import pairs
from buildmaster.store.documents.pages import Listing, Page

_SEMAPHORE: Mapping[str, str] = {
    "id": "t.name",
    "kind": "'semaphore'",
    "name": "t.name",
    "capacity": "t.capacity",
    "held_by": """ARRAY(SELECT h.job FROM semaphore_hold h
                         WHERE h.semaphore = t.name ORDER BY h.job LIMIT 100)""",
    "aside": "(SELECT count(*) FROM aside a WHERE a.semaphore = t.name)",
}


async def semaphore_list(database: Database, asked: Semaphores) -> Listing:
    """The semaphores that are ``asked`` for."""
    page = Page(
        "semaphore s",
        "s.name",
        "JOIN semaphore t ON t.name = shown.key",
        pairs(_SEMAPHORE, asked.fields),
    )
    return await page.read(database, asked, (), ())
