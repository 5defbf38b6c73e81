"""A farm and a repository, for tests of jobs that refer to each other."""

from __future__ import annotations

import subprocess
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.farm import Farm, Said, environment, farm, folder_for, headrace
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome


class Nodes:
    """The jobs of a run, by name."""

    def __init__(self, jobs: list[dict[str, Any]]) -> None:
        self._jobs = jobs

    def __getitem__(self, name: str) -> dict[str, Any]:
        [found] = [job for job in self._jobs if job["name"] == name]
        return found

    @property
    def results(self) -> dict[str, str]:
        """How each ended."""
        return {job["name"]: job["result"] for job in self._jobs}


class WholeFarm(TestCase):
    """A farm, and a repository whose commits it runs."""

    timeout = 180
    here: Farm

    async def setUp(self) -> None:  # type: ignore[override]
        self.folder = folder_for(self) / "project"
        self.folder.mkdir()
        self.git("init", "-q", "-b", "main")
        await self.start()

    async def start(self) -> None:
        """Start the farm."""
        self.here = await farm(self)

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.folder), *arguments], check=True)

    def commit(self, text: str | None = None, **files: str) -> None:
        """One commit with these files; ``a__b`` stands for ``a/b``."""
        if text is not None:
            (self.folder / ".headrace.yaml").write_text(text)
        for name, content in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.git("add", "-A")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "x")

    async def ask(self, *arguments: str, status: int = 0) -> Said:
        said = await self.here.headrace(*arguments)
        self.assertEqual(said.status, status, said.all)
        return said

    async def submit(self, *options: str) -> int:
        """Ask for the newest commit; the run."""
        said = await self.ask("submit", str(self.folder), "--json", *options)
        return int(said.document[0]["run"])

    async def run_of(self, run: int) -> dict[str, Any]:
        return dict((await self.ask("status", "run", str(run), "--json")).document)

    async def done(self, run: int) -> Nodes:
        """The jobs of the run, once it is over."""
        while (found := await self.run_of(run))["state"] != "done":
            await deferLater(reactor, 0.2)
        return Nodes(found["jobs"])

    async def built(self, *options: str) -> Nodes:
        """The jobs of a run of the newest commit, once it is over."""
        return await self.done(await self.submit(*options))

    async def log(self, job: dict[str, Any]) -> str:
        return (await self.ask("logs", str(job["id"]))).out

    async def until(self, job: int, state: str) -> dict[str, Any]:
        while True:
            [found] = (await self.ask("show", str(job), "--json")).document
            if found["state"] == state:
                return dict(found)
            await deferLater(reactor, 0.2)


class TwoArchitectures(WholeFarm):
    """One worker, which says that it runs commands for another architecture as well."""

    async def start(self) -> None:
        self.master = MasterHome(self, fresh_dsn(self))
        await self.master.start()
        self.new_worker()
        await self.master.worker("ant", "connected")
        self.here = FarmOfDaemons(self.master)  # type: ignore[assignment]

    def new_worker(self) -> None:
        """Start the worker, with nothing on its disk."""
        self.worker = WorkerHome(self, self.master.port, architectures=["arm64"])
        self.worker.start()


class FarmOfDaemons:
    """The same commands, against a farm of single daemons."""

    def __init__(self, master: MasterHome) -> None:
        self._master = master

    async def headrace(self, *arguments: str) -> Said:
        env = {
            **environment(),
            "HEADRACE_URL": self._master.url,
            "HEADRACE_TOKEN_FILE": str(self._master.folder / "token"),
        }
        return await headrace(*arguments, env=env)
