"""What a run was of."""

from __future__ import annotations

from dataclasses import dataclass

from buildmaster.database import Cursor, Database


@dataclass(frozen=True)
class RunSource:
    """The source of a run; without a repository a job of the run made it."""

    repository: str | None
    digest: str | None
    refs: tuple[str, ...]
    trust_domain: str


async def source_of(database: Cursor | Database, run: int) -> RunSource | None:
    """The source of a run; None if there is no such run."""
    row = await database.row(
        "SELECT repository, source_digest, refs, trust_domain FROM run WHERE id = %s",
        (run,),
    )
    if row is None:
        return None
    return RunSource(row[0], row[1], tuple(row[2]), row[3])
