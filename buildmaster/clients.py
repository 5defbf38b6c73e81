"""The clients' tokens that are good now, in memory: no request waits for the database.

A round reads them anew, at each notification and every few seconds anyway, and notes
which were used. So a token that is revoked anywhere ends everywhere at once, or, where
the notification is lost, a few seconds later.
"""

from __future__ import annotations

from buildmaster.database import Cursor, Database
from buildmaster.grants import Grant, Right, Scope
from buildmaster.store import tokens as token_store
from buildmaster.tokens import token_hash


class Clients:
    """Who may ask, besides the bearer of the farm's own token."""

    def __init__(self, database: Database | None = None) -> None:
        """Without ``database`` there are none."""
        self._database = database
        self._grants: dict[bytes, Grant] = {}
        self._names: dict[bytes, str] = {}
        self._used: set[str] = set()

    def find(self, token: str) -> Grant | None:
        """What ``token`` permits; None if it is nobody's."""
        digest = token_hash(token)
        grant = self._grants.get(digest)
        if grant is not None:
            self._used.add(self._names[digest])
        return grant

    async def round(self) -> None:
        """Read them anew."""
        if self._database is None:
            return
        used, self._used = self._used, set()

        async def work(cursor: Cursor) -> list[token_store.ApiToken]:
            if used:
                await token_store.note_api_use(cursor, sorted(used))
            return await token_store.api_tokens(cursor)

        try:
            found = await self._database.transaction(work)
        except Exception:
            self._used |= used
            raise
        self._names = {each.sha256: each.name for each in found}
        self._grants = {
            each.sha256: Grant(
                f"token {each.name}",
                (Right(frozenset(map(Scope, each.scopes)), each.project),),
            )
            for each in found
        }
