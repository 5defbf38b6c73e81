from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.narration import Line, log_length, narrate, seconds_between
from buildmaster.client.documents import JobDocument

BEGAN = "2026-01-31T12:00:00.000000Z"
ENDED = "2026-01-31T12:00:03.250000Z"


def part(name: str, stage: int, **facts: Any) -> dict[str, Any]:
    """A pipeline job of a document."""
    return {"name": name, "index": 0, "stage": stage, **facts}


def job(*parts: dict[str, Any], **facts: Any) -> JobDocument:
    """A job of two stages."""
    document = {
        "id": 1,
        "kind": "build",
        "name": "pipeline",
        "state": "running",
        "attempt": 1,
        "worker": "ant",
        "stages": [[["build", 0], ["lint", 0]], [["test", 0]]],
        "pipeline_jobs": parts,
        **facts,
    }
    return msgspec.convert(document, JobDocument)


def told(before: JobDocument | None, after: JobDocument) -> list[str]:
    """The text of the lines."""
    return [line.text for line in narrate(before, after)]


class NarrationTests(SynchronousTestCase):
    def test_nothing_new_is_nothing_to_tell(self) -> None:
        now = job(part("build", 0, started_at=BEGAN, finished_at=ENDED, result="success"))
        self.assertEqual(told(now, now), [])

    def test_the_worker_is_told_once(self) -> None:
        waiting = job(state="ready", worker=None)
        self.assertEqual(told(None, waiting), [])
        self.assertEqual(told(waiting, job()), ["on worker ant"])

    def test_a_stage_is_told_when_its_first_job_begins(self) -> None:
        first = job(part("build", 0, started_at=BEGAN), part("lint", 0))
        second = job(part("build", 0, started_at=BEGAN), part("lint", 0, started_at=BEGAN))
        self.assertEqual(told(job(), first), ["stage 1 of 2: build:0, lint:0"])
        self.assertEqual(told(first, second), [])

    def test_each_end_is_told_with_its_time_and_reason(self) -> None:
        """But for those that ran and passed, which the log tells."""
        begun = {"started_at": BEGAN, "finished_at": ENDED}
        after = job(
            part("build", 0, result="success", **begun),
            part("lint", 0, result="failure", reason="exit status 3", **begun),
            part("test", 1, result="unrun", reason="lint:0 failed in stage 1"),
        )
        lines = list(narrate(job(), after))
        self.assertEqual(
            lines,
            [
                Line("stage 1 of 2: build:0, lint:0", "bold"),
                Line("lint:0 failed in 3.2 s: exit status 3", "bad"),
                Line("test:0 unrun: lint:0 failed in stage 1", "void"),
            ],
        )

    def test_what_is_kept_of_an_earlier_attempt_is_told(self) -> None:
        after = job(part("build", 0, result="success", kept_from=1), attempt=2)
        before = job(attempt=2)
        self.assertEqual(told(before, after), ["build:0 passed in attempt 1, and is kept"])

    def test_another_attempt_begins_anew_and_says_why(self) -> None:
        ended = {"started_at": BEGAN, "finished_at": ENDED, "result": "error"}
        before = job(part("build", 0, **ended))
        after = job(
            part("build", 0, started_at=ENDED),
            attempt=2,
            worker="bee",
            attempts=[
                {"number": 1, "result": "error", "reason": "the disk of ant is full"},
                {"number": 2},
            ],
        )
        self.assertEqual(
            told(before, after),
            [
                "attempt 2 follows: the disk of ant is full",
                "on worker bee",
                "stage 1 of 2: build:0, lint:0",
            ],
        )

    def test_a_bad_end_of_a_job_gives_its_reason(self) -> None:
        done = job(state="done", result="unrun", reason="job 3 failed")
        self.assertEqual(told(job(), done), ["unrun: job 3 failed"])
        self.assertEqual(told(job(), job(state="done", result="success")), [])

    def test_the_log_is_that_of_the_current_attempt(self) -> None:
        attempts = [{"number": 1, "log_length": 10}, {"number": 2, "log_length": 3}]
        self.assertEqual(log_length(job(attempt=2, attempts=attempts)), 3)
        self.assertEqual(log_length(job(attempt=3, attempts=attempts)), 0)

    def test_times_that_make_no_sense_are_left_out(self) -> None:
        self.assertEqual(seconds_between(BEGAN, "soon"), "")
        self.assertEqual(seconds_between(None, ENDED), "")
