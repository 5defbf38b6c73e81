from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import PipelineJobStarted, ReportBody
from protocol.order import KeptJob, TreeSource
from protocol.pipeline.model import PipelineJob
from protocol.results import Result
from protocol.stages import Cell, title
from tests.requirements import require
from tests.worker.supervisor.attempts import Told, job, order, run
from tests.worker.supervisor.blob_server import BlobServer
from worker.supervisor.endings import CannotRun, Failed, Malformed, Outcome
from worker.supervisor.engine import check, run_stages
from worker.supervisor.ledger import Ledger

VECTORS = Path(__file__).parents[4] / "shared" / "vectors" / "stage_execution.json"


def execute(stages: Any, exits: dict[str, int], **changes: Any) -> Told:
    """Run ``stages`` with jobs that exit as told: 200 and 201 stand for the job's own
    failure, any other status but 0 for one of its environment."""

    def run_job(cell: Cell, _: PipelineJob, number: int) -> Outcome:
        status = exits.get(title(*cell), 0)
        if status in (200, 201):
            raise Failed("`run` ended with exit status 1", exit_status=1)
        if status:
            raise CannotRun("the environment failed: no room")
        return Outcome(Result.SUCCESS, exit_status=0)

    cells = [[tuple(cell) for cell in stage] for stage in stages]
    most = max((index for stage in cells for _, index in stage), default=0)
    names = {name for stage in cells for name, _ in stage}
    fields = {
        "stages": tuple(tuple(stage) for stage in cells),
        "stage_numbers": tuple(range(len(cells))),
        "jobs": {name: tuple(job("true") for _ in range(most + 1)) for name in names},
    }
    asked = order(None, [], **{**fields, **changes})
    check(asked)
    bodies: list[ReportBody] = []
    run_stages(asked, Ledger(asked, bodies.append, now=lambda: 1.0), run_job)
    return Told(tuple(bodies))


def began(told: Told) -> list[str]:
    return [title(body.name, body.index) for body in told.of(PipelineJobStarted)]


class RunStagesTests(SynchronousTestCase):
    def test_all_jobs_of_a_failed_stage_run_and_none_of_the_next(self) -> None:
        told = execute([[["unit", 0], ["lint", 0]], [["pack", 0]]], {"unit:0": 201})
        self.assertEqual(began(told), ["unit:0", "lint:0"])
        self.assertEqual(
            told.results, {"unit:0": "failure", "lint:0": "success", "pack:0": "unrun"}
        )

    def test_an_unrun_job_names_the_root_cause(self) -> None:
        told = execute([[["unit", 0]], [["pack", 0]]], {"unit:0": 201})
        self.assertEqual(
            told.jobs["pack:0"].reason, "unit:0 failed (exit status 1) in stage 1"
        )

    def test_the_attempt_fails_for_the_jobs_that_failed(self) -> None:
        told = execute([[["unit", 0], ["unit", 1]]], {"unit:0": 201, "unit:1": 201})
        self.assertEqual(told.end.result, Result.FAILURE)
        self.assertEqual(
            told.end.reason,
            "unit:0 failed (exit status 1); unit:1 failed (exit status 1)",
        )

    def test_a_failing_environment_ends_the_attempt_in_the_middle_of_a_stage(self) -> None:
        told = execute([[["unit", 0], ["unit", 1]]], {"unit:0": 9})
        self.assertEqual(told.results, {"unit:0": "error", "unit:1": "unrun"})
        self.assertEqual(told.end.result, Result.ERROR)

    def test_kept_jobs_are_neither_run_nor_told(self) -> None:
        kept = (KeptJob(name="unit", index=0),)
        told = execute([[["unit", 0], ["unit", 1]]], {"unit:0": 201}, kept=kept)
        self.assertEqual(began(told), ["unit:1"])
        self.assertEqual(told.end.result, Result.SUCCESS)

    def test_an_attempt_whose_jobs_were_all_kept_passes(self) -> None:
        kept = (KeptJob(name="unit", index=0),)
        told = execute([[["unit", 0]]], {}, kept=kept)
        self.assertEqual(told.end.result, Result.SUCCESS)
        self.assertEqual(len(told.bodies), 1)

    def test_stage_numbers_are_those_of_the_file(self) -> None:
        told = execute(
            [[["unit", 0]], [["pack", 0]]], {"unit:0": 201}, stage_numbers=(4, 6)
        )
        self.assertIn("in stage 5", told.jobs["pack:0"].reason)


