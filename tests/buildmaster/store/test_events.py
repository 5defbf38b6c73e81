from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from buildmaster.database import Cursor
from buildmaster.store.events import (
    START,
    BadEventId,
    EventId,
    Reading,
    events_after,
    newest,
)
from tests.buildmaster.http.rows import HOSTILE, Rows, connected

NUMBERS = st.integers(0, 2**63 - 1)


class EventIdTests(SynchronousTestCase):
    @given(NUMBERS, NUMBERS)
    def test_its_text_leads_back_to_it(self, transaction: int, number: int) -> None:
        place = EventId(transaction, number)
        self.assertEqual(EventId.parse(str(place)), place)

    @given(st.text())
    def test_anything_else_is_refused_in_a_sentence(self, text: str) -> None:
        try:
            EventId.parse(text)
        except BadEventId:
            return
        self.assertRegex(text, r"\A[0-9]+-[0-9]+\Z")

    def test_numbers_that_postgresql_does_not_have_are_refused(self) -> None:
        for text in ("9223372036854775808-1", "1-9223372036854775808", "1-1\n", "-1-1"):
            with self.assertRaises(BadEventId):
                EventId.parse(text)


class EventsAfterTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.rows = Rows(self.database)

    def kinds(self, reading: Reading) -> list[str]:
        return [event.kind for event in reading.events]

    async def test_events_come_in_order_as_documents(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job(run)
        await self.rows.event("job.ready", job=job, payload=json.dumps({"x": HOSTILE}))
        last = await self.rows.event("run.done", run=run)
        await self.rows.until_readable(last)
        reading = await events_after(self.database, START)
        self.assertEqual(self.kinds(reading), ["job.ready", "run.done"])
        ready, done = reading.events
        document = json.loads(ready.document)
        self.assertEqual(document["id"], str(ready.id))
        self.assertEqual(document["payload"], {"x": HOSTILE})
        self.assertEqual((document["job"], document["run"]), (job, None))
        self.assertEqual((ready.job, ready.runs, done.runs), (job, (run,), (run,)))
        self.assertEqual(str(reading.position), last)
        self.assertEqual(await newest(self.database), reading.position)
        self.assertFalse(reading.is_full)

    async def test_a_full_page_goes_on_after_its_last_event(self) -> None:
        for kind in "abc":
            last = await self.rows.event(kind)
        await self.rows.until_readable(last)
        reading = await events_after(self.database, START, limit=2)
        self.assertEqual(self.kinds(reading), ["a", "b"])
        self.assertTrue(reading.is_full)
        reading = await events_after(self.database, reading.position, limit=2)
        self.assertEqual(self.kinds(reading), ["c"])

    async def test_a_reading_of_nothing_passes_over_what_others_wrote(self) -> None:
        job = await self.rows.job()
        last = await self.rows.event("noise")
        await self.rows.until_readable(last)
        reading = await events_after(self.database, START, job=job)
        self.assertEqual((reading.events, str(reading.position)), ((), last))

    async def test_a_run_hears_of_itself_and_of_its_jobs(self) -> None:
        run, other = await self.rows.run(), await self.rows.run()
        job, stranger = await self.rows.job(run), await self.rows.job(other)
        await self.rows.event("mine", job=job)
        await self.rows.event("not mine", job=stranger)
        await self.rows.event("nor this", run=other)
        await self.rows.until_readable(await self.rows.event("me", run=run))
        reading = await events_after(self.database, START, run=run)
        self.assertEqual(self.kinds(reading), ["mine", "me"])
        reading = await events_after(self.database, START, job=stranger)
        self.assertEqual(self.kinds(reading), ["not mine"])

    async def test_until_ends_a_reading(self) -> None:
        first = await self.rows.event("a")
        await self.rows.until_readable(await self.rows.event("b"))
        until = EventId.parse(first)
        reading = await events_after(self.database, START, until=until)
        self.assertEqual((self.kinds(reading), reading.position), (["a"], until))

    async def test_the_future_is_refused(self) -> None:
        with self.assertRaises(BadEventId):
            await events_after(self.database, EventId(2**60, 1))

    async def test_an_event_waits_for_older_transactions_to_end(self) -> None:
        """The one that began first commits last; reading in between sees neither."""
        begun: Deferred[None] = Deferred()
        may_commit: Deferred[None] = Deferred()

        async def slow(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO event (kind) VALUES ('slow')")
            begun.callback(None)
            await may_commit

        committed = Deferred.fromCoroutine(self.database.transaction(slow))
        await begun
        quick = await self.rows.event("quick")
        between = await events_after(self.database, START)
        self.assertEqual(self.kinds(between), [])
        self.assertTrue(between.holds_back)
        may_commit.callback(None)
        await committed
        await self.rows.until_readable(quick)
        after = await events_after(self.database, between.position)
        self.assertEqual(self.kinds(after), ["slow", "quick"])
        self.assertFalse(after.holds_back)
