"""The whole path: a real PostgreSQL, real daemons and sockets, real pipelines."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.farm import (
    HELLO,
    Command,
    Farm,
    farm,
    folder_for,
    headrace,
    processes_of,
    repository,
    work_tree,
)
from tests.requirements import require_mount

ARCHITECTURES = "architectures: [amd64, arm64]"
TWO_STAGES = f"""\
pipeline: [[unit, lint], ship]
jobs:
  unit: {{series: bookworm, {ARCHITECTURES}, run: 'echo unit speaks; exit 3'}}
  lint: {{series: bookworm, {ARCHITECTURES}, run: 'echo lint speaks'}}
  ship: {{series: bookworm, {ARCHITECTURES}, run: 'echo ship speaks'}}
"""
SLEEPS = f"""\
pipeline: [nap]
jobs:
  nap: {{series: bookworm, {ARCHITECTURES}, run: 'echo going to sleep; sleep 600'}}
"""
PASSES = f"""\
pipeline: [unit]
jobs:
  unit: {{series: bookworm, {ARCHITECTURES}, run: 'cat hello.txt'}}
"""


class RunTests(TestCase):
    """``headrace run`` with a farm of its own."""

    timeout = 120

    async def test_hello_passes_and_leaves_nothing(self) -> None:
        folder = folder_for(self) / "a farm"
        said = await headrace("run", str(HELLO), "--data", str(folder))
        self.assertEqual(said.status, 0, said.all)
        self.assertIn("No line ends in blanks.", said.all)
        self.assertIn("Dashboard: http://127.0.0.1:", said.all)
        self.assertIn("5 passed", said.all)
        self.assertEqual(processes_of(folder), [])

    async def test_a_failed_stage_ends_all_its_jobs_and_none_of_the_next(self) -> None:
        said = await headrace("run", str(work_tree(self, TWO_STAGES)))
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("unit speaks", said.all)
        self.assertIn("lint speaks", said.all)
        self.assertNotIn("ship speaks", said.all)
        self.assertIn("unrun", said.all)
        self.assertIn("unit:0 failed", said.all)

    async def test_an_unknown_key_is_named_with_its_place(self) -> None:
        tree = work_tree(self, PASSES.replace("series:", "sries:"))
        said = await headrace("run", str(tree))
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("jobs.unit.0.sries", said.all)
        self.assertIn("series", said.all)

    async def test_ctrl_c_cancels_and_leaves_nothing(self) -> None:
        folder = folder_for(self) / "farm"
        command = Command("run", str(work_tree(self, SLEEPS)), "--data", str(folder))
        await command.until("going to sleep")
        command.signal(signal.SIGINT)
        self.assertEqual(await command.ended, 1, command.said)
        self.assertIn("cancelled", command.said)
        self.assertEqual(processes_of(folder), [])


class FarmTests(TestCase):
    """A farm that stays up, used from the command line."""

    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        self.farm: Farm = await farm(self)

    async def _submit(self, project: Path, *options: str) -> int:
        said = await self.farm.headrace("submit", str(project), *options, "--json")
        self.assertEqual(said.status, 0, said.all)
        [job] = await self._jobs()
        return int(str(job["id"]))

    async def _jobs(self) -> list[dict[str, object]]:
        said = await self.farm.headrace("jobs", "--json")
        self.assertEqual(said.status, 0, said.all)
        for entry in said.document:
            for key in ("id", "kind", "state", "result", "attempt"):
                self.assertIn(key, entry)
        jobs: list[dict[str, object]] = said.document
        return jobs

    async def _until_done(self, job: int) -> str:
        for _ in range(300):
            said = await self.farm.headrace("show", str(job), "--json")
            self.assertEqual(said.status, 0, said.all)
            [document] = said.document
            if document["state"] == "done":
                return str(document["result"])
            await deferLater(reactor, 0.1)
        raise AssertionError(f"job {job} does not end")

    async def test_a_commit_is_built_and_its_log_can_be_read(self) -> None:
        project = repository(self, PASSES, **{"hello.txt": "hello from git\n"})
        (project / "hello.txt").write_text("not committed\n")
        job = await self._submit(project)
        self.assertEqual(await self._until_done(job), "success")
        log = await self.farm.headrace("logs", str(job))
        self.assertIn("hello from git", log.out)
        self.assertNotIn("not committed", log.out)

    async def test_a_work_tree_is_built_as_it_lies_there(self) -> None:
        project = repository(self, PASSES, **{"hello.txt": "committed\n"})
        (project / "hello.txt").write_text("changed since\n")
        (project / ".gitignore").write_text("secret.txt\n")
        (project / "secret.txt").write_text("ignored\n")
        said = await self.farm.headrace("run", str(project))
        self.assertEqual(said.status, 0, said.all)
        self.assertIn("changed since", said.all)
        again = await self.farm.headrace("run", str(project))
        self.assertEqual(again.status, 0, again.all)
        self.assertIn("asked for before", again.all)
        self.assertIn("--force", again.all)

    async def test_a_missing_repository_and_commit_are_named(self) -> None:
        said = await self.farm.headrace("submit", "/no/such/repository")
        self.assertEqual(said.status, 1)
        self.assertIn("/no/such/repository", said.all)
        project = repository(self, PASSES)
        said = await self.farm.headrace("submit", str(project), "f" * 40)
        self.assertEqual(said.status, 1)
        self.assertIn("f" * 40, said.all)
        self.assertEqual(await self._jobs(), [])

    async def test_a_series_that_no_worker_has_is_named(self) -> None:
        project = repository(self, PASSES.replace("bookworm", "jammy"))
        said = await self.farm.headrace("submit", str(project), "--isolation", "chroot")
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("chroot", said.all)

    async def test_cancel_kills_a_running_build_and_retry_runs_it_again(self) -> None:
        job = await self._submit(repository(self, SLEEPS))
        follower = Command("logs", "-f", str(job), env=self.farm.environment)
        await follower.until("going to sleep")
        said = await self.farm.headrace("cancel", str(job))
        self.assertEqual(said.status, 0, said.all)
        self.assertEqual(await self._until_done(job), "cancelled")
        await follower.ended
        said = await self.farm.headrace("retry", str(job))
        self.assertEqual(said.status, 0, said.all)
        again = Command("logs", "-f", str(job), env=self.farm.environment)
        await again.until("going to sleep")
        await self.farm.headrace("cancel", str(job))
        self.assertEqual(await self._until_done(job), "cancelled")
        await again.ended

    async def test_every_table_has_its_json(self) -> None:
        await self._until_done(
            await self._submit(repository(self, PASSES, **{"hello.txt": "x"}))
        )
        for words in (["runs"], ["jobs"], ["workers"]):
            table = await self.farm.headrace(*words)
            self.assertEqual(table.status, 0, table.all)
            said = await self.farm.headrace(*words, "--json")
            [entry] = said.document
            for key in ("id", "kind", "state", "result", "attempt"):
                self.assertIn(key, entry, words)

    async def test_ctrl_c_stops_everything(self) -> None:
        job = await self._submit(repository(self, SLEEPS))
        follower = Command("logs", "-f", str(job), env=self.farm.environment)
        await follower.until("going to sleep")
        self.assertEqual(await self.farm.stop(), 0, self.farm.command.said)
        self.assertEqual(processes_of(self.farm.folder), [])
        await follower.ended

    async def test_kill_nine_of_the_command_ends_its_daemons(self) -> None:
        self.farm.command.signal(signal.SIGKILL)
        await self.farm.command.ended
        for _ in range(200):
            if not processes_of(self.farm.folder):
                return
            await deferLater(reactor, 0.1)
        raise AssertionError(processes_of(self.farm.folder))

    async def test_a_second_start_has_all_that_the_first_left(self) -> None:
        job = await self._submit(repository(self, PASSES, **{"hello.txt": "again"}))
        await self._until_done(job)
        await self.farm.stop()
        self.farm = await farm(self, folder=self.farm.folder)
        self.assertEqual(await self._until_done(job), "success")
        log = await self.farm.headrace("logs", str(job))
        self.assertIn("again", log.out)


class FullDiskTests(TestCase):
    """A worker whose work folder has no room."""

    timeout = 120

    async def test_a_full_disk_is_the_workers_fault_and_nothing_hangs(self) -> None:
        require_mount(self)
        folder = folder_for(self)
        started = await farm(self, folder=folder / "farm")
        await started.stop()
        worker = started.folder / "workers" / "worker-1"
        small = worker / "builds"
        shutil.rmtree(small, ignore_errors=True)
        small.mkdir(mode=0o700)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", str(small)],
            check=True,
        )
        self.addCleanup(subprocess.run, ["umount", "-l", str(small)], check=True)
        with (started.folder / "master.yaml").open("a") as settings:
            settings.write("retry_delays: [0.1]\n")
        started = await farm(self, folder=folder / "farm")
        said = await started.headrace("run", str(work_tree(self, PASSES)))
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("the worker's disk is full", said.all)
        self.assertIn("its operator must make room", said.all)
