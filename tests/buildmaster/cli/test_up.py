from __future__ import annotations

import os
import signal
import subprocess

from twisted.trial.unittest import TestCase

from tests.farm import Farm, farm, folder_for, headrace, processes_of


class UpTests(TestCase):
    """``headrace up`` as a user has it; what farms do is for `tests.test_whole_farm`."""

    timeout = 120

    async def test_a_second_one_in_the_same_folder_names_the_first(self) -> None:
        """And does no harm to it."""
        first = await farm(self)
        said = await headrace("up", "--data", str(first.folder))
        self.assertEqual(said.status, 1, said.all)
        self.assertIn(f"process {first.command.pid} ", said.err)
        workers = await first.headrace("workers", "--json")
        self.assertEqual([each["state"] for each in workers.document], ["connected"])

    async def test_several_workers_join(self) -> None:
        started = await farm(self, "--workers", "2")
        workers = (await started.headrace("workers", "--json")).document
        self.assertEqual(sorted(each["id"] for each in workers), ["worker-1", "worker-2"])
        self.assertEqual({each["state"] for each in workers}, {"connected"})

    async def test_a_daemon_that_dies_ends_the_farm_and_is_named(self) -> None:
        for name in ("buildmaster", "worker-1"):
            started = await farm(self)
            os.kill(pid_of(started, name), signal.SIGKILL)
            self.assertEqual(await started.command.ended, 1, started.command.said)
            self.assertIn(f"The {name} was ended by SIGKILL", started.command.said)
            self.assertEqual(processes_of(started.folder), [])

    async def test_what_a_daemon_says_before_it_ends_is_shown(self) -> None:
        folder = folder_for(self)
        (folder / "master.yaml").write_text(
            "data: .\n"
            "listen: {http: '192.0.2.1:80', workers: '127.0.0.1:0'}\n"
            f"workers: {{worker-1: {{token_sha256: {'a' * 64}}}}}\n"
        )
        said = await headrace("up", "--data", str(folder))
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("192.0.2.1", said.err)
        self.assertEqual(processes_of(folder), [])

    async def test_settings_that_are_wrong_are_a_sentence(self) -> None:
        folder = folder_for(self)
        (folder / "master.yaml").write_text("data: .\nlisen: {}\n")
        said = await headrace("up", "--data", str(folder))
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("lisen", said.err)
        self.assertEqual(len(said.err.splitlines()), 1)

    async def test_process_ids_of_its_daemons_stand_in_the_folder(self) -> None:
        started = await farm(self)
        pids = {name: pid_of(started, name) for name in ("buildmaster", "worker-1")}
        for pid in pids.values():
            os.kill(pid, 0)
        self.assertEqual(await started.stop(), 0, started.command.said)
        self.assertEqual(processes_of(started.folder), [])

    async def test_with_any_port_for_the_page_workers_get_any_port_too(self) -> None:
        """So that nobody who starts at the same time takes it first."""
        started = await farm(self)  # its --http says port 0
        settings = (started.folder / "master.yaml").read_text()
        self.assertIn("workers: 127.0.0.1:0", settings)
        again = await farm(self)
        for one in (started, again):
            await one.command.until("data  ")
        addresses = {
            one.command.said.split("workers at")[1].split()[0] for one in (started, again)
        }
        self.assertEqual(len(addresses), 2)

    async def test_the_line_that_it_prints_can_be_pasted(self) -> None:
        started = await farm(self, folder=folder_for(self) / "a farm")
        await started.command.until("token'\n")
        [line] = [
            line for line in started.command.said.splitlines() if "export HEADRACE" in line
        ]
        told = subprocess.run(
            ["sh", "-c", f'{line}; cat "$HEADRACE_TOKEN_FILE"'],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(told.stdout, (started.folder / "token").read_text())

    async def test_no_farm_without_workers(self) -> None:
        said = await headrace("up", "--workers", "0")
        self.assertEqual(said.status, 2)


def pid_of(started: Farm, name: str) -> int:
    """The process of a daemon."""
    if name == "buildmaster":
        path = started.folder / "buildmaster.pid"
    else:
        path = started.folder / "workers" / name / "worker.pid"
    return int(path.read_text())
