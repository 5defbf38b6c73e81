"""`worker.holdings` and `worker.held`: what is hard to time with whole daemons.

Supervisors are started by the tests, or not at all: one that is not there has died.
"""

from __future__ import annotations

import threading
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from protocol.messages import (
    Attempt,
    Ended,
    Forget,
    Holding,
    PipelineJobEnded,
    Recorded,
    Start,
    Welcome,
)
from protocol.order import GitSource, Order
from protocol.results import Result
from tests.worker.list_mouth import ListMouth
from tests.worker.supervisor.attempts import folder, job, order
from worker.holdings import Holdings
from worker.slots import Slots
from worker.supervisor import attach
from worker.supervisor.aftermath import report_end
from worker.supervisor.settings import Settings
from worker.supervisor.spool import REPORTS

KEY = Attempt(7, 2)
ORDER = order(
    GitSource(repository="/no/where", commit="0" * 40), [[("build", job("true"))]]
)


class HoldingsTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.builds = folder(self) / "builds"
        self.launched: list[Path] = []
        self.launch_error: OSError | None = None
        self.holdings = self.new_holdings()
        self.addCleanup(lambda: self.holdings.detach())

    def new_holdings(self) -> Holdings:
        """As a new daemon finds them."""
        holdings = Holdings(
            reactor,
            self.builds,
            Settings(cache=str(self.builds)),
            slots=Slots(4),
            unfit=lambda order: "",
            free_bytes=0,
            launch=self._launch,
        )
        holdings.load()
        return holdings

    def _launch(self, place: Path) -> int:
        """No supervisor, as far as anybody can see; called in a thread."""
        self.launched.append(place)
        if self.launch_error is not None:
            raise self.launch_error
        return 2**22 + 1

    def session(self, recorded: int | None = None, forget: bool = False) -> ListMouth:
        """A session begins."""
        self.holdings.suspend()
        mouth = ListMouth()
        numbers = () if recorded is None else (recorded,)
        welcome = Welcome(
            version=1,
            session="s",
            master="m",
            heartbeat=5.0,
            recorded=tuple(Recorded(job=7, attempt=2, number=n) for n in numbers),
            forget=(KEY,) if forget else (),
        )
        self.holdings.resume(mouth, welcome)
        return mouth

    async def test_waiting_for_the_end_of_all_can_be_given_up(self) -> None:
        """By a daemon that stops, for one that does not end."""
        go = threading.Event()
        self.addCleanup(go.set)
        self.patch(self, "_launch", lambda place: go.wait() and 2**22 + 1)
        self.holdings = self.new_holdings()
        self.session()
        self.holdings.take(Start(order=ORDER))
        waiting = Deferred.fromCoroutine(self.holdings.cancel_all("stopped"))
        await _turn()
        self.assertNoResult(waiting)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)

    async def until_gone(self) -> None:
        """Nothing of the attempt is left."""
        while (self.builds / "7-2").exists():
            await _turn()

    def on_disk(self, asked: Order = ORDER, *, ended: bool = True) -> Path:
        """An attempt that an earlier daemon left; its end is reported."""
        place = self.builds / f"{asked.job}-{asked.attempt}"
        attach.write_order(place, asked, Settings(cache=str(self.builds)))
        if ended:
            report_end(place, asked, Result.ERROR, "a test")
        return place

    # -- sessions that end at the wrong moment

    async def test_an_order_of_a_session_that_is_over_is_never_started(self) -> None:
        first = self.session()
        self.holdings.take(Start(order=ORDER))
        second = self.session()
        self.assertEqual(self.holdings.holding(), ())
        while not (self.builds / "7-2").exists():
            await _turn()
        await self.until_gone()
        self.assertEqual((self.launched, first.said, second.said), ([], [], []))

    async def test_one_that_is_being_started_is_named_by_the_next_hello(self) -> None:
        first = self.session()
        self.holdings.take(Start(order=ORDER))
        while not self.holdings.holding():
            await _turn()
        self.assertEqual(self.holdings.holding(), (Holding(job=7, attempt=2, lives=False),))
        second = self.session(recorded=0)
        await second.until("end 7")
        self.assertEqual(first.said, [])
        self.assertNotIn("accepted 7", second.said)

    async def test_one_that_cannot_be_started_is_refused(self) -> None:
        self.launch_error = OSError("no memory")
        mouth = self.session()
        self.holdings.take(Start(order=ORDER))
        await mouth.until("refused 7: its supervisor could not be started: no memory")
        await self.until_gone()
        self.assertEqual(self.holdings.holding(), ())

    async def test_if_the_next_session_knows_of_it_its_end_is_reported(self) -> None:
        self.launch_error = OSError("no memory")
        self.session()
        self.holdings.take(Start(order=ORDER))
        while not self.holdings.holding():
            await _turn()
        mouth = self.session(recorded=0)
        await mouth.until("end 7")
        end = mouth.reports[-1].body
        assert isinstance(end, Ended)
        self.assertEqual(end.result, Result.ERROR)
        self.assertIn("no memory", end.reason)

    async def test_a_disk_that_does_not_take_the_order_refuses_it(self) -> None:
        self.builds.rmdir()
        self.builds.touch()
        mouth = self.session()
        self.holdings.take(Start(order=ORDER))
        await mouth.until("refused 7: ")
        self.assertIn(str(self.builds), mouth.said[0])

    async def test_a_stopping_worker_takes_no_order(self) -> None:
        mouth = self.session()
        await self.holdings.cancel_all("stopping")
        self.holdings.take(Start(order=ORDER))
        self.assertEqual(mouth.said, ["refused 7: this worker is stopping"])

    # -- what an earlier daemon left

    async def test_what_is_left_is_reported_and_then_removed(self) -> None:
        self.on_disk()
        self.holdings = self.new_holdings()
        mouth = self.session(recorded=0)
        self.assertEqual([type(r.body) for r in mouth.reports], [PipelineJobEnded, Ended])
        self.holdings.settle(Recorded(job=7, attempt=2, number=1))
        self.assertEqual(len(self.holdings.holding()), 1)
        self.holdings.settle(Recorded(job=7, attempt=2, number=2))
        self.assertEqual(self.holdings.holding(), ())
        await self.until_gone()

    async def test_one_whose_end_the_master_has_is_removed_without_a_word(self) -> None:
        self.on_disk()
        self.holdings = self.new_holdings()
        mouth = self.session(recorded=2)
        await self.until_gone()
        self.assertEqual(mouth.said, [])

    async def test_one_that_the_master_gave_away_is_removed(self) -> None:
        self.on_disk()
        self.holdings = self.new_holdings()
        mouth = self.session(forget=True)
        await self.until_gone()
        self.assertEqual(mouth.said, [])

    async def test_one_that_never_began_is_reported_as_an_error(self) -> None:
        self.on_disk(ended=False)
        self.holdings = self.new_holdings()
        mouth = self.session(recorded=0)
        await mouth.until("end 7")
        end = mouth.reports[-1].body
        assert isinstance(end, Ended)
        self.assertEqual(end.result, Result.ERROR)
        self.assertEqual(self.launched, [])

    # -- disks that lost something

    async def test_fewer_reports_than_the_master_has_is_a_lost_attempt(self) -> None:
        self.on_disk()
        self.holdings = self.new_holdings()
        mouth = self.session(recorded=3)
        [said] = mouth.said
        self.assertTrue(said.startswith("give up: this worker lost job 7"), said)
        self.assertEqual(self.holdings.holding(), ())
        await self.until_gone()

    async def test_a_damaged_spool_is_a_lost_attempt(self) -> None:
        place = self.on_disk()
        content = bytearray((place / REPORTS).read_bytes())
        content[20] ^= 1
        (place / REPORTS).write_bytes(content)
        self.holdings = self.new_holdings()
        mouth = self.session(recorded=0)
        self.assertIn("is damaged", mouth.said[0])
        self.assertEqual(self.holdings.holding(), ())

    async def test_an_order_that_is_not_whole_was_never_accepted(self) -> None:
        place = self.on_disk()
        (place / attach.ORDER).write_bytes(b'{"job": 7')
        self.holdings = self.new_holdings()
        self.assertEqual(self.holdings.holding(), ())
        await self.until_gone()

    # -- a line that is full

    def two_and_a_line_for_one(self) -> ListMouth:
        """Two attempts with two reports each; the line takes two reports in all."""
        self.on_disk()
        self.on_disk(order(ORDER.source, [[("build", job("true"))]], job=8))
        self.holdings = self.new_holdings()
        mouth = ListMouth()
        mouth.room = 2
        welcome = Welcome(version=1, session="s", master="m", heartbeat=5.0)
        self.holdings.resume(mouth, welcome)
        self.assertEqual([report.job for report in mouth.reports], [7, 7])
        mouth.room = 4
        return mouth

    async def test_who_found_no_room_in_the_line_gets_it_when_others_are_recorded(
        self,
    ) -> None:
        mouth = self.two_and_a_line_for_one()
        self.holdings.settle(Recorded(job=7, attempt=2, number=1))
        self.assertEqual([report.job for report in mouth.reports], [7, 7, 8, 8])

    async def test_and_when_others_are_forgotten(self) -> None:
        mouth = self.two_and_a_line_for_one()
        self.holdings.forget(Forget(job=7, attempt=2))
        await mouth.until("end 8")


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
