from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from buildmaster import feed as feed_module
from buildmaster.database import Cursor, Database, DatabaseAway
from buildmaster.feed import (
    EventFeed,
    FeedStopped,
    Follower,
    FollowerTooSlow,
    TooManyFollowers,
)
from buildmaster.store.events import START, Event, EventId
from tests.buildmaster.http.rows import Rows, connected


class FeedCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.rows = Rows(self.database)

    async def feed(self, **more: Any) -> EventFeed:
        feed = EventFeed(self.database, reactor, **more)
        self.addCleanup(feed.stop)
        await feed.start()
        return feed

    async def take(self, follower: Follower, count: int) -> list[Event]:
        events: list[Event] = []
        while len(events) < count:
            events += await follower.next()
        return events

    def kinds(self, events: list[Event]) -> list[str]:
        return [event.kind for event in events]


class EventFeedTests(FeedCase):
    async def test_a_follower_hears_what_happens_after_it_joined(self) -> None:
        await self.rows.until_readable(await self.rows.event("old"))
        feed = await self.feed(interval=3600)
        follower = feed.follow()
        await self.rows.event("new")
        self.assertEqual(self.kinds(await self.take(follower, 1)), ["new"])

    async def test_a_follower_goes_on_from_where_it_was(self) -> None:
        await self.rows.event("a")
        since = await self.rows.event("b")
        await self.rows.until_readable(await self.rows.event("c"))
        feed = await self.feed()
        follower = feed.follow(EventId.parse(since))
        await self.rows.event("d")
        self.assertEqual(self.kinds(await self.take(follower, 2)), ["c", "d"])

    async def test_nothing_is_missed_or_repeated_when_commits_come_out_of_order(
        self,
    ) -> None:
        """Of two transactions the first to begin commits last, again and again."""
        feed = await self.feed(interval=0.05)
        early, late = feed.follow(), feed.follow(START)

        async def pair(number: int) -> None:
            begun: Deferred[None] = Deferred()
            may_commit: Deferred[None] = Deferred()

            async def slow(cursor: Cursor) -> None:
                await cursor.run(
                    "INSERT INTO event (kind) VALUES (%s)", (f"slow {number}",)
                )
                begun.callback(None)
                await may_commit

            committed = Deferred.fromCoroutine(self.database.transaction(slow))
            await begun
            await self.rows.event(f"quick {number}")
            may_commit.callback(None)
            await committed

        for number in range(10):
            await pair(number)
        expected = [
            f"{speed} {number}" for number in range(10) for speed in ("slow", "quick")
        ]
        for follower in (early, late):
            events = await self.take(follower, 20)
            self.assertEqual(self.kinds(events), expected)
            self.assertEqual(sorted(event.id for event in events), [e.id for e in events])
        self.assertEqual(await late.next(0), ())

    async def test_an_event_held_back_comes_though_nobody_notifies(self) -> None:
        """The older transaction ends without an event, so without a notification."""
        feed = await self.feed(interval=3600)
        follower = feed.follow()
        begun: Deferred[None] = Deferred()
        may_end: Deferred[None] = Deferred()

        async def silent(cursor: Cursor) -> None:
            await cursor.one("SELECT pg_current_xact_id()::text")
            begun.callback(None)
            await may_end

        ended = Deferred.fromCoroutine(self.database.transaction(silent))
        await begun
        await self.rows.event("held back")
        self.assertEqual(await follower.next(0.03), ())
        may_end.callback(None)
        await ended
        self.assertEqual(self.kinds(await self.take(follower, 1)), ["held back"])

    async def test_filters_let_through_what_concerns_a_run_or_a_job(self) -> None:
        run = await self.rows.run()
        job, other = await self.rows.job(run), await self.rows.job()
        feed = await self.feed()
        of_run, of_job = feed.follow(run=run), feed.follow(job=other)
        await self.rows.event("noise")
        await self.rows.event("job", job=job)
        await self.rows.event("other", job=other)
        await self.rows.event("run", run=run)
        self.assertEqual(self.kinds(await self.take(of_run, 2)), ["job", "run"])
        self.assertEqual(self.kinds(await self.take(of_job, 1)), ["other"])

    async def test_who_asks_to_go_on_ahead_of_the_feed_hears_nothing_twice(self) -> None:
        feed = await self.feed()
        ahead = feed.follow()
        place = await self.rows.event("known")
        follower = feed.follow(EventId.parse(place))
        await self.take(ahead, 1)
        await self.rows.event("new")
        self.assertEqual(self.kinds(await self.take(follower, 1)), ["new"])

    async def test_a_slow_follower_is_dropped_and_the_others_hear_on(self) -> None:
        self.patch(feed_module, "BACKLOG", 5)
        feed = await self.feed()
        slow, quick = feed.follow(), feed.follow()
        heard: list[Event] = []
        for number in range(10):
            await self.rows.event(f"{number}")
            heard += await self.take(quick, 1)
        self.assertEqual(self.kinds(heard), [str(number) for number in range(10)])
        with self.assertRaises(FollowerTooSlow):
            await slow.next()

    async def test_there_is_a_bound_on_followers(self) -> None:
        self.patch(feed_module, "FOLLOWERS", 2)
        feed = await self.feed()
        first = feed.follow()
        feed.follow()
        with self.assertRaises(TooManyFollowers):
            feed.follow()
        first.close()
        feed.follow()

    async def test_stopping_ends_those_who_wait(self) -> None:
        feed = await self.feed()
        waiting = Deferred.fromCoroutine(feed.follow().next())
        await feed.stop()
        await self.assertFailure(waiting, FeedStopped)
        with self.assertRaises(FeedStopped):
            feed.follow()

    async def test_a_cancelled_reader_can_read_on(self) -> None:
        feed = await self.feed()
        follower = feed.follow()
        waiting = Deferred.fromCoroutine(follower.next())
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        await self.rows.event("next")
        self.assertEqual(self.kinds(await self.take(follower, 1)), ["next"])

    async def test_lost_connections_lose_no_events(self) -> None:
        feed = await self.feed(interval=0.05)
        follower = feed.follow()
        for kind in ("before", "after"):
            await self.database.rows(
                """
                SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                """
            )
            await self.rows.event(kind)
        self.assertEqual(self.kinds(await self.take(follower, 2)), ["before", "after"])

    async def test_many_followers_hear_the_same(self) -> None:
        feed = await self.feed()
        followers = [feed.follow() for _ in range(50)]
        await self.rows.event("for all")
        told = await gatherResults(
            [Deferred.fromCoroutine(self.take(each, 1)) for each in followers]
        )
        self.assertEqual({event.kind for events in told for event in events}, {"for all"})


