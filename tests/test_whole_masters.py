"""Masters that are killed while builds run: started again, or replaced by another."""

from __future__ import annotations

from pathlib import Path

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.client.documents import JobDocument
from tests.farm import folder_for
from tests.laws import IS_LONG
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome

BUILDS = 20
LINES = "\n".join(map(str, range(1, 2001)))
#: Speaks, waits for a file of its own, and speaks again.
GATED = """\
pipeline: [wait]
jobs:
  wait:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      echo begun >> {folder}/marks
      seq 2000
      until test -e {folder}/gate; do sleep 0.1; done
      seq 2000
      echo the end
"""


class KilledMasterCase(TestCase):
    timeout = 300
    folder: Path

    def configuration(self, number: int) -> str:
        folder = self.folder / str(number)
        folder.mkdir()
        return GATED.replace("{folder}", str(folder))

    async def begin(self, master: MasterHome, builds: int) -> None:
        """Have so many builds run, each of which has spoken."""
        self.jobs = [
            job
            for number in range(builds)
            for job in await master.submit(self, self.configuration(number))
        ]
        for job in self.jobs:
            await master.logged(job, "\n2000\n")

    def open(self, numbers: range) -> None:
        for number in numbers:
            (self.folder / str(number) / "gate").touch()

    async def check(self, master: MasterHome) -> None:
        """Every build ends in its first attempt, with every byte of its log."""
        ended: list[JobDocument] = await gatherResults(
            [Deferred.fromCoroutine(master.done(job)) for job in self.jobs]
        )
        self.assertEqual(
            [(job.result, job.attempt) for job in ended], [("success", 1)] * len(ended)
        )
        for job in self.jobs:
            log = await master.logged(job)
            self.assertIn(f"{LINES}\n{LINES}\nthe end\n", log)
        for number in range(len(self.jobs)):
            marks = Path(self.folder, str(number), "marks").read_text()
            self.assertEqual(marks, "begun\n")


class OnlyMasterTests(KilledMasterCase):
    async def killed(self, away: float, builds: int = BUILDS) -> None:
        """Half of the builds go on while the master is away, half when it is back."""
        self.folder = folder_for(self)
        master = MasterHome(self, fresh_dsn(self))
        daemon = await master.start()
        WorkerHome(self, master.port, slots=builds).start()
        await master.worker("ant", "connected")
        await self.begin(master, builds)
        await daemon.kill()
        self.open(range(0, builds // 2))
        if away:
            await deferLater(reactor, away)
        await master.start()
        await master.worker("ant", "connected")
        self.open(range(builds // 2, builds))
        await self.check(master)

    async def test_started_again_at_once(self) -> None:
        await self.killed(0)

    async def test_started_again_after_five_seconds(self) -> None:
        await self.killed(5, BUILDS if IS_LONG else 5)

    async def test_started_again_after_a_minute(self) -> None:
        await self.killed(60, BUILDS if IS_LONG else 2)

    if not IS_LONG:
        test_started_again_after_a_minute.skip = "HEADRACE_LONG=1"  # type: ignore[attr-defined]


class TwoMastersTests(KilledMasterCase):
    """Each has a data folder of its own; the database is one."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.folder = folder_for(self)
        dsn = fresh_dsn(self)
        self.one = MasterHome(self, dsn, "m1")
        self.two = MasterHome(self, dsn, "m2")
        self.daemon = await self.one.start()
        await self.two.start()
        self.ant = WorkerHome(self, self.one.port, self.two.port, slots=5)
        self.ant.start()
        await self.one.worker("ant", "connected")

    async def test_builds_go_on_through_the_other_one(self) -> None:
        await self.begin(self.one, 4)
        await self.daemon.kill()
        self.open(range(0, 2))
        while (await self.session())["master"] != "m2":
            await deferLater(reactor, 0.02)
        self.open(range(2, 4))
        await self.check(self.two)

    async def test_what_is_submitted_to_one_is_dispatched_by_the_other(self) -> None:
        await self.begin(self.two, 1)
        self.assertEqual((await self.session())["master"], "m1")
        self.open(range(0, 1))
        await self.check(self.two)

    async def test_what_waits_is_dispatched_after_the_change(self) -> None:
        await self.daemon.kill()
        await self.begin(self.two, 1)
        self.open(range(0, 1))
        await self.check(self.two)

    async def test_a_build_is_cancelled_through_whichever_master(self) -> None:
        await self.begin(self.one, 1)
        await self.two.client.cancel("job", self.jobs[0], "not wanted")
        ended = await self.two.done(self.jobs[0])
        self.assertEqual((ended.result, ended.attempt), ("cancelled", 1))

    async def session(self) -> dict[str, object]:
        document = await self.two.client.document("/api/v1/workers/ant")
        return msgspec.json.decode(document, type=dict[str, object])
