from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.buildmaster.client.scripted_farm import (
    ScriptedFarm,
    document,
    problem,
    streamed,
)

CHECKOUT = Path(__file__).parents[3]
JOB = {
    "id": 7,
    "kind": "build",
    "name": "pipeline",
    "state": "done",
    "result": "failure",
    "attempt": 2,
    "reason": "lint:0 failed",
    "architecture": "amd64",
    "series": "bookworm",
    "pipeline_jobs": [
        {"name": "lint", "index": 0, "stage": 0, "state": "done", "result": "failure"}
    ],
    "attempts": [{"number": 2, "worker": "ant", "result": "failure", "log_length": 12}],
}
SUBMITTED = {
    "run": 3,
    "source_digest": "a" * 40,
    "jobs": [
        {
            "id": 7,
            "kind": "build",
            "name": "pipeline",
            "architecture": "amd64",
            "series": "bookworm",
            "part": 0,
            "state": "done",
            "result": "success",
            "attempt": 1,
            "merged": True,
        }
    ],
    "skipped": [
        {
            "architecture": "s390x",
            "series": None,
            "jobs": ["lint:0"],
            "reason": "no worker has s390x",
        }
    ],
    "notes": [],
}


class Ended:
    """How a command ended, and what it printed."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status = status
        self.out = out.decode()
        self.err = err.decode()


class Command(ProcessProtocol):
    """One ``headrace`` process; ``ended`` fires with an `Ended`."""

    def __init__(self, *arguments: str, terminal: bool = False, **environ: str) -> None:
        self.ended: Deferred[Ended] = Deferred()
        self.out = b""
        self.err = b""
        self._awaited: list[tuple[bytes, Deferred[None]]] = []
        script = "from buildmaster.cli.main import main; main()"
        self.process: Any = reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-c", script, *arguments],
            env={"PATH": os.environ["PATH"], "XDG_DATA_HOME": "/nonexistent", **environ},
            path=str(CHECKOUT),
            usePTY=terminal,
        )

    async def said(self, text: str) -> None:
        """Wait until it printed ``text``."""
        if text.encode() not in self.out:
            waiting: Deferred[None] = Deferred()
            self._awaited.append((text.encode(), waiting))
            await waiting

    def outReceived(self, data: bytes) -> None:
        """Keep it."""
        self.out += data
        for text, waiting in self._awaited:
            if text in self.out and not waiting.called:
                waiting.callback(None)

    def errReceived(self, data: bytes) -> None:
        """Keep it."""
        self.err += data

    def processEnded(self, reason: Failure) -> None:
        """Tell how."""
        ended = reason.value
        status = ended.exitCode if isinstance(ended, ProcessTerminated) else 0
        self.ended.callback(Ended(-1 if status is None else status, self.out, self.err))


class CommandLineTests(TestCase):
    """The command as a process, with a farm that says what the test tells it to."""

    timeout = 60

    def setUp(self) -> None:
        """A farm with one job."""
        self.farm = ScriptedFarm(self)
        self.farm.answers["GET /api/v1/jobs"] = document({"jobs": [JOB]})
        self.farm.answers["GET /api/v1/jobs/7"] = document(JOB)

    async def headrace(self, *arguments: str, **environ: str) -> Ended:
        """Run it to its end."""
        environ = {"HEADRACE_URL": self.farm.url, **environ}
        return await Command(*arguments, terminal=False, **environ).ended

    async def test_without_a_command_it_says_how_it_is_used(self) -> None:
        ended = await self.headrace()
        self.assertEqual(ended.status, 2)
        self.assertIn("usage: headrace", ended.err)

    async def test_jobs_are_a_table_or_json(self) -> None:
        ended = await self.headrace("jobs")
        self.assertEqual(ended.status, 0)
        self.assertIn("lint:0 failed", ended.out)
        ended = await self.headrace("jobs", "--json", "--state", "done")
        [job] = json.loads(ended.out)
        self.assertEqual((job["id"], job["kind"], job["attempt"]), (7, "build", 2))
        self.assertEqual(self.farm.heard[-1][0], "GET /api/v1/jobs?state=done")

    async def test_workers_are_listed_like_everything_else(self) -> None:
        self.farm.answers["GET /api/v1/workers"] = document(
            {
                "workers": [
                    {
                        "name": "ant",
                        "state": "connected",
                        "slots": 2,
                        "running": [{"job": 7, "attempt": 1}],
                        "offers": [
                            {
                                "isolation": "native",
                                "architecture": "amd64",
                                "series": ["*"],
                            }
                        ],
                    }
                ]
            }
        )
        ended = await self.headrace("workers")
        self.assertIn("1 of 2: 7", ended.out)
        self.assertIn("native/amd64 (*)", ended.out)
        [worker] = json.loads((await self.headrace("workers", "--json")).out)
        self.assertEqual(
            (worker["id"], worker["kind"], worker["attempt"], worker["result"]),
            ("ant", "worker", None, None),
        )

    async def test_a_job_is_shown(self) -> None:
        ended = await self.headrace("show", "7")
        self.assertIn("build 7: pipeline, failed", ended.out)
        self.assertIn("lint:0 failed", ended.out)

    async def test_an_unknown_job_is_a_sentence(self) -> None:
        self.farm.answers["GET /api/v1/jobs/9"] = problem(404, "There is no job 9.")
        ended = await self.headrace("show", "9")
        self.assertEqual(ended.status, 1)
        self.assertEqual(ended.err, "headrace: There is no job 9.\n")

    async def test_a_hostile_farm_writes_no_control_characters_to_the_terminal(
        self,
    ) -> None:
        self.farm.answers["GET /api/v1/jobs/9"] = problem(404, "a\x1b[2J\nheadrace: b")
        ended = await self.headrace("show", "9")
        self.assertNotIn("\x1b", ended.err)

    async def test_a_farm_that_is_not_there_is_a_sentence(self) -> None:
        ended = await self.headrace("jobs", HEADRACE_URL="http://127.0.0.1:1")
        self.assertEqual(ended.status, 1)
        self.assertIn("HEADRACE_URL", ended.err)
        self.assertEqual(len(ended.err.splitlines()), 1)

    async def test_logs_are_printed_byte_for_byte_where_no_terminal_is(self) -> None:
        self.farm.answers["GET /api/v1/jobs/7/log?name=lint&index=0"] = lambda request: (
            b"\x1b[2Jlog"
        )
        ended = await self.headrace("logs", "7", "lint:0")
        self.assertEqual((ended.status, ended.out), (0, "\x1b[2Jlog"))

    async def test_a_terminal_gets_colours_and_nothing_else_of_a_log(self) -> None:
        self.farm.answers["GET /api/v1/jobs/7/log"] = lambda request: (
            b"\x1b[2Ja\x1b]0;title\x07\x1b[31mred\n"
        )
        command = Command("logs", "7", terminal=True, HEADRACE_URL=self.farm.url)
        ended = await command.ended
        self.assertEqual(ended.out, "a\x1b[31mred\x1b[0m\r\n")

    async def test_a_reader_that_leaves_is_no_error_to_speak_of(self) -> None:
        """As in ``headrace logs -f 7 | head -1``."""
        self.farm.answers["GET /api/v1/jobs/7/log"] = streamed(b"one\n")
        command = Command("logs", "-f", "7", HEADRACE_URL=self.farm.url)
        await command.said("one")
        command.process.closeStdout()
        self.farm.open[0].write(b"two\n" * 50_000)
        ended = await command.ended
        self.assertEqual((ended.status, ended.err), (1, ""))

    async def test_an_interrupt_ends_it_quietly(self) -> None:
        self.farm.answers["GET /api/v1/jobs/7/log"] = streamed(b"one\n")
        command = Command("logs", "-f", "7", HEADRACE_URL=self.farm.url)
        await command.said("one")
        os.kill(command.process.pid, signal.SIGINT)
        ended = await command.ended
        self.assertEqual((ended.status, ended.err), (130, ""))

    async def test_a_retry_names_the_pipeline_job(self) -> None:
        self.farm.answers["POST /api/v1/jobs/7/retry"] = document(
            {"id": 7, "kind": "build", "attempt": 3, "state": "ready", "result": None}, 202
        )
        ended = await self.headrace("retry", "7", "lint:0")
        self.assertEqual(ended.out, "Job 7 is ready again, as attempt 3.\n")
        self.assertEqual(json.loads(self.farm.heard[-1][1])["only"], "lint:0")
        ended = await self.headrace("retry", "7", "lint")
        self.assertEqual(ended.status, 2)

    async def test_cancel_asks_for_a_job_or_a_run(self) -> None:
        for kind in ("job", "run"):
            self.farm.answers[f"POST /api/v1/{kind}s/3/cancel"] = document({}, 202)
        await self.headrace("cancel", "3")
        await self.headrace("cancel", "3", "--run", "--why", "enough")
        self.assertEqual(
            [target for target, _ in self.farm.heard],
            ["POST /api/v1/jobs/3/cancel", "POST /api/v1/runs/3/cancel"],
        )

    async def test_submit_says_what_was_merged_and_left_out(self) -> None:
        self.farm.answers["POST /api/v1/runs"] = document(SUBMITTED, 200)
        ended = await self.headrace("submit", "https://example.com/r", "main", "--force")
        self.assertEqual(ended.status, 0)
        self.assertIn("which was asked for before and passed", ended.out)
        self.assertIn("left out on s390x: lint:0: no worker has s390x", ended.out)
        asked = json.loads(self.farm.heard[-1][1])
        self.assertEqual(
            asked["source"],
            {"kind": "git", "repository": "https://example.com/r", "revision": "main"},
        )
        self.assertTrue(asked["force"])

    async def test_everything_wrong_with_a_configuration_is_listed(self) -> None:
        self.farm.answers["POST /api/v1/runs"] = problem(
            422,
            "The file has 2 errors.",
            problems=[
                {"where": "jobs.x", "line": 3, "message": "unknown key"},
                {"where": "pipeline", "line": None, "message": "is missing"},
            ],
        )
        ended = await self.headrace("submit", "https://example.com/r")
        self.assertEqual(
            ended.err.splitlines(),
            [
                "headrace: The file has 2 errors.",
                "    line 3, jobs.x: unknown key",
                "    pipeline: is missing",
            ],
        )
        self.assertEqual(ended.status, 1)