class AwayDatabase:
    """A database that is away until it is told to be back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_away = True
        self.asked = 0

    def listen(self, channel: str, heard: object) -> None:
        """Nothing is heard."""

    async def one(self, sql: str, parameters: Any = ()) -> Any:
        return await self._ask(self._database.one, sql, parameters)

    async def rows(self, sql: str, parameters: Any = ()) -> Any:
        return await self._ask(self._database.rows, sql, parameters)

    async def _ask(self, method: Any, *arguments: Any) -> Any:
        self.asked += 1
        if self.is_away:
            raise DatabaseAway("it is away")
        return await method(*arguments)


class AwayTests(FeedCase):
    async def test_the_feed_asks_on_its_clock_until_the_database_is_back(self) -> None:
        clock, away = Clock(), AwayDatabase(self.database)
        feed = EventFeed(away, clock, interval=1.0)  # type: ignore[arg-type]
        started = feed.start()
        clock.advance(1)
        clock.advance(1)
        self.assertEqual(away.asked, 3)
        with self.assertRaises(FeedStopped):
            feed.follow()
        away.is_away = False
        clock.advance(1)
        await started
        feed.follow()
        await feed.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class SlowDatabase(AwayDatabase):
    """A database that answers a reading of events when it is told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.is_away = False
        self.readings: list[Deferred[None]] = []

    async def rows(self, sql: str, parameters: Any = ()) -> Any:
        may_go_on: Deferred[None] = Deferred()
        self.readings.append(may_go_on)
        await may_go_on
        return await super().rows(sql, parameters)


