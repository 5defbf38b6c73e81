"""Workers that freeze and clocks that jump, with real daemons, builds and signals."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.database import Database
from tests.farm import folder_for
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.versions import TWISTD
from tests.worker.daemons import WorkerHome
from worker.supervisor import attach

#: Notes that it runs, waits for a file, and notes that it goes on.
GATED = """\
pipeline: [wait]
jobs:
  wait:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      echo begun >> {folder}/marks
      echo it runs
      until test -e {folder}/gate; do sleep 0.05; done
      echo it goes on
"""


def family(pid: int) -> list[int]:
    """A process with all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


class FrozenCase(TestCase):
    """SIGSTOP for a worker's daemon and everything below it, as when its host hangs."""

    timeout = 180
    grace = 300.0

    async def setUp(self) -> None:  # type: ignore[override]
        self.folder = folder_for(self)
        self.dsn = fresh_dsn(self)
        self.master = self.new_master("m1")
        self.master_daemon = await self.master.start()
        self.ant = WorkerHome(self, *await self.ports())
        self.daemon = self.ant.start()
        await self.master.worker("ant", "connected")
        configuration = GATED.replace("{folder}", str(self.folder))
        [self.job] = await self.master.submit(self, configuration)
        await self.master.logged(self.job, "it runs")

    def new_master(self, name: str) -> MasterHome:
        return MasterHome(
            self, self.dsn, name, workers=("ant", "bee"), resume_grace=self.grace
        )

    async def ports(self) -> list[int]:
        """Of the masters that the worker knows."""
        return [self.master.port]

    def freeze(self) -> None:
        [place] = self.ant.builds.glob("*-*")
        supervisor = attach.supervisor_pid(place)
        assert supervisor is not None
        self.frozen = family(self.daemon.pid) + family(supervisor)
        self.assertGreater(len(self.frozen), 5)
        for pid in self.frozen:
            os.kill(pid, signal.SIGSTOP)
        self.addCleanup(self.wake)

    def wake(self) -> None:
        for pid in self.frozen:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    async def until_left(self) -> None:
        """The worker's disk holds nothing of a build."""
        while list(self.ant.builds.glob("*-*")):
            await deferLater(reactor, 0.05)


class LongFrozenTests(FrozenCase):
    grace = 40.0

    async def test_its_work_goes_to_another_and_it_forgets_when_it_wakes(self) -> None:
        self.freeze()
        await self.master.worker("ant", "unreachable")
        job = await self.master.client.job(self.job)
        # Shown as gone, and still its own: it may come back within the grace.
        self.assertEqual((job.state, job.attempt), ("running", 1))
        WorkerHome(self, self.master.port, name="bee").start()
        marks = self.folder / "marks"
        while marks.read_text().count("begun") < 2:
            await deferLater(reactor, 0.05)
        (self.folder / "gate").touch()
        ended = await self.master.done(self.job)
        self.assertEqual((ended.result, ended.attempt), ("success", 2))
        log = await self.master.logged(self.job)
        self.wake()
        await self.master.worker("ant", "connected")
        await self.until_left()
        ended = await self.master.client.job(self.job)
        self.assertEqual((ended.result, ended.attempt), ("success", 2))
        self.assertEqual(await self.master.logged(self.job), log)
        self.assertEqual(marks.read_text().count("begun"), 2)

    async def test_its_build_is_over_on_the_books_when_somebody_stops_it(self) -> None:
        self.freeze()
        await self.master.client.cancel("job", self.job, "no longer wanted")
        ended = await self.master.done(self.job)
        self.assertEqual((ended.result, ended.attempt), ("cancelled", 1))
        self.wake()
        await self.until_left()
        ended = await self.master.client.job(self.job)
        self.assertEqual(ended.result, "cancelled")


class OrphanedTests(FrozenCase):
    """A worker that freezes together with the death of its master, which stays dead."""

    grace = 40.0

    async def ports(self) -> list[int]:
        self.other = self.new_master("m2")
        await self.other.start()
        return [self.master.port, self.other.port]

    async def test_another_master_says_so_and_gives_its_work_to_another(self) -> None:
        self.freeze()
        await self.master_daemon.kill()
        await self.other.worker("ant", "unreachable")
        job = await self.other.client.job(self.job)
        self.assertEqual((job.state, job.attempt), ("running", 1))
        WorkerHome(self, self.other.port, name="bee").start()
        marks = self.folder / "marks"
        while marks.read_text().count("begun") < 2:
            await deferLater(reactor, 0.05)
        (self.folder / "gate").touch()
        ended = await self.other.done(self.job)
        self.assertEqual((ended.result, ended.attempt), ("success", 2))
        self.wake()
        await self.other.worker("ant", "connected")
        await self.until_left()
        ended = await self.other.client.job(self.job)
        self.assertEqual((ended.result, ended.attempt), ("success", 2))
        self.assertEqual(marks.read_text().count("begun"), 2)


class BrieflyFrozenTests(FrozenCase):
    async def test_one_that_wakes_within_the_grace_goes_on(self) -> None:
        self.freeze()
        await self.master.worker("ant", "unreachable")
        self.wake()
        await self.master.worker("ant", "connected")
        (self.folder / "gate").touch()
        ended = await self.master.done(self.job)
        self.assertEqual((ended.result, ended.attempt), ("success", 1))
        self.assertIn("it goes on", await self.master.logged(self.job))
        self.assertEqual((self.folder / "marks").read_text().count("begun"), 1)


class JumpingClockTests(TestCase):
    """The wall clock of a daemon, set while a build runs."""

    timeout = 120

    def daemon_with(self, clock: Path) -> str:
        """A daemon whose wall clock is off by the seconds in that file."""
        clock.write_text("0")
        return (
            "import time; right = time.time; time.time = lambda: right()"
            f" + float(open({str(clock)!r}).read() or 0); {TWISTD}"
        )

    async def set_clocks(self, masters: float, workers: float) -> None:
        """Set both, and see signs of life go on afterwards."""
        for clock, seconds in ((self.masters, masters), (self.workers, workers)):
            clock.with_suffix(".new").write_text(str(seconds))
            os.replace(clock.with_suffix(".new"), clock)
        for _ in range(3):
            before = await self.heard()
            while await self.heard() == before:
                await deferLater(reactor, 0.05)

    async def heard(self) -> str:
        """When the worker was last heard, by the database's clock."""
        [row] = await self.database.one("SELECT last_heard_at::text FROM worker")
        return str(row)

    async def test_nothing_changes(self) -> None:
        folder = folder_for(self)
        self.masters, self.workers = folder / "masters", folder / "workers"
        dsn = fresh_dsn(self)
        self.database = Database(dsn, reactor, size=1)
        await self.database.start()
        self.addCleanup(self.database.stop)
        master = MasterHome(self, dsn, twistd=self.daemon_with(self.masters), heartbeat=0.2)
        await master.start()
        home = WorkerHome(self, master.port)
        home.start(self.daemon_with(self.workers))
        await master.worker("ant", "connected")
        [job] = await master.submit(self, GATED.replace("{folder}", str(folder)))
        await master.logged(job, "it runs")
        for masters, workers in (
            (86_400, 0),
            (0, 0),
            (0, 86_400),
            (-86_400, -86_400),
            (3600, -3600),
        ):
            await self.set_clocks(masters, workers)
        (folder / "gate").touch()
        ended = await master.done(job)
        self.assertEqual((ended.result, ended.attempt), ("success", 1))
        self.assertEqual(master.log.count("joined from"), 1, master.log)
        self.assertNotIn("session of worker", master.log)
