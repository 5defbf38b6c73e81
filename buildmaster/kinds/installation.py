"""Brings the database to what the plug-ins of kinds of jobs need, one kind at a time."""

from __future__ import annotations

from functools import partial

import psycopg2
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from buildmaster.database import Database
from buildmaster.kinds.registry import Kinds
from buildmaster.store.kinds import register
from schema.migrate import SchemaError, migrate_kind

log = Logger()


async def install(dsn: str, database: Database, kinds: Kinds) -> None:
    """Apply each kind's SQL files, and let there be jobs of it.

    A kind whose files cannot be applied is logged and forgotten: the farm goes on without.
    """
    for kind in kinds.plugged:
        try:
            if kind.sql_folder is not None:
                await deferToThread(migrate_kind, dsn, kind.name, kind.sql_folder)
        except (SchemaError, OSError, psycopg2.ProgrammingError) as error:
            log.error(
                "there are no jobs of the kind {kind}: {error}", kind=kind.name, error=error
            )
            kinds.without(kind.name)
            continue
        await database.transaction(partial(register, kind))
        log.info("there are jobs of the kind {kind}", kind=kind.name)
    for name in kinds.unknown_choices():
        log.warn("the settings speak of a kind of job {kind}, which is not here", kind=name)
