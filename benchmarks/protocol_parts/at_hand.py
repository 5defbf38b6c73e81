"""What the parts have at hand: folders and clean-ups as tests have them, and processes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from benchmarks.machine import processor_seconds


class Bench:
    """Stands where the helpers of the test suite want a test."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-benchmark-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        self._undo: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def addCleanup(self, undo: Callable[..., Any], *given: Any, **named: Any) -> None:
        self._undo.append((undo, given, named))

    def mktemp(self) -> str:
        return tempfile.mktemp(dir=self.folder)

    def skipTest(self, reason: str) -> None:
        raise RuntimeError(reason)

    async def tidy(self) -> None:
        while self._undo:
            undo, given, named = self._undo.pop()
            try:
                await maybeDeferred(undo, *given, **named)
            except Exception as error:
                print(f"tidying up: {error!r}")
        shutil.rmtree(self.folder, ignore_errors=True)


class Told(ProcessProtocol):
    """A child that prints JSON objects, one a line."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.errors = b""
        self.ended: Deferred[None] = Deferred()
        self._rest = b""
        self._waits: list[tuple[Callable[[dict[str, Any]], bool], Deferred[Any]]] = []

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            document = json.loads(line)
            self.heard.append(document)
            for wait in list(self._waits):
                if wait[0](document):
                    self._waits.remove(wait)
                    wait[1].callback(document)

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def until(self, key: str, value: object = None) -> Deferred[dict[str, Any]]:
        """The first object with ``key`` (and that value), also of the past."""

        def fits(document: dict[str, Any]) -> bool:
            return key in document and (value is None or document[key] == value)

        for document in self.heard:
            if fits(document):
                found: Deferred[dict[str, Any]] = Deferred()
                found.callback(document)
                return found
        waiting: Deferred[dict[str, Any]] = Deferred()
        self._waits.append((fits, waiting))
        return waiting

    def processEnded(self, reason: Failure) -> None:
        for _, waiting in self._waits:
            waiting.errback(RuntimeError(f"it ended: {self.errors.decode()[-2000:]}"))
        self.ended.callback(None)

    async def end(self) -> None:
        """Close its input, and see it end."""
        if not self.ended.called:
            transport: Any = self.transport
            transport.closeStdin()
            try:
                await self.ended.addTimeout(20, _reactor())
            except Exception:
                try:
                    transport.signalProcess("KILL")
                except ProcessExitedAlready:
                    pass


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def memory_of(pid: int) -> int:
    """Bytes of memory that the process has for itself."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss")


def resident_of(pid: int) -> int:
    """Bytes of memory that the process has in use, shared ones among them.

    From now on its peak is counted anew.
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS:")


def peak_of(pid: int) -> int:
    """The most bytes since `resident_of` was asked."""
    return _status(pid, "VmHWM:")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field}")


__all__ = ["Bench", "Told", "memory_of", "processor_seconds"]
