from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from buildmaster.database import Database
from buildmaster.status.questions import Jobs
from buildmaster.store.documents.jobs import job_list
from buildmaster.store.documents.known import Known
from tests.buildmaster.http.rows import HOSTILE, Rows, connected


class _Counting:
    """A database that notes the statements that make documents."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.made: list[list[int]] = []

    async def one(self, sql: str, parameters: Any = ()) -> Any:
        return await self._database.one(sql, parameters)

    async def rows(self, sql: str, parameters: Any = ()) -> Any:
        self.made.append(parameters[0])
        return await self._database.rows(sql, parameters)


class KnownTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.rows = Rows(self.database)
        self.counting: Any = _Counting(self.database)
        self.known = Known()

    async def same(self, asked: Jobs = Jobs()) -> str:  # noqa: B008
        """The list as it is, which what is known must not change; its version."""
        plain = await job_list(self.database, asked)
        listing = await job_list(self.counting, asked, self.known)
        again = await job_list(self.counting, asked, self.known)
        for each in (listing, again):
            self.assertEqual(each.document("jobs"), plain.document("jobs"))
        self.assertEqual(listing.version, again.version)
        return str(listing.version)

    async def done(self, run: int | None = None, **columns: Any) -> int:
        return await self.rows.job(
            run, state="done", result="success", finished_at="2026-01-01", **columns
        )

    async def test_what_is_done_is_made_once_and_what_is_not_each_time(self) -> None:
        done, going = await self.done(name=HOSTILE), await self.rows.job()
        await self.same()
        self.assertEqual(self.counting.made, [[going, done], [going]])
        await self.same(Jobs(order="id", state=("done",)))
        self.assertEqual(self.counting.made[2:], [])

    async def test_an_empty_list_is_known_too(self) -> None:
        await self.same()
        self.assertEqual(self.counting.made, [])

    async def test_every_change_of_a_row_shows_at_once(self) -> None:
        run = await self.rows.run()
        job = await self.done(run)
        versions = {await self.same()}
        for change in (
            "UPDATE job SET superseded_by = NULL, reason = 'x' WHERE id = %(job)s",
            "UPDATE job SET manual_score = 5 WHERE id = %(job)s",
            "UPDATE job SET state = 'ready', result = NULL, finished_at = NULL"
            " WHERE id = %(job)s",
            "UPDATE job SET state = 'done', result = 'failure', reason = 'y',"
            " finished_at = '2026-02-01' WHERE id = %(job)s",
        ):
            await self.database.run(change, {"job": job})
            versions.add(await self.same())
        self.assertEqual(len(versions), 5)

    async def test_a_run_that_takes_up_a_job_shows_at_once(self) -> None:
        job = await self.done(await self.rows.run())
        first = await self.same()
        other = await self.rows.run()
        await self.database.run(
            "INSERT INTO run_job (run, job, merged) VALUES (%s, %s, true)", (other, job)
        )
        self.assertNotEqual(await self.same(), first)

    async def test_chosen_fields_are_known_apart(self) -> None:
        await self.done()
        await self.same()
        await self.same(Jobs(fields=("state", "id")))
        await self.same(Jobs(fields=("id", "state")))
        self.assertEqual(len(self.counting.made), 2)

    async def test_pages_and_events_change_the_version(self) -> None:
        for _ in range(3):
            await self.done()
        versions = {await self.same(Jobs(limit=n)) for n in (1, 2, 3)}
        await self.rows.until_readable(await self.rows.event("job.done"))
        versions.add(await self.same(Jobs(limit=3)))
        self.assertEqual(len(versions), 4)

    async def test_no_more_is_kept_than_may_be(self) -> None:
        self.known = Known(most=2)
        jobs = [await self.done() for _ in range(5)]
        await self.same()
        self.assertEqual(self.counting.made[0], jobs[::-1])
        self.assertEqual(len(self.counting.made[1]), 3)