class VectorTests(SynchronousTestCase):
    """All of what other farms were seen to do."""

    def setUp(self) -> None:
        require(self, VECTORS.exists(), f"there is no {VECTORS}")
        self.cases = json.loads(VECTORS.read_text())["cases"]

    def meets(self, told: Told, case: dict[str, Any]) -> None:
        """That the attempt ``told`` what ``case`` expects."""
        # What makes no sense counts there as the package's failure, too.
        statuses = {
            "OK": {Result.SUCCESS},
            "PACKAGEFAIL": {Result.FAILURE, Result.MALFORMED},
            "BUILDERFAIL": {Result.ERROR},
        }
        results = {"SUCCEEDED": {"success"}, "FAILED": {"failure", "error"}}
        expected = case["expect"]
        self.assertEqual(began(told), expected["ran"], case["name"])
        self.assertIn(told.end.result, statuses[expected["build_status"]], case["name"])
        for name, wanted in expected["results"].items():
            self.assertIn(told.results[name], results[wanted], case["name"])
        unrun = told.results.keys() - expected["results"].keys()
        self.assertEqual({told.results[name] for name in unrun} - {"unrun"}, set())

    def test_stages_run_as_they_do_on_other_farms(self) -> None:
        cases = [c for c in self.cases if "prepare_exit" not in c and any(c["stages"])]
        self.assertGreaterEqual(len(cases), 5)
        for case in cases:
            self.meets(execute(case["stages"], case.get("exit", {})), case)

    def test_preparation_fails_as_it_does_on_other_farms(self) -> None:
        """200 and 201 say that the source is to blame, anything else the farm."""
        server = BlobServer(self)
        digest = server.keep(b"no archive")
        rubbish = TreeSource(url=f"{server.url}/{digest}", sha256=digest, size=10)
        gone = TreeSource(url=f"{server.url}/{'0' * 64}", sha256="0" * 64, size=10)
        cases = [case for case in self.cases if "prepare_exit" in case]
        self.assertEqual(sorted(case["prepare_exit"] for case in cases), [9, 200])
        for case in cases:
            source = rubbish if case["prepare_exit"] in (200, 201) else gone
            stages = [[(name, job("true")) for name, _ in s] for s in case["stages"]]
            told = run(self, order(source, stages, artifacts=server.artifacts))
            self.meets(told, case)

    def test_what_would_run_nothing_is_refused(self) -> None:
        """Other farms pass an empty first stage: passing for nothing is a lie."""
        cases = [case for case in self.cases if not any(case["stages"])]
        self.assertEqual(len(cases), 2)
        for case in cases:
            self.assertRaises(Malformed, execute, case["stages"], {})


class CheckTests(SynchronousTestCase):
    def refusal(self, **changes: Any) -> str:
        asked = order(None, [[("unit", job("true"))]], **changes)
        refusal: Malformed = self.assertRaises(Malformed, check, asked)
        return refusal.reason

    def test_an_empty_list_of_stages_is_refused(self) -> None:
        for stages in ((), ((),)):
            self.assertIn(
                "the list of stages is empty",
                self.refusal(stages=stages, stage_numbers=tuple(range(len(stages)))),
            )

    def test_a_job_that_is_not_defined_is_refused_by_name(self) -> None:
        self.assertIn("no job unit:1", self.refusal(stages=((("unit", 1),),)))
        self.assertIn("no job gone:0", self.refusal(stages=((("gone", 0),),)))

    def test_a_job_asked_for_twice_is_refused(self) -> None:
        self.assertIn("more than once", self.refusal(stages=((("unit", 0), ("unit", 0)),)))
