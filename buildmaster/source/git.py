"""Runs git commands: asynchronously, in bounded time, with nothing to ask or to run."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from buildmaster.requests import Refusal

REMOTE_PROTOCOLS = ("https", "http", "ssh", "git")
#: user@host:path, which git takes for ssh.
_SSH_SHORT = re.compile(r"(?:[\w.+-]+@)?[\w.-]+:(?![:/])[^\s]+\Z", re.ASCII)

#: Bytes of output that are kept; a configuration has 512 KiB at most.
OUTPUT_LIMIT = 1024 * 1024

_CONFIGURATION = f"""\
[core]
	hooksPath = {os.devnull}
	fsmonitor = false
[gc]
	auto = 0
[maintenance]
	auto = false
[fetch]
	recurseSubmodules = false
[http]
	lowSpeedLimit = 1000
	lowSpeedTime = 30
[protocol]
	version = 2
[safe]
	directory = *
"""


def check_address(repository: str, *, allow_local: bool) -> None:
    """Refuse what git must not be given: options, helpers, other protocols."""
    if repository.startswith("/"):
        scheme, is_allowed = "a path of the buildmaster's machine", allow_local
    elif _SSH_SHORT.match(repository) and not repository.startswith("-"):
        scheme, is_allowed = "ssh", True
    else:
        try:
            parts = urlsplit(repository)
            scheme, host = parts.scheme, parts.hostname or ""
        except ValueError:
            scheme, host = "", ""
        is_allowed = (
            scheme in REMOTE_PROTOCOLS
            and host != ""
            and not host.startswith("-")
            and "::" not in repository.partition("://")[0]
            and not re.search(r"[\x00-\x20\x7f]", repository)
        )
    if not is_allowed:
        raise Refusal(
            422,
            "repository_not_allowed",
            f"The address of the repository cannot be used ({scheme or 'no protocol'}). "
            f"Give a URL that begins with {', '.join(REMOTE_PROTOCOLS[:-1])} or "
            f"{REMOTE_PROTOCOLS[-1]}"
            + (
                ", or an absolute path." if allow_local else "; paths are not allowed here."
            ),
        )


@dataclass(frozen=True)
class Ended:
    """How a git command ended."""

    status: int
    out: bytes
    err: str

    @property
    def said(self) -> str:
        """The last line of its complaint, for people."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"git ended with status {self.status}"


class GitTimeout(Exception):
    """A command took longer than it may and was killed."""


@dataclass(frozen=True)
class Git:
    """Runs commands; ``home`` holds the only configuration they read."""

    reactor: Any
    home: Path
    protocols: tuple[str, ...]
    time_limit: float = 60.0  #: seconds for one command

    def prepare(self) -> None:
        """Write the configuration."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = self.home / ".gitconfig.new"
        unfinished.write_text(_CONFIGURATION)
        os.replace(unfinished, self.home / "gitconfig")

    async def run(self, folder: Path, *arguments: str) -> Ended:
        """Run ``git arguments`` in ``folder``; `GitTimeout`."""
        process = _Process()
        # A group of its own, so that its helpers die with it.
        self.reactor.spawnProcess(
            process,
            "setsid",
            ["setsid", "git", *arguments],
            self._environment(),
            str(folder),
        )
        timer = self.reactor.callLater(self.time_limit, process.give_up)
        try:
            return await process.ended
        finally:
            if timer.active():
                timer.cancel()

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            **{k: v for k, v in os.environ.items() if k.startswith(("SSL_", "GIT_SSL_"))},
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
        self.ended: Deferred[Ended] = Deferred()
        self._kept: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self._is_late = False

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        kept = self._kept[childFD]
        kept += data[: OUTPUT_LIMIT - len(kept)]

    def give_up(self) -> None:
        """Kill it and its helpers."""
        self._is_late = True
        pid = getattr(self.transport, "pid", None)
        with suppress(ProcessLookupError):
            if pid is not None:
                os.killpg(pid, signal.SIGKILL)

    def processEnded(self, reason: Failure) -> None:
        if self._is_late:
            self.ended.errback(GitTimeout())
            return
        status = 0 if reason.check(ProcessDone) else getattr(reason.value, "exitCode", -1)
        self.ended.callback(
            Ended(
                status if status is not None else -1,
                bytes(self._kept[1]),
                self._kept[2].decode("utf-8", "replace"),
            )
        )
