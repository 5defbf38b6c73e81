from __future__ import annotations

from twisted.internet import reactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import provider

from buildmaster.database import Cursor, Database
from buildmaster.durability import warn, warnings
from tests.postgres import fresh_dsn


class WarningTests(SynchronousTestCase):
    def test_a_server_that_keeps_its_word_is_not_spoken_of(self) -> None:
        on = {"fsync": "on", "full_page_writes": "on"}
        for commits in ("on", "local", "remote_write", "remote_apply"):
            self.assertEqual(warnings({**on, "synchronous_commit": commits}), [])

    def test_each_setting_that_is_off_gets_a_sentence_that_says_what_is_lost(self) -> None:
        [one] = warnings({"fsync": "on", "synchronous_commit": "off"})
        self.assertIn("synchronous_commit = off", one)
        self.assertIn("runs that were promised", one)
        self.assertEqual(len(warnings({"fsync": "off", "synchronous_commit": "off"})), 2)


class ServerTests(TestCase):
    async def test_the_server_is_asked(self) -> None:
        database = Database(fresh_dsn(self), reactor, size=1)
        await database.start()
        self.addCleanup(database.stop)
        heard: list[str] = []

        @provider(ILogObserver)
        def observer(event: LogEvent) -> None:
            heard.append(event.get("sentence", ""))

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

        async def on_one_that_forgets(cursor: Cursor) -> None:
            await cursor.run("SET LOCAL synchronous_commit = off")
            await warn(cursor)

        await database.transaction(on_one_that_forgets)
        self.assertTrue(any("synchronous_commit = off" in each for each in heard), heard)
