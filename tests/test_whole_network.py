"""A master and a worker on two hosts whose network is cut, loses packets, or forgets.

With HEADRACE_LONG=1 the cut lasts 120 seconds, else 20.
"""

from __future__ import annotations

import signal

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.farm import folder_for
from tests.laws import IS_LONG
from tests.masters import MasterHome
from tests.networks import MASTER, TwoHosts
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome

CUT = 120.0 if IS_LONG else 20.0
BUILDS = 4
#: Speaks all the time, until a file is there.
TALKS = """\
pipeline: [talk]
jobs:
  talk:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      echo begun >> {folder}/marks{number}
      for round in $(seq 20); do seq 1000; done
      until test -e {folder}/gate; do sleep 0.1; done
      for round in $(seq 20); do seq 1000; done
      echo the end
"""
ROUND = "\n".join(map(str, range(1, 1001))) + "\n"


class TwoHostsTests(TestCase):
    timeout = 400
    scheme = "pb"

    async def setUp(self) -> None:  # type: ignore[override]
        dsn = fresh_dsn(self)
        self.hosts = TwoHosts(self)
        self.folder = folder_for(self)
        self.master = MasterHome(
            self,
            dsn,
            host=MASTER,
            hosts=[MASTER],
            plain_text_off_loopback=True,
        )
        await self.master.start()
        self.home = WorkerHome(self, self.master.port, slots=BUILDS)
        settings = yaml.safe_load(self.home.settings.read_text())
        port = self.master.port if self.scheme == "pb" else self.master.http
        settings["masters"] = [f"{self.scheme}://{MASTER}:{port}"]
        settings["plain_text_off_loopback"] = True
        self.home.settings.write_text(yaml.safe_dump(settings))
        self.daemon = self.home.start(before=self.hosts.on_second)
        await self.master.worker("ant", "connected")

    async def begin(self) -> None:
        self.jobs = [
            job
            for number in range(BUILDS)
            for job in await self.master.submit(
                self,
                TALKS.replace("{folder}", str(self.folder)).replace(
                    "{number}", str(number)
                ),
            )
        ]

    def open(self) -> None:
        (self.folder / "gate").touch()

    async def check(self, unanswered: str | None = None) -> None:
        """Every build ended in its first attempt, ran once, and its log is whole.

        ``unanswered``: why one may have had earlier attempts nevertheless.
        """
        ended = await gatherResults(
            [Deferred.fromCoroutine(self.master.done(job)) for job in self.jobs]
        )
        for number, job in enumerate(ended):
            self.assertEqual(job.result, "success")
            *earlier, _ = sorted(job.attempts, key=lambda attempt: attempt.number)
            self.assertEqual({each.reason for each in earlier} - {unanswered}, set())
            log = await self.master.logged(job.id)
            self.assertIn(f"{ROUND * 40}the end\n", log)
            marks = (self.folder / f"marks{number}").read_text()
            self.assertIn(marks.count("begun\n"), range(1, job.attempt + 1))

    async def spoke(self) -> None:
        for job in self.jobs:
            await self.master.logged(job, ROUND * 20)

    async def test_a_cut_of_the_cable_loses_nothing(self) -> None:
        await self.begin()
        await self.spoke()
        self.hosts.cut()
        self.open()  # They speak and end while nobody hears them.
        await self.master.worker("ant", "unreachable")
        await deferLater(reactor, CUT - 14)
        self.hosts.mend()
        await self.check()
        await self.master.worker("ant", "connected")

    async def test_a_third_of_all_packets_lost_loses_nothing(self) -> None:
        self.hosts.lose(0.3)
        await self.begin()
        await self.spoke()
        self.open()
        # TCP's pauses double: one order in a hundred or so is not answered for 30 s.
        await self.check(unanswered="worker ant refused it: no answer within 30 seconds")

    async def test_a_line_of_which_only_one_side_knows_is_replaced(self) -> None:
        await self.begin()
        await self.spoke()
        self.hosts.cut()
        self.daemon.signal(signal.SIGKILL)  # Its farewell does not arrive.
        await self.daemon.gone()
        self.hosts.mend()
        self.home.start(before=self.hosts.on_second)
        while self.master.log.count("joined from") < 2:
            await deferLater(reactor, 0.05)
        self.open()
        await self.check()


class WebSocketTwoHostsTests(TwoHostsTests):
    scheme = "ws"
