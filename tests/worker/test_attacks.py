"""Hostile builds on a whole worker: each fails with a reason, and the next one passes.

What single environments hold against is in ``tests/worker/environments/attacks.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import TestCase

from protocol.order import GitSource, Limits
from protocol.pipeline.model import Input, Output, PipelineJob
from tests.worker.daemons import WorkerHome
from tests.worker.environments.conformance import mounts_below, processes_with
from tests.worker.environments.shared_image import (
    own_series,
    shared_image,
    shared_images_folder,
)
from tests.worker.fake_master import FakeMaster
from tests.worker.supervisor.attempts import commit, job, order, repository
from tests.worker.supervisor.blob_server import BlobServer

_MOUNT = "($a, $b, $c) = qw(x /mnt tmpfs); exit(syscall(165, $a, $b, $c, 0, 0) != 0)"


@dataclass(frozen=True)
class Attack:
    """What a build tries, and how it must end."""

    jobs: tuple[PipelineJob, ...]
    reason: str  #: a part of the reason
    result: str = "failure"
    limits: Limits = field(default_factory=Limits)


def tries(script: str, reason: str = "exit status", **more: Any) -> Attack:
    """One job; its script ends well only if the attack does."""
    result, limits = more.pop("result", "failure"), more.pop("limits", Limits())
    return Attack((job(script, **more),), reason, result, limits)


class AttackTests(TestCase):
    timeout = 600

    async def setUp(self) -> None:  # type: ignore[override]
        shared_image(self)
        self.word = uuid4().hex
        self.master = FakeMaster(self)
        await self.master.listen()
        self.home = WorkerHome(
            self,
            self.master.port,
            isolations=["chroot"],
            images=str(shared_images_folder()),
            series_images={"jammy": own_series()},
            slots=2,
            network=False,
            memory_limit=200 << 20,
            process_limit=100,
            disk_limit=160 << 20,
        )
        self.daemon = self.home.start()
        await self.master.until_joined(1)
        self.source = repository(self, {"file": "content"})
        self.artifacts = BlobServer(self).artifacts
        self.number = 0

    async def ended(self, attack: Attack) -> Any:
        self.number += 1
        asked = order(
            self.source,
            [[(f"job{n}", each)] for n, each in enumerate(attack.jobs)],
            job=self.number,
            attempt=1,
            isolation="chroot",
            limits=attack.limits,
            artifacts=self.artifacts,
        )
        return await self.master.until_ended(self.master.start(asked))

    async def assert_held(self, attack: Attack) -> None:
        told = await self.ended(attack)
        what = f"{told.end.reason}\n{told.log()}"
        self.assertEqual(told.end.result.value, attack.result, what)
        self.assertIn(attack.reason, told.end.reason, what)
        self.assertNotIn("broke out", told.log().replace("echo broke out", ""), what)
        after = await self.ended(Attack((job("test -e file; echo fine"),), ""))
        self.assertEqual(after.end.result.value, "success", f"after {what}")
        self.assertIsNone(self.daemon.status)
        while any(self.home.builds.iterdir()):
            await self.master.until_beat()
        self.assertEqual(processes_with(self.word), [])
        self.assertEqual(mounts_below(self.home.folder), [])

    async def test_a_fork_bomb(self) -> None:
        await self.assert_held(
            tries(
                f"for i in {{1..400}}; do (exec -a {self.word} sleep 600) & done; wait",
                "process_limit",
            )
        )

    async def test_a_hog_of_memory(self) -> None:
        await self.assert_held(
            tries("perl -e '$x = chr(120) x 4e8; print length $x'", "memory_limit")
        )

    async def test_a_filler_of_disks(self) -> None:
        await self.assert_held(tries("head -c 400m /dev/zero > ~/f", "disk_limit"))

    async def test_daemons_that_would_outlive_it(self) -> None:
        """Forked twice, in sessions of their own, deaf to TERM; the build says nothing."""
        live = f"trap '' TERM HUP; exec -a {self.word} sleep 600"
        script = f'(setsid bash -c "({live} <&- >&- 2>&-) & exit" &); {live}'
        silent = tries(script, "2 s", result="timeout", limits=Limits(idle=2.0))
        await self.assert_held(silent)
        await self.assert_held(tries(f'(setsid bash -c "{live}" &); exit 3', "3"))

    async def test_outputs_that_lead_out(self) -> None:
        token = str(self.home.token)
        for script, paths, reason in (
            (f"ln -s {token} x", ("x",), "x"),
            ("ln -s /etc/shadow x", ("x",), ""),
            ("ln -s / d", (f"d{token}",), ""),
            ("true", ("../../../../../../etc/shadow",), ""),
            ("mkfifo x", ("x",), "x"),
        ):
            attack = tries(script, reason, output=Output(paths=paths))
            told = await self.ended(attack)
            if told.end.result.value == "success":
                # A path may lead within the build's own system; never to the machine's.
                self.assertNotIn("etc/shadow", script + " ".join(paths), told.log())
            await self.assert_held(
                Attack((job(f"{script}; exit 5"), *attack.jobs), "exit status 5")
            )

    async def test_inputs_that_lead_out(self) -> None:
        makes = job("echo x > made", output=Output(paths=("made",)))
        for place in ("../../../../../../tmp/evil", "/tmp/evil", "link/evil"):
            wants = job(
                "echo broke out",
                input=Input(job_name="job0", target_directory=place),
            )
            source, self.source = self.source, repository(self, {"file": "content"})
            if place.startswith("link"):
                os.symlink("/tmp", f"{self.source.repository}/link")
                self.source = self.recommitted()
            told = await self.ended(Attack((makes, wants), ""))
            self.assertIn(told.results["job1:0"], ("failure", "malformed"), told.log())
            self.assertTrue(told.jobs["job1:0"].reason)
            self.assertFalse(os.path.exists("/tmp/evil"))
            self.source = source
        await self.assert_held(tries("exit 4"))

    def recommitted(self) -> GitSource:
        place = Path(self.source.repository)
        return GitSource(repository=str(place), commit=commit(place))

    async def test_devices(self) -> None:
        found = os.stat("/").st_dev
        major, minor = os.major(found), os.minor(found)
        await self.assert_held(
            tries(f"mknod d b {major} {minor}; head -c 1 d | grep -q . && echo broke out")
        )
        await self.assert_held(tries("mknod m c 1 1; head -c 1 m && echo broke out"))

    async def test_mounting_and_capabilities(self) -> None:
        await self.assert_held(tries(f"perl -e '{_MOUNT}' && echo broke out"))
        await self.assert_held(
            tries(f"unshare --user --map-root-user perl -e '{_MOUNT}' && echo broke out")
        )
        await self.assert_held(
            tries("setpriv --bounding-set +sys_admin --inh-caps +sys_admin true")
        )

    async def test_the_network_that_is_off(self) -> None:
        port = self.master.port
        await self.assert_held(tries(f"echo > /dev/tcp/127.0.0.1/{port}"))
        await self.assert_held(tries("timeout 5 bash -c 'echo > /dev/tcp/10.0.2.2/22'"))

    async def test_the_worker_s_token_and_the_files_of_other_builds(self) -> None:
        files = f"{self.home.token} {self.home.settings} {self.home.builds}/*/order.json"
        await self.assert_held(tries(f"ls {files} && echo broke out"))
        roots = " ".join(f"/proc/*/{way}{self.home.token}" for way in ("root", "cwd"))
        await self.assert_held(tries(f"cat {roots} && echo broke out"))
        await self.assert_held(
            tries("tr '\\0' '\\n' < /proc/1/environ | grep -q HEADRACE && echo broke out")
        )

    async def test_signals_to_the_worker(self) -> None:
        pid = self.daemon.pid
        await self.assert_held(tries(f"kill -9 {pid}; kill -9 1; kill -9 -1; exit 6", ""))