class WakeTests(FeedCase):
    async def test_a_wake_while_reading_leads_to_another_reading_at_once(self) -> None:
        clock, slow = Clock(), SlowDatabase(self.database)
        feed = EventFeed(slow, clock, interval=1.0)  # type: ignore[arg-type]
        await feed.start()
        follower = feed.follow()
        while not slow.readings:
            await self.database.one("SELECT 1")
        feed.wake()
        feed.wake()
        slow.readings.pop().callback(None)
        while not clock.getDelayedCalls():
            await self.database.one("SELECT 1")
        clock.advance(0)
        [reading] = slow.readings
        await self.rows.until_readable(await self.rows.event("between"))
        reading.callback(None)
        self.assertEqual(self.kinds(await self.take(follower, 1)), ["between"])
        await feed.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class SlowNewest(AwayDatabase):
    """A database that says what is newest when it is told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.is_away = False
        self.may_say: Deferred[None] | None = None
        self.is_asked: Deferred[None] = Deferred()

    async def one(self, sql: str, parameters: Any = ()) -> Any:
        if self.may_say is not None:
            self.is_asked.callback(None)
            await self.may_say
        return await super().one(sql, parameters)


class JoiningTests(FeedCase):
    async def test_who_joins_while_the_feed_looks_where_it_stands_misses_nothing(
        self,
    ) -> None:
        """A feed that nobody follows leaps over all that is old; not over a promise."""
        clock, slow = Clock(), SlowNewest(self.database)
        feed = EventFeed(slow, clock, interval=1.0)  # type: ignore[arg-type]
        await feed.start()
        slow.may_say = Deferred()
        clock.advance(1)
        await slow.is_asked
        follower = feed.follow()
        await self.rows.until_readable(await self.rows.event("while it looks"))
        may_say, slow.may_say = slow.may_say, None
        may_say.callback(None)
        self.assertEqual(self.kinds(await self.take(follower, 1)), ["while it looks"])
        await feed.stop()


class LogWatchTests(FeedCase):
    async def test_a_notification_wakes_those_who_read_that_log(self) -> None:
        feed = await self.feed(interval=3600)
        watch = feed.watch_log(7)
        self.addCleanup(watch.close)
        changed = Deferred.fromCoroutine(watch.changed())
        await self.database.run("SELECT pg_notify('headrace_logs', '7')")
        await changed

    async def test_growth_between_two_looks_is_not_missed(self) -> None:
        feed = await self.feed(interval=3600)
        watch, other = feed.watch_log(7), feed.watch_log(8)
        waiting = Deferred.fromCoroutine(other.changed())
        await self.database.run(
            "SELECT pg_notify('headrace_logs', n) FROM (VALUES ('7'), ('8')) v (n)"
        )
        await waiting
        await watch.changed()
        watch.close()
        other.close()

    async def test_an_event_of_the_job_wakes_them_too(self) -> None:
        job = await self.rows.job()
        feed = await self.feed(interval=3600)
        watch = feed.watch_log(job)
        changed = Deferred.fromCoroutine(watch.changed())
        await self.rows.event("job.done", job=job)
        await changed
        watch.close()

    async def test_without_a_notification_they_look_after_a_while(self) -> None:
        clock, away = Clock(), AwayDatabase(self.database)
        feed = EventFeed(away, clock, interval=1.0)  # type: ignore[arg-type]
        feed.start()
        watch = feed.watch_log(7)
        changed = Deferred.fromCoroutine(watch.changed())
        clock.advance(0.5)
        self.assertNoResult(changed)
        clock.advance(0.5)
        await changed
        waiting = Deferred.fromCoroutine(watch.changed())
        await feed.stop()
        await self.assertFailure(waiting, FeedStopped)
        watch.close()
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_nonsense_in_a_notification_harms_nobody(self) -> None:
        feed = await self.feed(interval=3600)
        watch = feed.watch_log(7)
        changed = Deferred.fromCoroutine(watch.changed())
        for payload in ("x", "-1", "99999999999999999999999", "\u0663", "7"):
            await self.database.run("SELECT pg_notify('headrace_logs', %s)", (payload,))
        await changed
        watch.close()
