"""Lets workers join and clients ask, and stops them: makes, exchanges and ends tokens.

A token is told once, to whoever asked for it; the farm keeps its SHA-256.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import partial

from buildmaster.database import Cursor, Database
from buildmaster.requests import Refusal
from buildmaster.store import crowds
from buildmaster.store import tokens as token_store
from buildmaster.store import workers as worker_store
from buildmaster.store.event_log import Event, write_events
from buildmaster.tokens import ENTROPY, token_hash

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
#: Seconds for which a worker's old token stays good beside a new one that nobody used.
ROTATE_WITHIN = 24 * 3600.0
#: Every farm whose token leaked finds it by these.
WORKER_MARK, CLIENT_MARK = "hrw_", "hra_"
#: Workers of a settings file that are let in by one transaction.
SETTLED_TOGETHER = 200


class Admission:
    """Every method is one transaction, and raises `Refusal`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_worker(self, name: str) -> str:
        """Let a worker of this name join; its token."""
        _check_name(name, "worker")
        token = _new_token(WORKER_MARK)

        async def work(cursor: Cursor) -> None:
            await worker_store.remember(cursor, name)
            await worker_store.lock(cursor, name)
            if await token_store.worker_tokens(cursor, name):
                raise Refusal(
                    409,
                    "worker_exists",
                    f"Worker {name} can join already. Exchange its token with 'headrace"
                    f" worker rotate {name}', or revoke it first.",
                )
            await token_store.add_worker_token(cursor, name, token_hash(token))
            await _tell(cursor, "worker.added", name)

        await self._database.transaction(work)
        return token

    async def rotate_worker(self, name: str, within: float = ROTATE_WITHIN) -> str:
        """Another token for a worker.

        The old one stays good until the worker has joined with the new one, and for
        ``within`` seconds at most.
        """
        token = _new_token(WORKER_MARK)

        async def work(cursor: Cursor) -> None:
            await self._existing(cursor, name)
            if not await token_store.worker_tokens(cursor, name):
                raise Refusal(
                    409,
                    "worker_revoked",
                    f"Worker {name} may not join any more. To let it in again: 'headrace"
                    f" worker add {name}'.",
                )
            digest = token_hash(token)
            await token_store.add_worker_token(cursor, name, digest)
            await token_store.end_other_tokens(cursor, name, digest, within)
            await _tell(cursor, "worker.rotated", name)

        await self._database.transaction(work)
        return token

    async def revoke_worker(self, name: str) -> None:
        """Let a worker join no more; its session ends. Harmless when repeated."""

        async def work(cursor: Cursor) -> None:
            await self._existing(cursor, name)
            await token_store.end_worker_tokens(cursor, name)
            await token_store.tell(cursor)
            await _tell(cursor, "worker.revoked", name)

        await self._database.transaction(work)

    async def add_client(
        self, name: str, scopes: Sequence[str], project: str | None, by: str
    ) -> str:
        """Let a client do what ``scopes`` say, below ``project`` only; its token."""
        _check_name(name, "token")
        if project is not None and "admin" in scopes:
            raise Refusal(
                422,
                "admin_of_a_project",
                "The scope admin knows no project: leave one out.",
            )
        token = _new_token(CLIENT_MARK)

        async def work(cursor: Cursor) -> None:
            is_new = await token_store.add_api_token(
                cursor, name, token_hash(token), scopes, project, by
            )
            if not is_new:
                raise Refusal(
                    409,
                    "token_exists",
                    f"There is or was a token named {name}: choose another name.",
                )
            await token_store.tell(cursor)

        await self._database.transaction(work)
        return token

    async def revoke_client(self, name: str) -> None:
        """End a client's token. Harmless when repeated."""

        async def work(cursor: Cursor) -> None:
            if not await token_store.revoke_api_token(cursor, name):
                raise Refusal(404, "no_such_token", f"There is no token named {name}.")
            await token_store.tell(cursor)

        await self._database.transaction(work)

    async def _existing(self, cursor: Cursor, name: str) -> None:
        if not await worker_store.lock(cursor, name):
            raise Refusal(404, "no_such_worker", f"There is no worker named {name}.")


async def settled_workers(database: Database, tokens: Mapping[str, bytes]) -> None:
    """Let workers join as a settings file says: names, and SHA-256s of their tokens.

    What the farm was told since outweighs the file: a token that was exchanged or revoked
    stays ended until the file names one that the farm has not seen. Harmless when repeated.
    """
    fresh = await database.transaction(
        lambda cursor: token_store.unseen_worker_tokens(cursor, tokens)
    )
    # Each transaction holds a lock for every worker in it, and a server has only so many.
    for start in range(0, len(fresh), SETTLED_TOGETHER):
        some = {name: tokens[name] for name in fresh[start : start + SETTLED_TOGETHER]}
        await database.transaction(partial(_settle, tokens=some))


async def _settle(cursor: Cursor, tokens: Mapping[str, bytes]) -> None:
    await worker_store.remember_all(cursor, tokens)
    await crowds.lock(cursor, tokens)
    await token_store.replace_worker_tokens(cursor, tokens)


async def _tell(cursor: Cursor, kind: str, worker: str) -> None:
    await write_events(cursor, [Event(kind, worker=worker)])


def _new_token(mark: str) -> str:
    return mark + secrets.token_urlsafe(ENTROPY)


def _check_name(name: str, what: str) -> None:
    if not _NAME.match(name):
        raise Refusal(
            422,
            "bad_name",
            f"{name[:200]!r} cannot be the name of a {what}: it has letters, digits, '.',"
            " '_' and '-', 100 at most.",
        )
