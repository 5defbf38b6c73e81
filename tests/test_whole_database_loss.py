"""PostgreSQL that goes away while builds report, start and end."""

from __future__ import annotations

import signal

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.client.http import ClientError
from tests.masters import MasterHome
from tests.postgres import OwnServer
from tests.worker.daemons import WorkerHome

#: Speaks for about two seconds, in many chunks.
TALKS = """\
pipeline: [talk]
jobs:
  talk:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      for round in $(seq 20); do seq 1000; sleep 0.1; done
      echo the end of {number}
"""
ROUND = "\n".join(map(str, range(1, 1001))) + "\n"
BUILDS = 6


class DatabaseLossTests(TestCase):
    timeout = 240

    async def setUp(self) -> None:  # type: ignore[override]
        self.server = OwnServer(self)
        self.master = MasterHome(self, self.server.dsn)
        await self.master.start()
        # Some run, some wait.
        WorkerHome(self, self.master.port, slots=3).start()
        await self.master.worker("ant", "connected")
        self.jobs = [
            job
            for number in range(BUILDS)
            for job in await self.master.submit(
                self, TALKS.replace("{number}", str(number))
            )
        ]
        await self.master.logged(self.jobs[0], "1000\n")

    async def check(self) -> None:
        """All builds end in their first attempt, once, with whole logs."""
        ended = await gatherResults(
            [Deferred.fromCoroutine(self.done(job)) for job in self.jobs]
        )
        self.assertEqual(ended, [("success", 1)] * BUILDS)
        for number, job in enumerate(self.jobs):
            log = await self.master.logged(job)
            self.assertIn(f"{ROUND * 20}the end of {number}\n", log)

    async def done(self, job: int) -> tuple[str | None, int]:
        """How it ended; the farm may say meanwhile that its database is away."""
        while True:
            try:
                document = await self.master.client.job(job)
            except ClientError:
                pass
            else:
                if document.state == "done":
                    return document.result, document.attempt
            await deferLater(reactor, 0.1)

    async def test_all_backends_killed_again_and_again(self) -> None:
        for _ in range(8):
            self.server.kill_backends()
            await deferLater(reactor, 0.2)
        await self.check()

    async def test_restarted_in_order(self) -> None:
        self.server.stop(signal.SIGINT)
        await deferLater(reactor, 1.0)
        self.server.start()
        await self.check()

    async def test_crashed_and_started_again(self) -> None:
        self.server.stop(signal.SIGQUIT)
        self.server.start()
        await self.check()
