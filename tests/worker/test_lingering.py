"""A daemon keeps what lingers, through its own death, until the time has come."""

from __future__ import annotations

import os
import signal
import sys

from twisted.internet import reactor, utils
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.worker.daemons import WorkerHome
from tests.worker.fake_master import FakeMaster
from tests.worker.supervisor.attempts import job, order, repository
from worker.supervisor import attach


class LingeringTests(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        self.master = FakeMaster(self)
        await self.master.listen()
        self.home = WorkerHome(self, self.master.port, slots=1)
        self.daemon = self.home.start()
        await self.master.until_joined(1)
        self.source = repository(self, {"README": "hello\n"})

    async def shell(self, *argv: str) -> tuple[str, int]:
        """What the program said, and its exit status."""
        out, err, status = await utils.getProcessOutputAndValue(
            sys.executable,
            (
                *("-P", "-m", "worker.supervisor.shell"),
                *("--builds", str(self.home.builds), "--attempt", "1-1", *argv),
            ),
            env=attach.child_variables(),
        )
        return (out + err).decode(), status

    async def until_gone(self) -> None:
        while (self.home.builds / "1-1").exists():
            await deferLater(reactor, 0.02)

    async def have_failed(self, linger: float) -> None:
        asked = order(
            self.source,
            [[("unit", job("echo kept > f; exit 3"))]],
            job=1,
            attempt=1,
            linger=linger,
        )
        await self.master.until_ended(self.master.start(asked))
        while not (self.home.builds / "1-1" / "recorded").exists():
            await deferLater(reactor, 0.02)

    async def test_it_outlives_daemons_and_takes_no_slot(self) -> None:
        await self.have_failed(600)
        self.daemon.signal(signal.SIGKILL)
        await self.daemon.gone()
        again = self.home.start()
        session = await self.master.until_joined(2)
        assert session.hello is not None
        self.assertEqual(session.hello.holding, ())
        self.assertEqual(await self.shell("--", "cat", "f"), ("kept\n", 0))
        other = order(self.source, [[("unit", job("true"))]], job=2, attempt=1)
        ended = await self.master.until_ended(self.master.start(other))
        self.assertEqual(ended.results, {"unit:0": "success"})
        self.assertEqual((await self.shell("--release"))[1], 0)
        await self.until_gone()
        again.signal(signal.SIGTERM)
        await again.gone()

    async def test_it_is_removed_when_its_time_has_come(self) -> None:
        await self.have_failed(1)
        await self.until_gone()

    async def test_what_died_meanwhile_is_removed_by_the_next_daemon(self) -> None:
        await self.have_failed(600)
        self.daemon.signal(signal.SIGKILL)
        await self.daemon.gone()
        pid = attach.supervisor_pid(self.home.builds / "1-1")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.home.start()
        await self.until_gone()
