"""Masters and workers of neighbouring releases, each a real daemon."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from protocol import PROTOCOL_VERSION
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.versions import speaking
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
