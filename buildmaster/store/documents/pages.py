"""Pages of lists: entries found by key, one page of them made by one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from buildmaster.database import Database
from buildmaster.store.documents.known import Known
from buildmaster.store.events import CURSOR


@dataclass(frozen=True)
class Listing:
    """One page of a list, as PostgreSQL made it."""

    items: str  #: a JSON array
    following: str | None  #: ``next``, as JSON; None: this is the last page
    cursor: str  #: the event id after which a follower goes on
    version: str | None = None  #: the same for the same page, another for another

    def document(self, name: str) -> bytes:
        """The page as a document, its entries as ``name``."""
        # All three are PostgreSQL's own JSON, or of characters that JSON takes as they are.
        following = "null" if self.following is None else self.following
        return (
            f'{{"{name}":{self.items},"next":{following},"cursor":"{self.cursor}"}}'
        ).encode()


class Asked(Protocol):
    """What every question about a list says."""

    @property
    def order(self) -> str: ...
    @property
    def after(self) -> Any: ...
    @property
    def limit(self) -> int: ...
    @property
    def fields(self) -> tuple[str, ...]: ...


def tests_of(
    asked: Asked, words: Sequence[str], enums: Mapping[str, str]
) -> tuple[list[str], list[Any]]:
    """What ``asked`` says of columns, as tests and their parameters.

    ``words`` are columns that must be just so, ``enums`` those of which several values will
    do, with their types. Each test begins with the column's name.
    """
    tests: list[str] = []
    parameters: list[Any] = []
    for column in words:
        if (value := getattr(asked, column)) is not None:
            tests.append(f"{column} = %s")
            parameters.append(value)
    for column, kind in enums.items():
        if values := getattr(asked, column):
            tests.append(f"{column} = ANY (%s::{kind}[])")
            parameters.append(list(values))
    return tests, parameters


@dataclass(frozen=True)
class Page:
    """How a list is read by key: where the keys come from, and what is shown of each."""

    source: str  #: FROM, with a column that is the key
    key: str  #: of the source
    joined: str  #: JOINs of what is shown, to ``shown``, whose column ``key`` has the keys
    pairs: str  #: arguments of json_build_object

    async def read(
        self, database: Database, asked: Asked, tests: Sequence[str], given: Sequence[Any]
    ) -> Listing:
        """Entries that pass ``tests``, whose parameters are ``given``.

        One more key than shown is read, which tells whether there is a next page.
        """
        keys, parameters, direction = self._keys(asked, tests, given)
        items, following, cursor = await database.one(
            f"""
            {keys}
            SELECT (SELECT coalesce(json_agg(json_build_object({self.pairs})
                                             ORDER BY shown.key {direction}), '[]')
                      FROM shown {self.joined})::text,
                   (SELECT following FROM ending), {CURSOR}
            """,
            parameters,
        )
        return Listing(items, following, cursor)

    async def read_known(
        self,
        database: Database,
        asked: Asked,
        tests: Sequence[str],
        given: Sequence[Any],
        known: Known,
        version: str,
        row: str,
    ) -> Listing:
        """The same, of entries that are not made again while their rows are the same.

        ``version`` is SQL for what a row's version is, as a text; NULL: it has none, and
        is made anew. ``row`` JOINs that row and nothing else. Entries have whole numbers
        as keys.
        """
        keys, parameters, direction = self._keys(asked, tests, given)
        shown, following, cursor = await database.one(
            f"""
            {keys}
            SELECT (SELECT string_agg(shown.key || ':' || coalesce({version}, ''), ' '
                                      ORDER BY shown.key {direction})
                      FROM shown {row}),
                   (SELECT following FROM ending), {CURSOR}
            """,
            parameters,
        )
        versions = [] if shown is None else shown.split(" ")
        fields = tuple(sorted(asked.fields))
        found, missing = known.find(fields, versions)
        if missing:
            made = await self._make(database, missing, version)
            if made.keys() != set(missing):
                # Rows changed between the two statements; one alone sees one moment.
                return await self.read(database, asked, tests, given)
            found |= made
            lasting = {each: made[each] for each in missing if not each.endswith(":")}
            known.add(fields, lasting)
        seal = blake2b(f"{self.pairs}{shown}{following}{cursor}".encode(), digest_size=16)
        for each in missing:
            if each.endswith(":"):
                seal.update(found[each].encode())
        items = f"[{', '.join(map(found.__getitem__, versions))}]"
        return Listing(items, following, cursor, seal.hexdigest())

    async def _make(
        self, database: Database, versions: Sequence[str], version: str
    ) -> dict[str, str]:
        rows = await database.rows(
            f"""
            SELECT shown.key || ':' || coalesce({version}, ''),
                   json_build_object({self.pairs})::text
              FROM unnest(%s::bigint[]) AS shown (key) {self.joined}
            """,
            ([int(each.partition(":")[0]) for each in versions],),
        )
        return dict(rows)

    def _keys(
        self, asked: Asked, tests: Sequence[str], given: Sequence[Any]
    ) -> tuple[str, Sequence[Any], str]:
        """WITH ``shown (key)`` and ``ending (following)``; parameters; the direction."""
        is_down = asked.order.startswith("-")
        direction, compare = ("DESC", "<") if is_down else ("ASC", ">")
        last = "min" if is_down else "max"
        all_tests, parameters = ["true", *tests], list(given)
        if asked.after is not None:
            all_tests.append(f"{self.key} {compare} %s")
            parameters.append(asked.after)
        sql = f"""
            WITH page AS MATERIALIZED (
                SELECT {self.key} AS key FROM {self.source}
                 WHERE {" AND ".join(all_tests)}
                 ORDER BY {self.key} {direction} LIMIT %s),
            shown AS MATERIALIZED (SELECT key FROM page ORDER BY key {direction} LIMIT %s),
            ending AS (
                SELECT CASE WHEN (SELECT count(*) > %s FROM page)
                            THEN (SELECT to_json({last}(key))::text FROM shown)
                       END AS following)
        """
        return sql, (*parameters, asked.limit + 1, asked.limit, asked.limit), direction
