"""What other people's tools ask for: the last run of each repository."""

from __future__ import annotations

from dataclasses import dataclass

from buildmaster.database import Database
from buildmaster.store.documents.fragments import at

#: Of the newest so many runs the last of each repository is shown.
LOOKED_AT = 5000
#: Repositories that are shown.
SHOWN = 500


@dataclass(frozen=True)
class LastRun:
    """A repository, and how it stands with it."""

    repository: str
    run: int
    is_going: bool
    result: str | None  #: of the last run that is over
    label: str  #: that run's source digest
    finished_at: str


async def last_runs(database: Database) -> list[LastRun]:
    """The last run of each repository that was built lately, by repository."""
    rows = await database.rows(
        f"""
        WITH newest AS MATERIALIZED (
            SELECT id, repository, state, result, source_digest, finished_at
              FROM run ORDER BY id DESC LIMIT {LOOKED_AT}),
        last AS (
            SELECT DISTINCT ON (repository) * FROM newest
             WHERE repository IS NOT NULL ORDER BY repository, id DESC LIMIT {SHOWN}),
        over AS (
            SELECT DISTINCT ON (repository) * FROM newest
             WHERE repository IS NOT NULL AND state = 'done' ORDER BY repository, id DESC)
        SELECT last.repository, last.id, last.state <> 'done', over.result::text,
               coalesce(over.source_digest, ''), coalesce({at("over.finished_at")}, '')
          FROM last LEFT JOIN over USING (repository) ORDER BY last.repository
        """
    )
    return [LastRun(*row) for row in rows]


async def last_result(database: Database, repository: str, ref: str | None) -> str | None:
    """How the last run of ``repository`` ended, of those for ``ref``; None: none did."""
    row = await database.row(
        """
        SELECT result::text FROM run
         WHERE repository = %s AND state = 'done' AND (%s::text IS NULL OR %s = ANY (refs))
         ORDER BY id DESC LIMIT 1
        """,
        (repository, ref, ref),
    )
    return None if row is None else str(row[0])
