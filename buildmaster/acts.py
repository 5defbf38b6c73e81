"""The audit: keeps what everybody does, from before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from buildmaster.database import Database, DatabaseAway
from buildmaster.people.person import shown
from buildmaster.store import acts as store

#: Characters of one fact, and entries of a list in one.
LONGEST, MOST = 500, 50


@dataclass(frozen=True)
class Act:
    """Something that somebody is doing; `Acts.complete` says how it ended."""

    number: int
    name: str
    who: str


class Acts:
    """Writes the audit. What cannot be noted is not done."""

    log = Logger()

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self,
        act: str,
        who: str,
        address: str,
        *,
        run: int | None = None,
        job: int | None = None,
        worker: str | None = None,
    ) -> Act:
        """Note that ``who`` is about to do something."""
        noted = None if worker is None else shown(worker)
        number = await store.begin(
            self._database, act, shown(who), shown(address)[:100], run, job, noted
        )
        return Act(number, act, who)

    async def complete(
        self, act: Act, outcome: str, status: int, facts: Mapping[str, Any]
    ) -> None:
        """Note how it ended: ``outcome`` is "done" or the word of a problem.

        It is done already: that this cannot be noted is no reason to say otherwise.
        """
        told = {name: _short(value) for name, value in facts.items()}
        try:
            await store.complete(self._database, act.number, outcome, status, told)
        except DatabaseAway as error:
            self.log.warn(
                "the end of act {number} is not noted: {error}",
                number=act.number,
                error=error,
            )

    async def note(
        self, act: str, who: str, address: str, outcome: str, status: int, **facts: Any
    ) -> None:
        """Note something that is over."""
        begun = await self.begin(act, who, address)
        await self.complete(begun, outcome, status, facts)


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, list | tuple):
        return [_short(each) for each in value[:MOST]]
    if isinstance(value, dict):
        return {str(key)[:100]: _short(each) for key, each in list(value.items())[:MOST]}
    return value
