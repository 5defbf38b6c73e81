"""A farm of one's own: a buildmaster and its workers as children of this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from buildmaster.addresses import FILE as ADDRESSES
from buildmaster.addresses import Addresses
from buildmaster.cli.console import Console
from buildmaster.cli.daemon import Daemon
from buildmaster.cli.data_folder import DataFolder, FarmSettings
from buildmaster.cli.problems import CommandFailed
from buildmaster.client.http import Client, FarmAway
from buildmaster.pidfile import AlreadyRunning, PidFile
from protocol.trust import Trust

#: Seconds between two looks at a daemon that starts.
_LOOK_AGAIN = 0.05
#: Seconds after which somebody who waits is told for what, and how often.
_TELL_AFTER = 2.0
#: Seconds that a daemon may take to start, and to stop.
START_WITHIN = 120.0
WORKER_STOPS_WITHIN = 20.0
MASTER_STOPS_WITHIN = 30.0
POSTGRES_STOPS_WITHIN = 10.0


class OwnFarm:
    """Starts, watches and stops the daemons of one data folder.

    ``died`` fires with a sentence when one of them ends by itself.
    """

    def __init__(
        self, reactor: Any, folder: DataFolder, settings: FarmSettings, console: Console
    ) -> None:
        self.died: Deferred[str] = Deferred()
        self._reactor = reactor
        self._folder = folder
        self._settings = settings
        self._console = console
        self._pid_file = PidFile(folder.path / "headrace.pid")
        self.death: str | None = None  #: what `died` fired with
        self._master: Daemon | None = None
        self._workers: list[Daemon] = []
        self.addresses = Addresses("", "")

    async def start(self) -> Client:
        """Start everything; a client of the farm, once its workers are there.

        Raises `CommandFailed`; then, too, `stop` must be called.
        """
        self._folder.make()
        try:
            self._pid_file.take()
        except AlreadyRunning as error:
            raise CommandFailed(f"A farm runs in this folder: {error} (--data).") from error
        config = self._folder.settle_master(self._settings)
        names = sorted(config.workers)[: self._settings.workers]
        if len(names) < self._settings.workers:
            raise CommandFailed(
                f"{self._folder.master_settings} names {len(names)} workers, and"
                f" {self._settings.workers} are to be started: name more of them there."
            )
        client = await self._start_master(self._folder.trust(config))
        workers = self.addresses.workers
        if workers is None:
            raise CommandFailed(
                f"{self._folder.master_settings} says listen.workers: null, so no worker"
                f" can come in: give it an address, or start the daemons by themselves."
            )
        for name in names:
            self._folder.settle_worker(name, workers, self._settings)
            self._start_worker(name)
        await self._until(lambda: self._are_connected(client, set(names)), "workers")
        return client

    async def stop(self) -> None:
        """Stop the workers, then the buildmaster; safe to repeat."""
        workers, self._workers = self._workers, []
        for worker in workers:
            await self._told(worker.stop(WORKER_STOPS_WITHIN), f"{worker.name} to stop")
        if self._master is not None:
            master, self._master = self._master, None
            await self._told(master.stop(MASTER_STOPS_WITHIN), f"{master.name} to stop")
            await self._told(self._postgres_gone(), "PostgreSQL to stop")
        self._pid_file.give_up()

    def kill(self) -> None:
        """End everything at once, as well as it can be."""
        for daemon in (*self._workers, self._master):
            if daemon is not None:
                daemon.kill()

    async def _start_master(self, trust: Trust) -> Client:
        (self._folder.path / ADDRESSES).unlink(missing_ok=True)
        master = self._daemon("buildmaster", self._folder.path / "buildmaster.log")
        self._master = master
        settings = str(self._folder.master_settings)
        # What it writes is for this account alone.
        master.start(["buildmaster", "--config", settings], ["--umask=0077"])
        found: list[Client] = []

        async def answers() -> bool:
            addresses = self._read_addresses()
            if addresses is None:
                return False
            self.addresses = addresses
            token = self._folder.token_file.read_text().strip()
            client = Client(self._reactor, addresses.http, token, trust)
            with suppress(FarmAway):
                if await client.is_healthy():
                    found.append(client)
            return bool(found)

        await self._until(answers, "the buildmaster and its database")
        return found[0]

    def _start_worker(self, name: str) -> None:
        folder = self._folder.worker_folder(name)
        worker = self._daemon(name, folder / "worker.log")
        self._workers.append(worker)
        worker.start(["buildworker", "--config", str(self._folder.worker_settings(name))])

    def _daemon(self, name: str, log: Path) -> Daemon:
        daemon = Daemon(self._reactor, name, log)

        def ended(how: str) -> str:
            if not daemon.is_stopping and self.death is None:
                words = "\n".join(f"    {line}" for line in daemon.last_words())
                self.death = f"The {name} {how}. Its last words ({log}):\n{words}"
                self.died.callback(self.death)
            return how

        daemon.ended.addCallback(ended)
        return daemon

    def _read_addresses(self) -> Addresses | None:
        try:
            return Addresses(**json.loads((self._folder.path / ADDRESSES).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    async def _are_connected(self, client: Client, names: set[str]) -> bool:
        workers = await client.workers()
        return names <= {each.name for each in workers if each.state == "connected"}

    async def _postgres_gone(self) -> None:
        """Wait, but not for ever, for what ends by itself when its master was killed."""
        try:
            pid = int((self._folder.path / "postgres.pid").read_text())
        except (OSError, ValueError):
            return
        deadline = self._reactor.seconds() + POSTGRES_STOPS_WITHIN
        while _is_postgres(pid) and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, _LOOK_AGAIN)

    async def _until(self, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
        began = self._reactor.seconds()
        told = began
        while not await is_so():
            if self.death is not None:
                raise CommandFailed(self.death)
            now = self._reactor.seconds()
            if now - began > START_WITHIN:
                raise CommandFailed(
                    f"Waited {START_WITHIN:.0f} s for {what}; the logs in"
                    f" {self._folder.path} tell more."
                )
            if now - told >= _TELL_AFTER:
                told = now
                self._console.say(f"Waiting for {what} ({now - began:.0f} s)", "faint")
            await deferLater(self._reactor, _LOOK_AGAIN)

    async def _told(self, waited: Awaitable[None], what: str) -> None:
        telling = self._reactor.callLater(
            _TELL_AFTER, self._console.say, f"Waiting for {what}", "faint"
        )
        await waited
        if telling.active():
            telling.cancel()


def _is_postgres(pid: int) -> bool:
    """Whether that process lives and is PostgreSQL's, not one that got its number later."""
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def remove_farm(folder: Path) -> None:
    """Remove a data folder, and its cluster where that lies elsewhere."""
    note = folder / "postgres.location"
    with suppress(OSError):
        elsewhere = Path(note.read_text().rstrip("\n"))
        # Root's own note; still, nothing but a cluster folder is ever removed.
        if elsewhere.parent == Path("/var/lib/headrace/clusters"):
            shutil.rmtree(elsewhere, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
