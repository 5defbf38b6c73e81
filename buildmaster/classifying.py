"""Says what failures are: because somebody says so, or because a rule found its pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from buildmaster.classification import (
    BadRule,
    Classification,
    FailureRule,
    Search,
    check_link,
    check_pattern,
    first_line,
)
from buildmaster.database import Cursor, Database
from buildmaster.requests import Refusal
from buildmaster.store import classifying as store
from buildmaster.store import jobs as job_store
from buildmaster.store.classifying import UnreadFailure, Word
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.logs import DamagedLog, LogName, end_of
from buildmaster.store.text import storable
from protocol.results import BAD

#: Bytes of a log's end that rules look at.
SEARCHED = 4 * 1024 * 1024
#: Failures that one round reads.
BATCH = 20


@dataclass(frozen=True)
class Found:
    """Where a pattern was found in the end of a log."""

    line: int | None  #: from 1; None: nowhere
    text: str


class Classifying:
    """What people say of failures; each method raises `Refusal`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def say(
        self, job: int, word: Classification | None, note: str, link: str, by: str
    ) -> None:
        """The current attempt of ``job`` is that, or, with None, what nobody knows yet."""
        _check(check_link, link)

        async def work(cursor: Cursor) -> None:
            locked = await job_store.lock(cursor, [job])
            if not locked:
                raise Refusal(404, "no_such_job", f"There is no job {job}.")
            if word is None:
                await store.unclassify(cursor, job, storable(by))
            elif locked[0].result not in BAD:
                raise Refusal(
                    409,
                    "not_failed",
                    f"Job {job} has not failed, so there is nothing to classify.",
                )
            elif not await store.classify(cursor, job, _word(word, note, link, by)):
                raise Refusal(
                    409, "not_failed", f"Job {job} was never tried: look at its cause."
                )

        await self._database.transaction(work)

    async def add_rule(self, rule: FailureRule, by: str, days: float) -> int:
        """The number of a new rule; failures of the last ``days`` are read again."""
        _check(check_pattern, rule.pattern)
        _check(check_link, rule.link)

        async def work(cursor: Cursor) -> int | None:
            number = await store.add_rule(cursor, rule, storable(by), days)
            payload = {
                "state": "added",
                "rule": number,
                "pattern": rule.pattern,
                "classification": rule.classification.value,
                "by": storable(by),
            }
            await write_events(cursor, [Event("rule.added", payload=payload)])
            return number

        number = await self._database.transaction(work)
        if number is None:
            raise Refusal(409, "too_many_rules", "There are 500 rules, and may be no more.")
        return number

    async def remove_rule(self, rule: int, by: str, *, forget: bool) -> int:
        """Remove a rule; of how many failures its word was taken back (``forget``)."""

        async def work(cursor: Cursor) -> int | None:
            count = await store.remove_rule(cursor, rule, storable(by), forget=forget)
            if count is not None:
                payload = {"state": "removed", "rule": rule, "by": storable(by)}
                await write_events(cursor, [Event("rule.removed", payload=payload)])
            return count

        count = await self._database.transaction(work)
        if count is None:
            raise Refusal(404, "no_such_rule", f"There is no rule {rule}.")
        return count

    async def try_pattern(self, pattern: str, job: int, attempt: int) -> Found:
        """Where ``pattern`` is in the end of an attempt's log."""
        _check(check_pattern, pattern)
        data = bytearray()
        name = LogName(job, attempt)
        async for piece in end_of(self._database, name, SEARCHED):
            data += piece
        found = await deferToThread(first_line, pattern, bytes(data))
        return Found(None, "") if found is None else Found(*found)


class Reader:
    """Looks through the logs of failures that no rule has seen. One round reads some."""

    log = Logger()

    def __init__(self, database: Database) -> None:
        self._database = database

    async def round(self) -> None:
        """Read what is unread, until nothing is."""
        while True:
            taken = await self._database.transaction(partial(store.take_unread, most=BATCH))
            if not taken:
                return
            rules = await self._database.transaction(store.rules)
            for failure in taken:
                word = await self._read(failure, rules)
                await self._database.transaction(
                    partial(store.settle, failure=failure, word=word)
                )

    async def _read(self, failure: UnreadFailure, rules: list[FailureRule]) -> Word | None:
        concerned = [
            rule for rule in rules if rule.concerns(failure.repository, failure.name)
        ]
        if not concerned:
            return None
        search = Search(concerned)
        try:
            log = LogName(failure.job, failure.attempt)
            async for piece in end_of(self._database, log, SEARCHED):
                # In a thread: a long log must not keep the reactor from dispatching.
                await deferToThread(search.feed, piece)
        except DamagedLog as error:
            self.log.warn("job {job}: {error}", job=failure.job, error=error)
        search.feed(b"\n" + failure.reason.encode("utf-8", "replace"))
        search.end()
        found = search.found
        if found is None:
            return None
        return Word(
            found.classification, found.note, found.link, f"rule {found.id}", found.id
        )


def _word(word: Classification, note: str, link: str, by: str) -> Word:
    return Word(word, storable(note), link, storable(by))


def _check(check: Callable[[str], None], text: str) -> None:
    try:
        check(text)
    except BadRule as error:
        sentence = str(error)
        raise Refusal(422, "bad_rule", f"{sentence[0].upper()}{sentence[1:]}.") from error
