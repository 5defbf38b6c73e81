"""Rows of ``worker_token`` and ``api_token``: who may join, and who may ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor

#: Told when something here changed that a master keeps in mind.
CHANNEL = "headrace_tokens"


@dataclass(frozen=True)
class WorkerToken:
    """One with which a worker can join now."""

    sha256: bytes
    is_used: bool


@dataclass(frozen=True)
class ApiToken:
    """One with which a client can ask now."""

    name: str
    sha256: bytes
    scopes: tuple[str, ...]
    project: str | None


async def tell(cursor: Cursor) -> None:
    """Wake the masters, once this transaction is committed."""
    await cursor.run(f"NOTIFY {CHANNEL}")


async def worker_tokens(cursor: Cursor, worker: str) -> list[WorkerToken]:
    """The worker's tokens that are good now."""
    rows = await cursor.rows(
        """
        SELECT sha256, used_at IS NOT NULL FROM worker_token
        WHERE worker = %s AND (ends_at IS NULL OR ends_at > farm_now())
        ORDER BY created_at DESC LIMIT 100
        """,
        (worker,),
    )
    return [WorkerToken(bytes(sha256), is_used) for sha256, is_used in rows]


async def add_worker_token(cursor: Cursor, worker: str, sha256: bytes) -> bool:
    """Let the worker join with this token, too; False if it is known, ended or not."""
    row = await cursor.row(
        """
        INSERT INTO worker_token (worker, sha256) VALUES (%s, %s)
        ON CONFLICT DO NOTHING RETURNING 1
        """,
        (worker, sha256),
    )
    return row is not None


async def unseen_worker_tokens(cursor: Cursor, tokens: Mapping[str, bytes]) -> list[str]:
    """The workers, by name, that the farm does not know with this token, ended or not."""
    names = sorted(tokens)
    rows = await cursor.rows(
        """
        SELECT given.worker
        FROM unnest(%s::text[], %s::bytea[]) AS given (worker, sha256)
        LEFT JOIN worker_token known USING (worker, sha256)
        WHERE known.worker IS NULL ORDER BY given.worker
        """,
        (names, [tokens[name] for name in names]),
    )
    return [name for (name,) in rows]


async def replace_worker_tokens(cursor: Cursor, tokens: Mapping[str, bytes]) -> None:
    """Let workers join with these tokens only, unless the farm knows them, ended or not."""
    names = sorted(tokens)
    await cursor.run(
        """
        WITH fresh AS (
            INSERT INTO worker_token (worker, sha256)
            SELECT * FROM unnest(%s::text[], %s::bytea[])
            ON CONFLICT DO NOTHING RETURNING worker, sha256)
        UPDATE worker_token t SET ends_at = farm_now() FROM fresh
        WHERE t.worker = fresh.worker AND t.sha256 <> fresh.sha256
          AND (t.ends_at IS NULL OR t.ends_at > farm_now())
        """,
        (names, [tokens[name] for name in names]),
    )


async def end_other_tokens(
    cursor: Cursor, worker: str, sha256: bytes, within: float = 0.0
) -> None:
    """End the worker's tokens but this one, at the latest ``within`` seconds from now."""
    await cursor.run(
        """
        UPDATE worker_token SET ends_at = farm_now() + make_interval(secs => %s)
        WHERE worker = %s AND sha256 <> %s
          AND (ends_at IS NULL OR ends_at > farm_now() + make_interval(secs => %s))
        """,
        (within, worker, sha256, within),
    )


async def end_worker_tokens(cursor: Cursor, worker: str) -> None:
    """Let the worker join no more."""
    await cursor.run(
        """
        UPDATE worker_token SET ends_at = farm_now()
        WHERE worker = %s AND (ends_at IS NULL OR ends_at > farm_now())
        """,
        (worker,),
    )


async def unwelcome(cursor: Cursor, master: str) -> list[str]:
    """Workers with a session at ``master`` that could not join any more."""
    rows = await cursor.rows(
        """
        SELECT name FROM worker
        WHERE master = %s AND state = 'connected' AND (
            duty = 'retired' AND NOT EXISTS (
                SELECT FROM running WHERE running.worker = worker.name)
            OR NOT EXISTS (
                SELECT FROM worker_token t
                WHERE t.worker = worker.name
                  AND (t.ends_at IS NULL OR t.ends_at > farm_now())))
        ORDER BY name LIMIT 10000
        """,
        (master,),
    )
    return [name for (name,) in rows]


async def add_api_token(
    cursor: Cursor,
    name: str,
    sha256: bytes,
    scopes: Sequence[str],
    project: str | None,
    by: str,
) -> bool:
    """Keep a client's token; False if there is or was one of that name."""
    row = await cursor.row(
        """
        INSERT INTO api_token (name, sha256, scopes, project, created_by)
        VALUES (%s, %s, %s::text[]::token_scope[], %s, %s)
        ON CONFLICT (name) DO NOTHING RETURNING 1
        """,
        (name, sha256, list(scopes), project, by),
    )
    return row is not None


async def revoke_api_token(cursor: Cursor, name: str) -> bool:
    """End a client's token; False if there is none. Harmless when repeated."""
    row = await cursor.row(
        """
        UPDATE api_token SET revoked_at = coalesce(revoked_at, farm_now())
        WHERE name = %s RETURNING 1
        """,
        (name,),
    )
    return row is not None


async def api_tokens(cursor: Cursor) -> list[ApiToken]:
    """All clients' tokens that are good now."""
    rows = await cursor.rows(
        """
        SELECT name, sha256, scopes::text[], project FROM api_token
        WHERE revoked_at IS NULL ORDER BY name LIMIT 100000
        """
    )
    return [
        ApiToken(name, bytes(sha256), tuple(scopes), project)
        for name, sha256, scopes, project in rows
    ]


async def note_api_use(cursor: Cursor, names: Sequence[str]) -> None:
    """These clients' tokens were used just now."""
    await cursor.run(
        "UPDATE api_token SET last_used_at = farm_now() WHERE name = ANY (%s)",
        (list(names),),
    )


async def attempt_secret(cursor: Cursor, proposed: str) -> str:
    """The farm's secret behind the tokens of attempts; ``proposed``, if it has none."""
    await cursor.run(
        """
        INSERT INTO farm_secret (name, value) VALUES ('attempts', %s)
        ON CONFLICT (name) DO NOTHING
        """,
        (proposed,),
    )
    [secret] = await cursor.one("SELECT value FROM farm_secret WHERE name = 'attempts'")
    return str(secret)
