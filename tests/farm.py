"""The command line as a user has it, and a farm that it started, for a test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor, utils
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

HELLO = Path(__file__).parent.parent / "examples" / "hello"
_HEADRACE = (sys.executable, "-P", "-c", "from buildmaster.cli.main import main; main()")


@dataclass(frozen=True)
class Said:
    """What a command said before it ended."""

    status: int
    out: str
    err: str

    @property
    def all(self) -> str:
        """Both outputs, for assertions on what a person saw."""
        return self.out + self.err

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def folder_for(test: TestCase) -> Path:
    """A folder that is removed after ``test``; others may pass through it."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-test-"))
    folder.chmod(0o711)
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    """This process's variables without any that choose a farm, and ``more``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


async def headrace(*arguments: str, env: Mapping[str, str] | None = None) -> Said:
    """Run a command of the command line to its end."""
    out, err, code = await utils.getProcessOutputAndValue(
        _HEADRACE[0],
        (*_HEADRACE[1:], *arguments),
        env=dict(env or environment()),
        path="/",
    )
    return Said(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


class Command(ProcessProtocol):
    """A command that runs on while the test does other things."""

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self.said = ""
        self.ended: Deferred[int] = Deferred()
        self._expected: list[tuple[str, Deferred[str]]] = []
        self._process = reactor.spawnProcess(
            self,
            python,
            [python, *_HEADRACE[1:], *arguments],
            env=dict(env or environment()),
            path="/",
        )
        self.pid: int = self._process.pid

    def until(self, text: str) -> Deferred[str]:
        """Fires with all that was said as soon as ``text`` is in it."""
        waiting: Deferred[str] = Deferred()
        self._expected.append((text, waiting))
        self._look()
        return waiting

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.signalProcess(number.name.removeprefix("SIG"))

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        """It said something."""
        self.said += data.decode("utf-8", "replace")
        self._look()

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        done = reason.check(ProcessDone)
        self.ended.callback(0 if done else (getattr(reason.value, "exitCode", None) or -1))
        expected, self._expected = self._expected, []
        for text, waiting in expected:
            waiting.errback(AssertionError(f"no {text!r} in: {self.said}"))

    def _look(self) -> None:
        for text, waiting in list(self._expected):
            if text in self.said:
                self._expected.remove((text, waiting))
                waiting.callback(self.said)


@dataclass
class Farm:
    """A farm made by ``headrace up``, with one worker unless told otherwise."""

    folder: Path
    command: Command

    @property
    def url(self) -> str:
        """Where its API is."""
        return str(json.loads((self.folder / "addresses.json").read_text())["http"])

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the command line uses this farm."""
        found = environment(
            HEADRACE_URL=self.url, HEADRACE_TOKEN_FILE=str(self.folder / "token")
        )
        certificate = self.folder / "certificate.pem"
        if certificate.exists():
            found["HEADRACE_CA_FILE"] = str(certificate)
        return found

    async def headrace(self, *arguments: str) -> Said:
        """Run a command against this farm."""
        return await headrace(*arguments, env=self.environment)

    async def stop(self) -> int:
        """Press Ctrl-C; the exit status."""
        if not self.command.ended.called:
            self.command.signal(signal.SIGINT)
        return await self.command.ended


async def farm(
    test: TestCase,
    *options: str,
    folder: Path | None = None,
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
) -> Farm:
    """A farm of the test's own, stopped after it; ``python`` runs its daemons."""
    folder = folder or folder_for(test) / "farm"
    command = Command(
        *("up", "--data", str(folder), "--http", "127.0.0.1:0", *options),
        env=env,
        python=python,
    )
    started = Farm(folder, command)
    test.addCleanup(started.stop)
    await command.until("Ctrl-C")
    return started


def work_tree(test: TestCase, configuration: str, **files: str) -> Path:
    """A folder with a ``.launchpad.yaml`` and other files in it."""
    folder = folder_for(test) / "project"
    folder.mkdir()
    (folder / ".launchpad.yaml").write_text(configuration)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def repository(test: TestCase, configuration: str, **files: str) -> Path:
    """A git repository with one commit."""
    folder = work_tree(test, configuration, **files)
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name ``folder`` or work below it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = os.readlink(entry / "cwd")
        except OSError:
            continue
        if str(folder) in line or where.startswith(str(folder)):
            found.append(line)
    return found
