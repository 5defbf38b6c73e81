"""Every process that a run starts, and the promise that none outlives it.

Each is told to stop by the kernel when this process dies, however that comes about, and
is ended by its process id, politely and then by force, when the run is over.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import TimeoutError as WaitedTooLong

from buildmaster.postgres.account import Account
from buildmaster.postgres.child import Child, start_child

#: Signals by which a process is ended, and the seconds that it gets for each.
POLITE = (("TERM", 20.0), ("KILL", 10.0))


class ProcessFailed(Exception):
    """A program ended otherwise than with success, or took too long; its last words."""


class Processes:
    """Starts programs as this account, or as another one when root."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._own = Account("", os.geteuid(), os.getegid(), is_other=False)
        self._running: list[tuple[Child, Sequence[tuple[str, float]]]] = []

    def start(
        self,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str],
        account: Account | None = None,
        end: Sequence[tuple[str, float]] = POLITE,
    ) -> Child:
        """Start ``command`` in ``/``; what it prints goes to the end of ``log``."""
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = start_child(
                self._reactor, account or self._own, list(command), environ, output
            )
        finally:
            os.close(output)
        self._running.append((child, end))
        return child

    async def run(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        timeout: float = 120,
        account: Account | None = None,
        end: Sequence[tuple[str, float]] = POLITE,
    ) -> str:
        """Run ``command`` to its end; what it printed, or `ProcessFailed`."""
        with tempfile.TemporaryDirectory(prefix="headrace-said-") as folder:
            log = Path(folder) / "log"
            child = self.start(command, log, environ, account, end)
            try:
                await child.when_ended().addTimeout(timeout, self._reactor)
            except WaitedTooLong:
                await self.end(child)
                told: str | None = f"not over after {timeout:.0f} s"
            else:
                told = None if child.succeeded else child.end
                self._forget(child)
            said = log.read_text("utf-8", "replace")
        if told is not None:
            raise ProcessFailed(f"{' '.join(command)}: {told}: {said[-2000:]}")
        return said

    async def end(self, child: Child) -> None:
        """End one, and wait until it is gone."""
        for name, patience in self._forget(child):
            child.signal(name)
            try:
                await child.when_ended().addTimeout(patience, self._reactor)
                return
            except WaitedTooLong:
                continue

    async def end_all(self) -> None:
        """End what still runs, the youngest first."""
        while self._running:
            await self.end(self._running[-1][0])

    def _forget(self, child: Child) -> Sequence[tuple[str, float]]:
        for entry in self._running:
            if entry[0] is child:
                self._running.remove(entry)
                return entry[1]
        return ()
