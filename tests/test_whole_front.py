"""A master that gives no work, beside one that does: all that people do goes through it."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster.client.documents import JobDocument
from tests.farm import folder_for
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome

GATED = """\
pipeline: [wait]
jobs:
  wait:
    series: bookworm
    architectures: amd64
    run: |
      echo begun
      until test -e {gate}; do sleep 0.05; done
      echo the end
"""


class FrontTests(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        dsn = fresh_dsn(self)
        self.mill = MasterHome(self, dsn, "mill")
        self.front = MasterHome(self, dsn, "front")
        text = self.front.settings.read_text()
        mine = f"workers: {self.front.host}:{self.front.port}"
        self.assertIn(mine, text)
        self.front.settings.write_text(text.replace(mine, "workers: null"))
        self.daemon = await self.mill.start()
        self.front_daemon = await self.front.start()
        WorkerHome(self, self.mill.port, slots=2).start()
        await self.front.worker("ant", "connected")
        self.gate = folder_for(self) / "gate"

    async def test_it_takes_requests_shows_what_happens_and_dispatches_nothing(
        self,
    ) -> None:
        addresses = json.loads((self.front.folder / "addresses.json").read_text())
        self.assertIsNone(addresses["workers"])
        config = GATED.replace("{gate}", str(self.gate))
        [first] = await self.front.submit(self, config)
        [second] = await self.front.submit(self, f"{config}# another\n")
        await gatherResults(
            [
                Deferred.fromCoroutine(self.front.logged(job, "begun"))
                for job in (first, second)
            ]
        )
        await self.front.client.cancel("job", second, "a change of mind")
        ended = await self.front.done(second)
        self.assertEqual(ended.result, "cancelled")
        self.gate.touch()
        ended = await self.front.done(first)
        self.assertEqual(ended.result, "success")
        self.assertIn("the end", await self.front.logged(first, "the end"))
        self.assertNotIn("goes to worker", self.front.log)
        self.assertIn("goes to worker", self.mill.log)

    async def test_work_goes_on_without_it_and_it_outlives_the_other(self) -> None:
        [job] = await self.front.submit(self, GATED.replace("{gate}", str(self.gate)))
        await self.front.logged(job, "begun")
        await self.front_daemon.kill()
        self.gate.touch()
        ended: JobDocument = await self.mill.done(job)
        self.assertEqual(ended.result, "success")
        await self.front.start()
        await self.daemon.kill()
        self.assertEqual((await self.front.client.job(job)).result, "success")
