"""Pages of lists: entries found by key, one page of them made by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildmaster.database import Database
from buildmaster.store.events import CURSOR


@dataclass(frozen=True)
class Listing:
    """One page of a list, as PostgreSQL made it."""

    items: str  #: a JSON array
    following: str | None  #: ``next``, as JSON; None: this is the last page
    cursor: str  #: the event id after which a follower goes on

    def document(self, name: str) -> bytes:
        """The page as a document, its entries as ``name``."""
        # All three are PostgreSQL's own JSON, or of characters that JSON takes as they are.
        following = "null" if self.following is None else self.following
        return (
            f'{{"{name}":{self.items},"next":{following},"cursor":"{self.cursor}"}}'
        ).encode()


@dataclass(frozen=True)
class Page:
    """How a list is read by key: where the keys come from, and what is shown of each."""

    source: str  #: FROM, with a column that is the key
    key: str  #: of the source
    joined: str  #: JOINs of what is shown, to ``shown``, whose column ``key`` has the keys
    pairs: str  #: arguments of json_build_object

    async def read(
        self,
        database: Database,
        tests: Sequence[str],
        parameters: Sequence[Any],
        *,
        order: str,
        after: Any,
        limit: int,
    ) -> Listing:
        """Entries that pass ``tests``, from ``after`` on; ``order`` is '-' for descending.

        One more key than shown is read, which tells whether there is a next page.
        """
        is_down = order.startswith("-")
        direction, compare = ("DESC", "<") if is_down else ("ASC", ">")
        last = "min" if is_down else "max"
        tests, parameters = list(tests), list(parameters)
        if after is not None:
            tests.append(f"{self.key} {compare} %s")
            parameters.append(after)
        items, following, cursor = await database.one(
            f"""
            WITH page AS MATERIALIZED (
                SELECT {self.key} AS key FROM {self.source}
                 WHERE {" AND ".join(["true", *tests])}
                 ORDER BY {self.key} {direction} LIMIT %s),
            shown AS (SELECT key FROM page ORDER BY key {direction} LIMIT %s)
            SELECT (SELECT coalesce(json_agg(json_build_object({self.pairs})
                                             ORDER BY shown.key {direction}), '[]')
                      FROM shown {self.joined})::text,
                   CASE WHEN (SELECT count(*) > %s FROM page)
                        THEN (SELECT to_json({last}(key))::text FROM shown) END,
                   {CURSOR}
            """,
            (*parameters, limit + 1, limit, limit),
        )
        return Listing(items, following, cursor)
