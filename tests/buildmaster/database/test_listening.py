"""Notifications, as `buildmaster.database.listening` hears them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.database import Cursor
from buildmaster.database.connection import Connection
from tests.buildmaster.database.farm_database import Waiting, at_once, kill_all, started
from tests.postgres import empty_dsn


class ListeningTests(TestCase):
    """One listening connection beside the pool."""

    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.dsn = empty_dsn(self)
        self.database = await started(self, self.dsn, size=1)

    async def listen(self, channel: str) -> Waiting:
        heard = Waiting()
        self.database.listen(channel, heard.add)
        self.assertEqual(await heard.until(1), [""])
        return heard

    async def test_ten_thousand_come_complete_and_in_order(self) -> None:
        """The driver's own observers get them mixed up."""
        heard = await self.listen("race")
        half = "SELECT count(pg_notify('race', g::text)) FROM generate_series(%s, %s) g"
        await self.database.one(half, (1, 5000))
        at_once(self.dsn, half, (5001, 10000))
        self.assertEqual(
            await heard.until(10_001), ["", *(str(n) for n in range(1, 10_001))]
        )

    async def test_a_notification_comes_without_being_asked_for(self) -> None:
        """Nothing else goes on on that connection."""
        heard = await self.listen("race")
        at_once(self.dsn, "NOTIFY race, 'wheel'")
        self.assertEqual((await heard.until(2))[1:], ["wheel"])

    async def test_only_what_was_committed_is_heard(self) -> None:
        """And a transaction's equal notifications are one."""
        heard = await self.listen("race")

        async def work(cursor: Cursor) -> None:
            for _ in range(5):
                await cursor.run("NOTIFY race, 'a'")

        async def fail(cursor: Cursor) -> None:
            await cursor.run("NOTIFY race, 'rolled back'")
            raise KeyError

        failing = Deferred.fromCoroutine(self.database.transaction(fail))
        await self.assertFailure(failing, KeyError)
        await self.database.transaction(work)
        await self.database.run("NOTIFY race, 'b'")
        self.assertEqual(await heard.until(3), ["", "a", "b"])

    async def test_after_a_loss_it_listens_again_and_says_to_look_anyway(self) -> None:
        """What was sent meanwhile is lost."""
        heard = await self.listen("race")
        for round in range(3):
            kill_all(self.dsn)
            at_once(self.dsn, "NOTIFY race, 'lost'")
            await heard.until(2 + 2 * round)
            at_once(self.dsn, "NOTIFY race, 'heard'")
            await heard.until(3 + 2 * round)
        self.assertEqual(heard.values, ["", *(["", "heard"] * 3)])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_several_channels_and_listeners_at_any_time(self) -> None:
        """Also one that comes while listening begins."""
        first, second, third = Waiting(), Waiting(), Waiting()
        self.database.listen("race", first.add)
        await deferLater(self.reactor, 0)
        self.database.listen("wheel", second.add)
        await gatherResults([first.until(1), second.until(1)])
        self.database.listen("wheel", third.add)
        await third.until(1)
        await deferLater(self.reactor, 0.1)  # anything too much would come by now
        for each in (first, second, third):
            self.assertEqual(set(each.values), {""})
            each.values.clear()
        await self.database.run("NOTIFY race, '1'")
        await self.database.run("NOTIFY wheel, '2'")
        await gatherResults([each.until(1) for each in (first, second, third)])
        self.assertEqual([first.values, second.values, third.values], [["1"], ["2"], ["2"]])

    async def test_a_new_channel_beside_a_live_one_is_armed(self) -> None:
        """The first channel is armed for long."""
        await self.listen("race")
        heard = await self.listen("wheel")
        await self.database.run("NOTIFY wheel, 'x'")
        self.assertEqual(await heard.until(2), ["", "x"])

    async def test_a_listener_that_fails_hurts_nobody_else(self) -> None:
        """It is logged, and the next notification comes."""
        good = Waiting()

        def fail(payload: str) -> None:
            raise KeyError(payload)

        self.database.listen("race", fail)
        self.database.listen("race", good.add)
        await good.until(1)
        await self.database.run("NOTIFY race, 'x'")
        self.assertEqual(await good.until(2), ["", "x"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    async def test_a_server_that_refuses_to_notify_is_asked_again(self) -> None:
        """As one does that is not yet promoted from being a standby."""
        execute = Connection.execute
        refused: list[str] = []

        def refuse(connection: Connection, sql: str, *parameters: Any) -> Deferred[Any]:
            if sql.startswith("LISTEN") and len(refused) < 2:
                refused.append(sql)
                sql = "SELECT 1/0"
            return execute(connection, sql, *parameters)

        self.patch(Connection, "execute", refuse)
        await self.listen("race")
        self.assertEqual(len(refused), 2)

    async def test_a_channel_is_a_plain_name(self) -> None:
        """LISTEN takes no parameters, so nothing else may get in."""
        for name in ("", "a b", "a;DROP TABLE x", 'a"', "A", "a\n", "x" * 64):
            with self.assertRaises(ValueError):
                self.database.listen(name, print)

    async def test_nobody_is_called_after_the_stop(self) -> None:
        """Not even by the end of the connection."""
        heard = await self.listen("race")
        await self.database.stop()
        at_once(self.dsn, "NOTIFY race, 'late'")
        await deferLater(self.reactor, 0.05)
        self.assertEqual(heard.values, [""])
