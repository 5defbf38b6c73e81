"""Masters and workers of neighbouring releases, each a real daemon."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from protocol import PROTOCOL_VERSION
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.referring import FarmOfDaemons, WholeFarm
from tests.versions import WITHOUT_HANDED_FILES, speaking
from tests.worker.daemons import WorkerHome

SPEAKS = """\
pipeline: [one, two]
jobs:
  one: {series: bookworm, architectures: [amd64, arm64], run: 'echo first; seq 5000'}
  two: {series: bookworm, architectures: [amd64, arm64], run: 'echo second'}
"""
OLD = speaking(1, 1)
NEW = speaking(1, max(2, PROTOCOL_VERSION))
NEWER_ONLY = speaking(max(2, PROTOCOL_VERSION), max(2, PROTOCOL_VERSION))


class VersionTests(TestCase):
    timeout = 120

    async def builds(self, master: str, worker: str) -> None:
        """A build ends well, and stop and cancel are understood."""
        home = MasterHome(self, fresh_dsn(self), twistd=master)
        await home.start()
        WorkerHome(self, home.port).start(worker)
        await home.worker("ant", "connected")
        [job] = await home.submit(self, SPEAKS)
        ended = await home.done(job)
        self.assertEqual((ended.result, ended.attempt), ("success", 1))
        log = await home.logged(job)
        self.assertIn("\n".join(map(str, range(1, 5001))), log)

    async def test_an_old_worker_builds_for_a_new_master(self) -> None:
        await self.builds(NEW, OLD)

    async def test_a_new_worker_builds_for_an_old_master(self) -> None:
        await self.builds(OLD, NEW)

    async def refused(self, master: str, worker: str) -> str:
        home = MasterHome(self, fresh_dsn(self), twistd=master)
        await home.start()
        daemon = WorkerHome(self, home.port).start(worker)
        await daemon.until_said(b"upgrade the older one")
        return home.log

    async def test_who_shares_no_version_is_told_which_one_is_too_old(self) -> None:
        self.assertIn("versions 1 to 1", await self.refused(OLD, NEWER_ONLY))
        self.assertIn("the worker 1 to 1", await self.refused(NEWER_ONLY, OLD))


HANDS_OVER = """\
defaults: {series: noble, architectures: amd64}
jobs:
  build: {run: echo made > result, output: {paths: [result]}}
  test: {needs: [build], run: cat $CI_INPUT_BUILD/result}
"""


class HandedFilesTests(WholeFarm):
    """A worker that would leave aside what an order hands over, and say nothing."""

    async def start(self) -> None:
        self.master = MasterHome(self, fresh_dsn(self), workers=("ant", "bee"))
        await self.master.start()
        WorkerHome(self, self.master.port).start(WITHOUT_HANDED_FILES)
        await self.master.worker("ant", "connected")
        self.here = FarmOfDaemons(self.master)  # type: ignore[assignment]

    async def test_it_gets_no_job_of_a_file_of_references_and_that_is_said(self) -> None:
        self.commit(HANDS_OVER)
        run = await self.submit()
        for job in (await self.run_of(run))["jobs"]:
            told = (await self.ask("status", "explain", str(job["id"]), "--json")).document
            [never] = [b for b in told["blocked_by"] if b["kind"] == "no_worker"]
            self.assertIn(
                "series noble, a worker that takes handed files", never["sentence"]
            )
            self.assertIn("ant, takes no handed files (its release", never["sentence"])
        # A plain pipeline has nothing that it could miss.
        [job] = await self.master.submit(self, SPEAKS)
        self.assertEqual((await self.master.done(job)).result, "success")
        self.assertEqual((await self.run_of(run))["state"], "sealed")
        WorkerHome(self, self.master.port, name="bee").start()
        nodes = await self.done(run)
        self.assertEqual(nodes.results, {"build": "success", "test": "success"})
        self.assertEqual((nodes["build"]["attempt"], nodes["test"]["attempt"]), (1, 1))
        self.assertIn("made", await self.log(nodes["test"]))
