"""Holds a transaction open, so that vacuum can remove nothing that dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ


@contextmanager
def old_transaction(dsn: str) -> Iterator[None]:
    """While the block runs, somebody looks at the database as it was at its start."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.set_isolation_level(ISOLATION_LEVEL_REPEATABLE_READ)
        with connection.cursor() as cursor:
            # A snapshot holds vacuum back; an id of its own would, too.
            cursor.execute("SELECT pg_current_xact_id(), count(*) FROM pg_class")
            yield
