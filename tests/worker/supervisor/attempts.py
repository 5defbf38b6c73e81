"""Attempts for tests: an order, a real supervisor process that runs it, what it told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import (
    Ended,
    LogChunk,
    PipelineJobEnded,
    Report,
    ReportBody,
    decode_from_worker,
)
from protocol.order import Artifacts, GitSource, Order
from protocol.pipeline.model import PipelineJob
from protocol.results import Result
from protocol.stages import Cell, title
from worker.supervisor import attach
from worker.supervisor.settings import Settings
from worker.supervisor.spool import SpoolReader

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
#: Seconds after which a supervisor that should be over is thought to hang.
HANGS = 60


def folder(test: SynchronousTestCase) -> Path:
    """A folder for ``test``; removed after it, whatever is in it."""
    path = Path(test.mktemp()).absolute()
    path.mkdir(parents=True)
    test.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path


def repository(test: SynchronousTestCase, files: dict[str, str]) -> GitSource:
    """A new git repository with one commit of ``files``."""
    place = folder(test) / "hello"
    place.mkdir()
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    return GitSource(repository=str(place), commit=commit(place))


def commit(place: Path, *, add: bool = True) -> str:
    """Commit all that is in the folder ``place`` (or in its index); the commit."""
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    for arguments in (
        ["init", "--quiet"],
        *([["add", "--all"]] if add else []),
        ["commit", "--quiet", "--allow-empty", "-m", "Work"],
    ):
        subprocess.run(["git", *identity, *arguments], cwd=place, check=True)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=place, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode().strip()


def job(run: str | None, **keys: Any) -> PipelineJob:
    """A concrete pipeline job."""
    return PipelineJob(run=run, **{"series": "jammy", "architectures": ("amd64",), **keys})


def order(
    source: Any, content: Sequence[Sequence[tuple[str, PipelineJob]]], **changes: Any
) -> Order:
    """An order for stages of pairs of name and job; indices count up for each name."""
    jobs: dict[str, tuple[PipelineJob, ...]] = {}
    cells: list[list[Cell]] = []
    for stage in content:
        cells.append([])
        for name, each in stage:
            jobs[name] = (*jobs.get(name, ()), each)
            cells[-1].append((name, len(jobs[name]) - 1))
    fields: dict[str, Any] = {
        "job": 7,
        "attempt": 2,
        "isolation": "native",
        "architecture": "amd64",
        "series": "jammy",
        "source": source,
        "project": "hello",
        "stages": tuple(tuple(stage) for stage in cells),
        "stage_numbers": tuple(range(len(cells))),
        "jobs": jobs,
        "artifacts": Artifacts(url="http://127.0.0.1:1", token="token"),
        "fence_after": 60.0,
    }
    return Order(**{**fields, **changes})


@dataclass(frozen=True)
class Told:
    """What an attempt told."""

    bodies: tuple[ReportBody, ...]

    def of(self, kind: type[T]) -> list[T]:
        """The reports of one kind."""
        return [body for body in self.bodies if isinstance(body, kind)]

    @property
    def end(self) -> Ended:
        """The last report, which must be the attempt's end."""
        last = self.bodies[-1]
        assert isinstance(last, Ended), last
        return last

    @property
    def jobs(self) -> dict[str, PipelineJobEnded]:
        """How each pipeline job ended."""
        return {title(body.name, body.index): body for body in self.of(PipelineJobEnded)}

    @property
    def results(self) -> dict[str, str]:
        """The result of each pipeline job."""
        return {name: body.result.value for name, body in self.jobs.items()}

    def log(self, name: str | None = None) -> str:
        """The log of the attempt, or of the pipeline jobs called ``name``."""
        chunks = [b for b in self.of(LogChunk) if name is None or b.name == name]
        return b"".join(zstandard.decompress(c.data) for c in chunks).decode()


def told(place: Path) -> Told:
    """What stands in the spool in ``place``; the numbering is checked on the way."""
    reader = SpoolReader(place)
    bodies = []
    for number, frame in enumerate(reader.read_from(1, 2**40), 1):
        [report] = decode_from_worker(frame)
        assert isinstance(report, Report)
        assert (report.job, report.attempt, report.number) == (7, 2, number)
        bodies.append(report.body)
    reader.close()
    return Told(tuple(bodies))


def begin(
    test: SynchronousTestCase, asked: Order, **settings: Any
) -> tuple[Path, subprocess.Popen[bytes]]:
    """Start a supervisor, as a child of the test; the attempt's folder, the process."""
    top = folder(test)
    place = top / "7-2"
    chosen = Settings(**{"cache": str(top / "cache"), "grace": 0.5, **settings})
    attach.write_order(place, asked, chosen)
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.supervisor", str(place)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=(place / attach.LOG).open("wb"),
    )
    test.addCleanup(_bury, place, process)
    return place, process


def _bury(place: Path, process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    attach.remove(place)


def run(test: SynchronousTestCase, asked: Order, **settings: Any) -> Told:
    """Run ``asked`` under a supervisor to its end; what it told."""
    place, process = begin(test, asked, **settings)
    status = process.wait(HANGS)
    complaints = (place / attach.LOG).read_text()
    test.assertEqual((status, complaints), (0, ""))
    return told(place)


def passed(test: SynchronousTestCase, ran: Told) -> None:
    """See to it that the attempt passed; else show its log."""
    test.assertEqual((ran.end.result, ran.end.reason), (Result.SUCCESS, ""), ran.log())
