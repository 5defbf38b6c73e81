"""Builds whose worker is killed at any moment: nothing of them is left after its return."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from protocol.messages import Attempt, Ended, Refused
from tests.laws import IS_LONG
from tests.worker.daemons import WorkerHome
from tests.worker.environments.conformance import mounts_below, processes_with
from tests.worker.environments.shared_image import (
    own_series,
    shared_image,
    shared_images_folder,
)
from tests.worker.fake_master import FakeMaster
from tests.worker.supervisor.attempts import job, order, repository
from worker.supervisor import attach

#: In pieces, where a machine is not to be kept busy for long: HEADRACE_BUILDS=200.
_BUILDS = int(os.environ.get("HEADRACE_BUILDS", 1000 if IS_LONG else 20))
_SLOTS = 5
#: Seconds within which a build of ours passes through all its stages.
_LIFE = 1.5


class CleanlinessTests(TestCase):
    timeout = 7200

    async def test_nothing_is_left_of_builds_whose_worker_was_killed(self) -> None:
        """The daemon each time, and every other supervisor; the seed is in the failure."""
        shared_image(self)
        self.seed = random.randrange(1 << 30)
        self.random = random.Random(self.seed)
        self.word = uuid4().hex
        self.master = FakeMaster(self)
        await self.master.listen()
        self.home = WorkerHome(
            self,
            self.master.port,
            isolations=["chroot"],
            images=str(shared_images_folder()),
            series_images={"jammy": own_series()},
            slots=_SLOTS,
        )
        self.source = repository(self, {"file": "content"})
        self.groups: set[Path] = set()
        self.number = self.killed = 0
        while self.taken() < _BUILDS:
            await self.one_life()
        self.home.start()
        await self.master.until_joined(len(self.home.daemons))
        while any(self.home.builds.iterdir()):
            await self.master.until_beat()
        self.tell()
        self.assertEqual(processes_with(self.word), [], self.seed)
        self.assertEqual(mounts_below(self.home.folder), [], self.seed)
        self.assertEqual([path for path in self.groups if path.exists()], [], self.seed)
        loops = Path("/sys/block").glob("loop*/loop/backing_file")
        backing = [path.read_text() for path in loops if path.exists()]
        self.assertFalse([text for text in backing if str(self.home.folder) in text])

    async def one_life(self) -> None:
        """A daemon that gets orders, works for a while, and is killed."""
        daemon = self.home.start()
        await self.master.until_joined(len(self.home.daemons))
        for _ in range(_SLOTS):
            self.number += 1
            script = (
                f"(setsid bash -c 'exec -a {self.word} sleep 600' &); head -c 1m /dev/zero"
                " > f; sleep 0.3; echo done"
            )
            asked = order(
                self.source,
                [[("unit", job(script))], [("again", job(script, series="jammy"))]],
                job=self.number,
                attempt=1,
                isolation="chroot",
            )
            self.master.start(asked)
        # Any moment, and nothing happens that could be waited for.
        await deferLater(reactor, self.random.random() * _LIFE)
        self.note_groups()
        daemon.signal(signal.SIGKILL)
        await daemon.gone()
        for place in sorted(self.home.builds.iterdir()):
            pid = attach.supervisor_pid(place)
            if pid is not None and self.random.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed += 1

    def tell(self) -> None:
        """The counts, for whoever runs the long one."""
        counts = {
            "builds": self.taken(),
            "ended with a report": sum(
                isinstance(report.body, Ended)
                for reports in self.master.reports.values()
                for report in reports
            ),
            "daemons killed": len(self.home.daemons) - 1,
            "supervisors killed": self.killed,
            "processes left": len(processes_with(self.word)),
            "mounts left": len(mounts_below(self.home.folder)),
            "folders left": len(list(self.home.builds.iterdir())),
            "control groups left": sum(path.exists() for path in self.groups),
        }
        if IS_LONG:
            print("\n" + ", ".join(f"{count} {what}" for what, count in counts.items()))

    def note_groups(self) -> None:
        for note in self.home.builds.glob("*/environments/*/groups"):
            with contextlib.suppress(OSError):
                self.groups |= {Path(line) for line in note.read_text().splitlines()}

    def taken(self) -> int:
        """Builds that were begun: sent, and not refused."""
        refused = {
            Attempt(message.job, message.attempt)
            for session in self.master.sessions
            for message in session.of(Refused)
        }
        return self.number - len(refused)
