"""The reading handler that compares the queue's books, which admins ask for."""

from __future__ import annotations

from dataclasses import asdict

import msgspec

from buildmaster.database import Database
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.store.audit import audit


class Books:
    """What the books of the queue contradict themselves in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, call: Call) -> Answer:
        """GET /api/v1/books"""
        call.query.allow()
        found = await self._database.transaction(audit)
        told = {"differences": [{**asdict(one), "says": str(one)} for one in found]}
        return Answer(200, msgspec.json.encode(told), headers={"Cache-Control": "no-store"})
