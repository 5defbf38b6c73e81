"""The stays that last now, in memory: no request waits for the database.

A round reads them anew at each notification, and every few seconds anyway. So a stay that
is ended anywhere ends everywhere at once, or, where the notification is lost, a few seconds
later.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from buildmaster.database import Cursor, Database
from buildmaster.people.person import Person
from buildmaster.store import stays as store
from buildmaster.store.stays import Stay
from buildmaster.tokens import ENTROPY, token_hash


class Stays:
    """Who has logged in."""

    def __init__(self, database: Database, seconds: float) -> None:
        """A new stay lasts ``seconds``."""
        self._database = database
        self.seconds = seconds
        self._known: dict[bytes, Stay] = {}
        self._ended: set[bytes] = set()  # here, while a reading is under way
        self._used: set[bytes] = set()

    def find(self, cookie: str) -> Stay | None:
        """The stay whose cookie has this value, if it lasts."""
        digest = token_hash(cookie)
        found = self._known.get(digest)
        if found is None or found.expires_at <= datetime.now(UTC):
            return None
        self._used.add(digest)
        return found

    async def begin(self, person: Person, address: str) -> str:
        """Let ``person`` stay; the value for the cookie, which is nowhere else."""
        cookie = secrets.token_urlsafe(ENTROPY)
        digest = token_hash(cookie)
        stay = await self._database.transaction(
            lambda cursor: store.begin(cursor, digest, person, address, self.seconds)
        )
        self._known[digest] = stay
        return cookie

    async def end(self, cookie: str) -> bool:
        """End the stay of this cookie, if there is one; whether there was."""
        digest = token_hash(cookie)
        self._known.pop(digest, None)
        self._ended.add(digest)
        return await self._database.transaction(lambda cursor: store.end(cursor, digest))

    async def end_all_of(self, name: str) -> int:
        """End all stays of a person; how many."""
        count = await self._database.transaction(
            lambda cursor: store.end_all_of(cursor, name)
        )
        await self.round()
        return count

    async def round(self) -> None:
        """Read them anew."""
        used, self._used = self._used, set()
        before, self._ended = set(self._known), set()

        async def work(cursor: Cursor) -> list[Stay]:
            if used:
                await store.note_use(cursor, sorted(used))
            return await store.current(cursor)

        try:
            found = await self._database.transaction(work)
        except Exception:
            self._used |= used
            raise
        fresh = {each.sha256: each for each in found if each.sha256 not in self._ended}
        # Whoever came while the database answered may not be in the answer.
        came = {key: stay for key, stay in self._known.items() if key not in before}
        self._known = {**fresh, **came}
