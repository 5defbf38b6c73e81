"""Files that one job hands to another, on a whole farm: in each isolation; or lost."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.referring import FarmOfDaemons, WholeFarm
from tests.worker.daemons import WorkerHome
from tests.worker.environments.shared_image import (
    own_series,
    require_chroots,
    shared_image,
    shared_images_folder,
)
from tests.worker.environments.test_vm import require_machines

CHAIN = """\
defaults: {series: jammy, architectures: amd64, isolation: ISOLATION}
jobs:
  build:
    run: mkdir d; echo made > d/result; ln -s d/result link
    output: {paths: [d/*, link]}
  test:
    needs: [build]
    root: false
    run: cd $CI_INPUT_BUILD; find . ! -type d; cat d/result; rm -r d; id -un
  after:
    needs: [build]
    run: cat $CI_INPUT_BUILD/d/result
"""


class HandedCase(WholeFarm):
    """A master and a worker that makes one kind of environment."""

    isolation = "native"
    timeout = 300

    async def start(self) -> None:
        self.master = MasterHome(self, fresh_dsn(self))
        await self.master.start()
        self.worker = WorkerHome(
            self,
            self.master.port,
            isolations=[self.isolation],
            images=str(shared_images_folder()),
            series_images={"jammy": own_series()},
            disk_limit=1 << 30,
        )
        self.worker.start()
        await self.master.worker("ant", "connected")
        self.here = FarmOfDaemons(self.master)  # type: ignore[assignment]

    async def goes_along(self) -> None:
        """From the job that makes the files to those that read them."""
        self.commit(CHAIN.replace("ISOLATION", self.isolation))
        nodes = await self.built()
        self.assertEqual(
            nodes.results, dict.fromkeys(("build", "test", "after"), "success")
        )
        said = await self.log(nodes["test"])
        self.assertIn("\n./d/result\nmade\n_lpci\n", said)
        self.assertIn("\nmade\n", await self.log(nodes["after"]))


class ChrootTests(HandedCase):
    isolation = "chroot"

    async def setUp(self) -> None:  # type: ignore[override]
        require_chroots(self)
        shared_image(self)
        await super().setUp()

    async def test_files_go_along_the_edges(self) -> None:
        await self.goes_along()


class MachineTests(HandedCase):
    isolation = "vm"

    async def setUp(self) -> None:  # type: ignore[override]
        require_machines(self)
        shared_image(self)
        await super().setUp()

    async def test_files_go_along_the_edges(self) -> None:
        await self.goes_along()


class OneNameTests(HandedCase):
    async def test_of_two_files_with_one_path_none_takes_the_other_s_place(self) -> None:
        """A package that makes what looks like a file of another one."""
        text = (
            "packages: {A: {paths: [a], depends: [B]}, B: {paths: [b]}}\n"
            "defaults: {series: jammy, architectures: amd64}\n"
            "jobs:\n"
            "  build:\n"
            "    per_package: true\n"
            "    run: . ./make-$CI_PACKAGE\n"
            "    output: {paths: ['*made']}\n"
            "  test:\n"
            "    {per_package: true, needs: [build], install: closure, run: 'true'}\n"
        )
        scripts = {
            "make-A": "mkdir B; echo evil > B/made",
            "make-B": "echo good > made",
        }
        self.commit(text, **scripts)
        nodes = await self.built()
        self.assertEqual(nodes.results["B/test"], "success")
        self.assertEqual(nodes.results["A/test"], "error")
        found = await self.until(nodes["A/test"]["id"], "done")
        self.assertIn("B/made of build is in the way of another", found["reason"])


class LostTests(HandedCase):
    """The master's store is not as the books say."""

    def blob(self) -> Path:
        digest = hashlib.sha256(b"made\n").hexdigest()
        return self.master.folder / "blobs" / digest[:2] / digest[2:]

    async def built_then(self, content: bytes | None) -> str:
        """Why a job ends whose input became this, or nothing, after it was made."""
        text = CHAIN.replace("ISOLATION", "native").replace("root: false", "manual: true")
        self.commit(text)
        run = await self.submit()
        jobs = {job["name"]: job["id"] for job in (await self.run_of(run))["jobs"]}
        await self.until(jobs["after"], "done")
        if content is None:
            self.blob().unlink()
        else:
            self.blob().write_bytes(content)
        await self.ask("release", str(jobs["test"]))
        nodes = await self.done(run)
        self.assertEqual(nodes.results["test"], "error")
        return str((await self.until(jobs["test"], "done"))["reason"])

    async def test_a_vanished_file_is_named(self) -> None:
        self.assertIn(
            "the file d/result of build is gone; run that job again",
            await self.built_then(None),
        )

    async def test_a_changed_file_is_never_handed_over(self) -> None:
        reason = await self.built_then(b"evil\n")
        self.assertIn("is something else; its blob folder is damaged", reason)
