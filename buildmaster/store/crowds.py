"""What many workers ask at once: statements over all of them, not one for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from buildmaster.database import Cursor
from buildmaster.store.tokens import WorkerToken
from protocol.messages import Holding


async def lock(cursor: Cursor, names: Collection[str]) -> set[str]:
    """Lock these workers in the order of their names; those that there are.

    Nothing is claimed for them meanwhile, as with `workers.lock`.
    """
    ordered = sorted(names)
    await cursor.run(
        """
        SELECT count(pg_advisory_xact_lock(hashtext('headrace.worker'), hashtext(name)))
        FROM (SELECT unnest(%s::text[]) AS name) given
        """,
        (ordered,),
    )
    rows = await cursor.rows(
        """
        SELECT name FROM worker WHERE name = ANY (%s) ORDER BY name FOR NO KEY UPDATE
        """,
        (ordered,),
    )
    return {name for (name,) in rows}


async def tokens(
    cursor: Cursor, names: Collection[str]
) -> Mapping[str, Sequence[WorkerToken]]:
    """The tokens of these workers that are good now."""
    rows = await cursor.rows(
        """
        SELECT worker, sha256, used_at IS NOT NULL FROM worker_token
        WHERE worker = ANY (%s) AND (ends_at IS NULL OR ends_at > farm_now())
        """,
        (sorted(names),),
    )
    found: dict[str, list[WorkerToken]] = {}
    for worker, sha256, is_used in rows:
        found.setdefault(worker, []).append(WorkerToken(bytes(sha256), is_used))
    return found


async def note_uses(cursor: Cursor, uses: Sequence[tuple[str, bytes]]) -> None:
    """Workers have joined with these tokens for the first time: those before them end."""
    given = ([worker for worker, _ in uses], [sha256 for _, sha256 in uses])
    await cursor.run(
        """
        UPDATE worker_token old SET ends_at = farm_now()
        FROM unnest(%s::text[], %s::bytea[]) AS given (worker, sha256)
        JOIN worker_token used USING (worker, sha256)
        WHERE old.worker = used.worker AND old.created_at < used.created_at
          AND (old.ends_at IS NULL OR old.ends_at > farm_now())
        """,
        given,
    )
    await cursor.run(
        """
        UPDATE worker_token t SET used_at = farm_now()
        FROM unnest(%s::text[], %s::bytea[]) AS given (worker, sha256)
        WHERE t.worker = given.worker AND t.sha256 = given.sha256
        """,
        given,
    )


async def with_leases(cursor: Cursor, names: Collection[str]) -> set[str]:
    """Those of these workers that hold leases."""
    rows = await cursor.rows(
        "SELECT DISTINCT worker FROM running WHERE worker = ANY (%s)", (sorted(names),)
    )
    return {worker for (worker,) in rows}


async def renew(
    cursor: Cursor, signs: Sequence[tuple[str, Sequence[Holding]]]
) -> set[tuple[str, int, int]]:
    """Take signs of life: note them, and renew leases of what lives.

    What the workers hold and have no lease for, as (worker, job, attempt).
    """
    await cursor.run(
        """
        WITH heard AS (
            SELECT name FROM worker WHERE name = ANY (%s) ORDER BY name FOR NO KEY UPDATE)
        UPDATE worker SET last_heard_at = farm_now() FROM heard
        WHERE worker.name = heard.name
        """,
        (sorted({worker for worker, _ in signs}),),
    )
    held = [(worker, each) for worker, holding in signs for each in holding]
    if not held:
        return set()
    await cursor.run(
        """
        WITH held AS (
            SELECT running.job FROM running
            JOIN unnest(%s::text[], %s::bigint[], %s::integer[], %s::boolean[])
                AS held (worker, job, attempt, lives)
              ON running.job = held.job AND running.attempt = held.attempt
             AND running.worker = held.worker AND held.lives
            ORDER BY running.job FOR NO KEY UPDATE OF running)
        UPDATE running SET renewals = renewals + 1 FROM held WHERE running.job = held.job
        """,
        (*_columns(held), [each.lives for _, each in held]),
    )
    rows = await cursor.rows(
        """
        SELECT held.worker, held.job, held.attempt
        FROM unnest(%s::text[], %s::bigint[], %s::integer[]) AS held (worker, job, attempt)
        WHERE NOT EXISTS (
            SELECT FROM running WHERE running.job = held.job
               AND running.attempt = held.attempt AND running.worker = held.worker)
        """,
        _columns(held),
    )
    return {(worker, job, attempt) for worker, job, attempt in rows}


def _columns(
    held: Sequence[tuple[str, Holding]],
) -> tuple[list[str], list[int], list[int]]:
    return (
        [worker for worker, _ in held],
        [each.job for _, each in held],
        [each.attempt for _, each in held],
    )
