"""What every part of a benchmark has at hand, made before and taken away after it."""

from __future__ import annotations

import shutil
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from twisted.internet.task import deferLater

from benchmarks.processes import Processes
from benchmarks.report import Figures
from benchmarks.server import Server

T = TypeVar("T")


class NeverReached(Exception):
    """Something that should happen by itself did not."""


@dataclass(frozen=True)
class Bench:
    """One run: its options, its folder, its processes and its PostgreSQL."""

    options: Namespace
    reactor: Any
    folder: Path  #: others may pass through it; gone after the run
    processes: Processes
    server: Server
    reference: Figures = field(default_factory=dict)

    @property
    def quick(self) -> bool:
        """Only show that it runs: small counts, figures that mean nothing."""
        return bool(self.options.quick)

    def count(self, full: int, quick: int) -> int:
        """How many: ``full``, or ``quick`` where nothing is to be measured."""
        return quick if self.quick else full

    async def until(
        self,
        reached: Callable[[], Awaitable[T | None]],
        *,
        pause: float,
        patience: float = 600.0,
    ) -> T:
        """What ``reached`` gives as soon as that is true; looks every ``pause`` seconds.

        Raises `NeverReached` after ``patience`` seconds.
        """
        ends = monotonic() + patience
        while not (found := await reached()):
            if monotonic() > ends:
                raise NeverReached(f"what was waited for did not come in {patience:.0f} s")
            await deferLater(self.reactor, pause)
        return found


@asynccontextmanager
async def bench(options: Namespace, reactor: Any) -> AsyncIterator[Bench]:
    """A folder and a server for one run; nothing of either is left after it."""
    processes = Processes(reactor)
    folder = Path(tempfile.mkdtemp(prefix="headrace-benchmark-", dir=options.folder))
    folder.chmod(0o711)
    try:
        server = Server(reactor, processes, folder / "postgres", small=options.quick)
        await server.start()
        yield Bench(options, reactor, folder, processes, server)
    finally:
        await processes.end_all()
        shutil.rmtree(folder, ignore_errors=True)
