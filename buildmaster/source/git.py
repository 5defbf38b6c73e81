"""Runs git commands: asynchronously, in bounded time, with nothing to ask or to run."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

#: Bytes of output that are kept; a configuration has 512 KiB at most.
OUTPUT_LIMIT = 1024 * 1024
#: Largest file that git may write, in blocks of 512 bytes: 4 GiB. It has no limit of its
#: own for what a repository makes it fetch.
_FILE_BLOCKS = 8 * 1024 * 1024
#: A group of its own, so that git's helpers die with it.
_LAUNCH = f"""\
ulimit -f {_FILE_BLOCKS} 2>/dev/null
command -v setsid >/dev/null && exec setsid git "$@"
exec git "$@"
"""

#: What else of the master's environment git may see.
_KEPT = ("PATH", "HOME", "USER", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR")
_KEPT_ENDINGS = ("_PROXY",)

_CONFIGURATION = f"""\
[core]
	hooksPath = {os.devnull}
	fsmonitor = false
[gc]
	auto = 0
[maintenance]
	auto = false
[fetch]
	unpackLimit = 1
	recurseSubmodules = false
	writeCommitGraph = false
[http]
	lowSpeedLimit = 1000
	lowSpeedTime = 30
[protocol]
	version = 2
[safe]
	directory = *
"""


@dataclass(frozen=True)
class Ended:
    """How a git command ended."""

    status: int
    out: bytes
    err: str

    @property
    def said(self) -> str:
        """The line of its complaint that says most, for people."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        telling = [
            line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))
        ]
        chosen = (telling or lines[-1:] or [f"git ended with status {self.status}"])[0]
        return "".join(char if char.isprintable() else "?" for char in chosen)[:300]


class GitTimeout(Exception):
    """A command took longer than it may and was killed."""


@dataclass(frozen=True)
class Git:
    """Runs commands; ``home`` holds the configuration they read.

    After the operator's own, of the account that the master runs as: what gives git
    credentials stands there.
    """

    reactor: Any
    home: Path
    protocols: tuple[str, ...]

    def prepare(self) -> None:
        """Write the configuration."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = os.environ.get("GIT_CONFIG_GLOBAL") or os.path.expanduser("~/.gitconfig")
        text = _CONFIGURATION
        if os.path.isfile(own):
            quoted = own.replace("\\", "\\\\").replace('"', '\\"')
            text = f'[include]\n\tpath = "{quoted}"\n{text}'
        unfinished = self.home / ".gitconfig.new"
        unfinished.write_text(text)
        os.replace(unfinished, self.home / "gitconfig")

    async def run(self, mirror: Path | None, seconds: float, *arguments: str) -> Ended:
        """Run ``git arguments`` on ``mirror`` for so long at most; `GitTimeout`.

        Cancelling kills it, with all that it started.
        """
        process = _Process()
        self.reactor.spawnProcess(
            process,
            "/bin/sh",
            ["sh", "-c", _LAUNCH, "git", *arguments],
            self._environment(mirror),
            str(self.home),
        )
        timer = self.reactor.callLater(max(0, seconds), process.give_up)
        try:
            return await process.ended
        finally:
            if timer.active():
                timer.cancel()

    def _environment(self, mirror: Path | None) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in _KEPT or name.upper().endswith(_KEPT_ENDINGS)
        }
        # Named outright: git would look for a damaged repository in the folders above.
        place = {} if mirror is None else {"GIT_DIR": str(mirror)}
        return {
            **kept,
            **place,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
            "LC_ALL": "C.UTF-8",
        }


class _Process(ProcessProtocol):
    """One command, its output kept up to the limit."""

    def __init__(self) -> None:
        self.ended: Deferred[Ended] = Deferred(lambda _: self._kill())
        self._kept: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        kept = self._kept[childFD]
        kept += data[: OUTPUT_LIMIT - len(kept)]

    def give_up(self) -> None:
        """Kill it and its helpers, and wait no longer."""
        self._kill()
        if not self.ended.called:
            self.ended.errback(GitTimeout())

    def _kill(self) -> None:
        pid = getattr(self.transport, "pid", None)
        if pid is None:
            return
        # In its first moments it has no group yet.
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def processEnded(self, reason: Failure) -> None:
        if self.ended.called:
            return
        status = 0 if reason.check(ProcessDone) else getattr(reason.value, "exitCode", -1)
        self.ended.callback(
            Ended(
                status if status is not None else -1,
                bytes(self._kept[1]),
                self._kept[2].decode("utf-8", "replace"),
            )
        )
