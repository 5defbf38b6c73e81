"""Submits what workflows asked for: its source is looked at, then all is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from twisted.logger import Logger

from buildmaster.database import Cursor, Database, DatabaseAway
from buildmaster.ensuring import WantedJob, only_job, request_of_run
from buildmaster.requests import Refusal, SubmissionRequest
from buildmaster.store import workflows as store
from buildmaster.store.workflows import Chore
from buildmaster.submission import Prepared

#: Seconds that a source may take to be looked at; submissions at a time; tries.
LEASE = 300.0
AT_ONCE = 4
TRIES = 5
DELAY = 5.0

#: Looks at a source, and makes of it what can be written.
Prepare = Callable[[SubmissionRequest, str], Awaitable[Prepared]]


class Submitting:
    """One round submits what is due."""

    log = Logger()

    def __init__(self, database: Database, prepare: Prepare, master: str) -> None:
        self._database = database
        self._prepare = prepare
        self._master = master

    async def round(self) -> None:
        due = await store.take_chores(self._database, "build", self._master, AT_ONCE, LEASE)
        for chore in due:
            try:
                await self._submit(chore)
            except Refusal as error:
                await self._refused(chore, error)
            except DatabaseAway:
                raise
            except Exception as error:
                self.log.failure("could not submit for {name}", name=chore.workflow_name)
                told = f"the farm could not submit it: {type(error).__name__}: {error}"
                await self._refused(chore, Refusal(500, "defect", told))

    async def _submit(self, chore: Chore) -> None:
        by = f"workflow {chore.workflow_name}"
        if chore.kind == "ensure":
            await self._ensure(chore, by)
            return
        asked = msgspec.convert(chore.arguments, SubmissionRequest)
        submission = await self._prepare(_owned(asked, chore), by)

        async def work(cursor: Cursor) -> None:
            # Struck off and submitted together: it is submitted once.
            if await store.settle_chore(cursor, chore):
                submitted = await submission.store(cursor)
                await store.await_run(cursor, chore, submitted.run)

        await self._database.transaction(work)

    async def _ensure(self, chore: Chore, by: str) -> None:
        wanted = msgspec.convert(chore.arguments, WantedJob)
        asked = wanted.submission or await request_of_run(self._database, wanted)
        submission = only_job(await self._prepare(_owned(asked, chore), by), wanted)

        async def work(cursor: Cursor) -> None:
            if await store.settle_chore(cursor, chore):
                ensured = await submission.ensure(cursor)
                await store.await_job(cursor, chore.place, ensured.job, ensured.run)

        await self._database.transaction(work)

    async def _refused(self, chore: Chore, error: Refusal) -> None:
        if error.status >= 500 and chore.tries < TRIES:
            await store.postpone_chore(self._database, chore, DELAY * chore.tries)
            return
        problems = "; ".join(each.message for each in error.problems)
        payload = {"message": f"{error} {problems}".strip()[:4000], "kind": "Refusal"}
        await store.finish_chore(self._database, chore, "failed", payload)


def _owned(asked: SubmissionRequest, chore: Chore) -> SubmissionRequest:
    if asked.owner is not None:
        return asked
    return msgspec.structs.replace(asked, owner=chore.owner)
