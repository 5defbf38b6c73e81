from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from buildmaster.cli import following
from buildmaster.cli.following import RunFollower
from buildmaster.client.documents import RunDocument
from buildmaster.client.http import Client, FarmAway, FarmRefused
from tests.buildmaster.cli.recording_console import RecordingConsole
from tests.buildmaster.client.scripted_farm import ScriptedFarm, document, problem, streamed

BEGAN = "2026-01-31T12:00:00.000000Z"
ENDED = "2026-01-31T12:00:01.000000Z"


class FollowingTests(TestCase):
    """A run on a farm that says what the test tells it to, over real HTTP."""

    timeout = 20

    def setUp(self) -> None:
        """A farm with one run of one job that waits for a worker."""
        self.farm = ScriptedFarm(self)
        self.farm.answers["GET /api/v1/events"] = streamed(b": hello\n\n")
        self.console = RecordingConsole()
        self.run_is("open")
        self.job_is("ready")
        # Only events wake the follower, so that a test knows when it looks.
        self.patch(following, "LOOK_AGAIN", 3600.0)
        self.patch(following, "TRY_AGAIN", 0.01)
        client = Client(reactor, self.farm.url)
        self.follower = RunFollower(reactor, client, self.console, 3)

    def run_is(self, state: str, result: str | None = None, *more_jobs: int) -> None:
        """What the farm says about the run from now on."""
        jobs = [{"id": job, "name": "pipeline", "state": "?"} for job in (7, *more_jobs)]
        for job in jobs:
            job["architecture"] = {7: "amd64"}.get(int(str(job["id"])), "arm64")
        self.farm.answers["GET /api/v1/runs/3"] = document(
            {"id": 3, "state": state, "result": result, "jobs": jobs}
        )

    def job_is(self, state: str, job: int = 7, log: int = 0, **facts: Any) -> None:
        """What the farm says about a job from now on."""
        attempt = facts.get("attempt", 1)
        self.farm.answers[f"GET /api/v1/jobs/{job}"] = document(
            {
                "id": job,
                "kind": "build",
                "name": "pipeline",
                "state": state,
                "attempt": attempt,
                "stages": [[["build", 0]]],
                "attempts": [{"number": attempt, "log_length": log}],
                **facts,
            }
        )

    def log_is(self, answer: Any, job: int = 7, attempt: int = 1) -> None:
        """What the farm sends as the log of an attempt."""
        self.farm.answers[f"GET /api/v1/jobs/{job}/log?attempt={attempt}&follow=1"] = answer

    def follow(self) -> Deferred[RunDocument]:
        """Begin."""
        return Deferred.fromCoroutine(self.follower.follow())

    async def asked(self, target: str, times: int = 1) -> None:
        """Wait until the farm was asked for ``target``."""
        while sum(heard == target for heard, _ in self.farm.heard) < times:
            await self.moment()

    async def printed(self, line: str) -> None:
        """Wait until ``line`` is on the console."""
        while line not in self.console.lines:
            await self.moment()

    async def moment(self) -> None:
        """Let the reactor turn once."""
        turned: Deferred[None] = Deferred()
        reactor.callLater(0.001, turned.callback, None)
        await turned

    async def tell_event(self) -> None:
        """Send an event to the follower."""
        while not any(b"/events" in request.uri for request in self.farm.open):
            await self.moment()
        for request in self.farm.open:
            if b"/events" in request.uri and not request.finished:
                request.write(b"id: 1-1\nevent: job.running\ndata: {}\n\n")

    async def test_a_run_is_shown_from_its_start_to_its_end(self) -> None:
        ended = self.follow()
        await self.asked("GET /api/v1/jobs/7")
        self.log_is(streamed(b"hello\n"))
        build = {"name": "build", "index": 0, "stage": 0, "started_at": BEGAN}
        self.job_is("running", worker="ant", pipeline_jobs=[build])
        await self.tell_event()
        await self.printed("hello")
        self.job_is(
            "done",
            log=10,
            result="success",
            worker="ant",
            pipeline_jobs=[{**build, "result": "failure", "finished_at": ENDED}],
        )
        await self.tell_event()
        await self.asked("GET /api/v1/jobs/7", times=3)
        self.run_is("done", "success")
        await self.tell_event()
        for request in self.farm.open:
            if b"/log" in request.uri:
                request.write(b"bye\n")
                request.finish()
        run = await ended
        self.assertEqual(run.result, "success")
        self.assertEqual(
            self.console.lines,
            [
                "==> on worker ant",
                "==> stage 1 of 1: build:0",
                "hello",
                "bye",
                "==> build:0 failed in 1.0 s",
            ],
        )

    async def test_what_the_farm_did_before_is_shown_too(self) -> None:
        """A submission that was merged into a job that is done."""
        self.run_is("done", "success")
        self.job_is("done", log=4, result="success")
        self.log_is(lambda request: b"old\n")
        run = await self.follow()
        self.assertEqual((run.result, self.console.lines), ("success", ["old"]))

    async def test_a_log_that_breaks_goes_on_where_it_was(self) -> None:
        self.job_is("running")
        self.log_is(streamed(b"one\ntw"))
        ended = self.follow()
        await self.printed("tw")
        self.log_is(lambda request: b"one\ntwo\n")
        self.job_is("done", log=8, result="success")
        self.run_is("done", "success")
        for request in self.farm.open:
            if b"/log" in request.uri:
                request.transport.abortConnection()
        await self.tell_event()
        await ended
        self.assertEqual(self.console.lines, ["one", "two"])

    async def test_another_attempt_has_a_log_of_its_own(self) -> None:
        self.job_is("running", log=6)
        self.log_is(lambda request: b"first\n")
        ended = self.follow()
        await self.printed("first")
        self.log_is(lambda request: b"second\n", attempt=2)
        self.job_is("done", log=7, attempt=2, result="success")
        self.run_is("done", "success")
        await self.tell_event()
        await ended
        self.assertEqual(self.console.lines[0], "first")
        self.assertEqual(
            sorted(self.console.lines[1:]), ["==> attempt 2 follows", "second"]
        )

    async def test_lines_of_several_jobs_say_whose_they_are(self) -> None:
        self.run_is("done", "failure", 8)
        self.job_is("done", log=4, result="success")
        self.job_is("done", job=8, log=4, result="failure", reason="build:0 failed")
        self.log_is(lambda request: b"one\n")
        self.log_is(lambda request: b"two\n", job=8)
        await self.follow()
        self.assertEqual(
            sorted(self.console.lines),
            ["amd64 | one", "arm64 | ==> failed: build:0 failed", "arm64 | two"],
        )

    async def test_a_farm_that_comes_back_is_waited_for(self) -> None:
        """As when its master is restarted."""
        ended = self.follow()
        await self.asked("GET /api/v1/jobs/7")
        breaking = self.farm.answers.pop("GET /api/v1/runs/3")

        def hang_up(request: Any) -> None:
            request.transport.abortConnection()

        self.farm.answers["GET /api/v1/runs/3"] = hang_up
        await self.tell_event()
        await self.asked("GET /api/v1/runs/3", times=4)
        self.farm.answers["GET /api/v1/runs/3"] = breaking
        self.run_is("done", "success")
        self.job_is("done", result="success")
        await ended
        told = [line for line in self.console.lines if "Waiting for it" in line]
        self.assertEqual(len(told), 1)

    async def test_a_farm_that_stays_away_is_given_up(self) -> None:
        self.patch(following, "AWAY_WITHIN", 0.05)

        def hang_up(request: Any) -> None:
            request.transport.abortConnection()

        self.farm.answers["GET /api/v1/runs/3"] = hang_up
        with self.assertRaises(FarmAway):
            await self.follow()

    async def test_a_refusal_ends_the_following(self) -> None:
        self.farm.answers["GET /api/v1/runs/3"] = problem(404, "There is no run 3.")
        with self.assertRaisesRegex(FarmRefused, "There is no run 3"):
            await self.follow()

    async def test_a_log_that_is_refused_ends_the_following(self) -> None:
        """Else nobody would know why nothing is shown."""
        self.job_is("running")
        self.log_is(problem(410, "That log is gone."))
        with self.assertRaisesRegex(FarmRefused, "That log is gone"):
            await self.follow()

    async def test_the_rest_of_a_log_is_not_waited_for_without_end(self) -> None:
        self.patch(following, "LOG_WITHIN", 0.05)
        self.patch(following, "LOOK_AGAIN", 0.02)
        self.run_is("done", "success")
        self.job_is("done", log=100, result="success")
        self.log_is(streamed(b"one\n"))
        await self.follow()
        self.assertIn("==> the farm does not send the rest of the log", self.console.lines)

    async def test_following_can_be_cancelled(self) -> None:
        self.job_is("running")
        self.log_is(streamed(b"one\n"))
        ended = self.follow()
        await self.printed("one")
        ended.cancel()
        self.failureResultOf(ended, CancelledError)
