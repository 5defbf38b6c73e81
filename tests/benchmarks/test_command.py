"""``python -m benchmarks``, as people run it; nothing is said of what it measures."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from twisted.internet import reactor, utils
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from benchmarks.__main__ import names
from benchmarks.queue import PARTS
from benchmarks.status import PARTS as STATUS
from benchmarks.workflows import PARTS as WORKFLOWS
from buildmaster.postgres.account import NoAccount
from buildmaster.postgres.binaries import NoBinaries, find_binaries
from tests.farm import folder_for, processes_of
from tests.requirements import require

CHECKOUT = Path(__file__).resolve().parents[2]


class Command(ProcessProtocol):
    """``python -m benchmarks`` with some arguments."""

    def __init__(self, *arguments: str) -> None:
        self.out = b""
        self.err = b""
        self.ended: Deferred[int] = Deferred()
        self._expected: list[tuple[bytes, Deferred[None]]] = []
        process = reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-m", "benchmarks", *arguments],
            env=dict(os.environ),
            path=str(CHECKOUT),
        )
        self.pid: int = process.pid

    def until(self, text: bytes) -> Deferred[None]:
        """Fires when it has said ``text`` on standard error."""
        waiting: Deferred[None] = Deferred()
        self._expected.append((text, waiting))
        self.errReceived(b"")
        return waiting

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.err += data
        for expected in list(self._expected):
            if expected[0] in self.err:
                self._expected.remove(expected)
                expected[1].callback(None)

    def processEnded(self, reason: Failure) -> None:
        for text, waiting in self._expected:
            waiting.errback(AssertionError(f"no {text!r} in {self.err!r}"))
        status = getattr(reason.value, "exitCode", None)
        self.ended.callback(-1 if status is None else status)


class QuickTests(TestCase):
    """``--quick``: every part runs once and measures nothing."""

    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        try:
            find_binaries(os.environ)
        except (NoBinaries, NoAccount) as error:
            require(self, False, str(error))
        self.folder = folder_for(self)

    async def test_every_part_runs_and_prints_the_agreed_object(self) -> None:
        command = Command("queue", "--quick", "--json", "--folder", str(self.folder))
        status = await command.ended
        self.assertEqual(status, 3, command.err.decode())
        document = json.loads(command.out)
        self.assertEqual(list(document), ["machine", "reference", "figures", "must_show"])
        measured = {name for name, found in document["figures"].items() if "took" in found}
        expected = {part.name for part in PARTS} - {"peers"}
        self.assertEqual(measured, expected, command.err.decode())
        for entry in document["must_show"]:
            self.assertLessEqual({"name", "value", "unit", "bar", "holds"}, set(entry))
            self.assertIsNone(entry["holds"], entry)
        self.assertEqual(processes_of(self.folder), [])
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_the_parts_of_the_status_run_too(self) -> None:
        command = Command("status", "--quick", "--json", "--folder", str(self.folder))
        status = await command.ended
        self.assertEqual(status, 3, command.err.decode())
        figures = json.loads(command.out)["figures"]
        measured = {name for name, found in figures.items() if "took" in found}
        expected = {part.name for part in STATUS} - {"peers"}
        self.assertEqual(measured, expected, command.err.decode())
        self.assertEqual(processes_of(self.folder), [])

    async def test_the_parts_of_workflows_run_too(self) -> None:
        command = Command("workflows", "--quick", "--json", "--folder", str(self.folder))
        status = await command.ended
        self.assertEqual(status, 3, command.err.decode())
        figures = json.loads(command.out)["figures"]
        measured = {name for name, found in figures.items() if "took" in found}
        expected = {part.name for part in WORKFLOWS} - {"dbos"}
        self.assertEqual(measured, expected, command.err.decode())

    async def test_ctrl_c_leaves_nothing_behind(self) -> None:
        command = Command("queue", "--quick", "--folder", str(self.folder))
        await command.until(b"drain")
        os.kill(command.pid, signal.SIGINT)
        self.assertNotEqual(await command.ended, 0)
        self.assertEqual(processes_of(self.folder), [])
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_processes_end_with_a_run_that_is_killed(self) -> None:
        command = Command("queue", "--quick", "--folder", str(self.folder))
        await command.until(b"drain")
        self.assertNotEqual(processes_of(self.folder), [])
        os.kill(command.pid, signal.SIGKILL)
        await command.ended
        while processes_of(self.folder):
            turned: Deferred[None] = Deferred()
            reactor.callLater(0.02, turned.callback, None)
            await turned


class UsageTests(TestCase):
    """What is asked for by name."""

    async def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        _, err, status = await utils.getProcessOutputAndValue(
            sys.executable,
            ["-m", "benchmarks", "speed"],
            env=dict(os.environ),
            path=str(CHECKOUT),
        )
        self.assertEqual(status, 2)
        self.assertIn(b"queue", err)

    def test_what_has_no_run_is_no_benchmark(self) -> None:
        self.assertIn("queue", names())
        self.assertNotIn("report", names())
        self.assertNotIn("server", names())
