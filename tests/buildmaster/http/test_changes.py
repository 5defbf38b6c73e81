from __future__ import annotations

import json
from typing import Any

import msgspec

from buildmaster.requests import (
    Problem,
    Refusal,
    RerunRequest,
    SubmissionRequest,
    Submitted,
    SubmittedJob,
    TreeRequest,
)
from tests.buildmaster.http.farm_site import SiteCase

BY = "farm token"


def submitted(*merged: bool) -> Submitted:
    jobs = tuple(
        SubmittedJob(
            id=number,
            kind="build",
            name="hello",
            architecture="amd64",
            series="bookworm",
            part=0,
            state="ready",
            result=None,
            attempt=1,
            merged=each,
        )
        for number, each in enumerate(merged, 1)
    )
    return Submitted(run=7, source_digest="0" * 40, jobs=jobs, skipped=(), notes=("hello",))


class SubmitTests(SiteCase):
    body = {"source": {"kind": "tree", "name": "worktree/ada", "sha256": "0" * 64}}

    async def test_a_submission_reaches_the_farm_and_its_answer_the_client(self) -> None:
        self.farm.submitted = submitted(False, True)
        response = await self.post("/api/v1/runs", self.body)
        self.assertEqual(response.code, 201)
        self.assertEqual(response.headers.getRawHeaders("location"), ["/api/v1/runs/7"])
        told = msgspec.json.decode(await response.content(), type=Submitted)
        self.assertEqual(told, self.farm.submitted)
        request = SubmissionRequest(
            source=TreeRequest(name="worktree/ada", sha256="0" * 64)
        )
        self.assertEqual(self.farm.asked, [("submit", request, BY)])

    async def test_nothing_new_is_200(self) -> None:
        self.farm.submitted = submitted(True, True)
        response = await self.post("/api/v1/runs", self.body)
        self.assertEqual(response.code, 200)
        await response.content()

    async def test_a_refusal_is_told_with_all_its_problems(self) -> None:
        problem = Problem(where="jobs.test", line=3, message="unknown key 'runn'")
        self.farm.refusal = Refusal(
            422, "bad_configuration", "It has mistakes.", (problem,)
        )
        response = await self.post("/api/v1/runs", self.body)
        self.assertEqual(response.code, 422)
        document = await response.json()
        self.assertEqual(document["title"], "Unprocessable Entity")
        self.assertEqual(document["detail"], "It has mistakes.")
        self.assertEqual(
            document["problems"],
            [{"where": "jobs.test", "line": 3, "message": "unknown key 'runn'"}],
        )

    async def test_bodies_that_are_no_submission_never_reach_the_farm(self) -> None:
        for body, code in (
            (b"", "bad_json"),
            (b"{", "bad_json"),
            (b'{"source"', "bad_json"),
            (b"\xff\xfe", "bad_json"),
            (b"null", "bad_body"),
            (b"[]", "bad_body"),
            (b"{}", "bad_body"),
            (json.dumps({**self.body, "extra": 1}).encode(), "bad_body"),
            (json.dumps({**self.body, "force": "yes"}).encode(), "bad_body"),
            (b'{"source": {"kind": "svn"}}', "bad_body"),
            (b'{"source": ' + b"[" * 500_000, "bad_body"),
            (b'{"x": ' + b"[" * 500_000, "bad_body"),
            (b"9" * 500_000, "bad_body"),
        ):
            response = await self.ask(
                "POST",
                "/api/v1/runs",
                data=body,
                headers={**self.bearer, "Content-Type": "application/json"},
            )
            self.assertIn(response.code, (400,), body[:40])
            document = await response.json()
            self.assertIn(document["code"], (code, "bad_json", "bad_body"), body[:40])
        self.assertEqual(self.farm.asked, [])

    async def test_other_kinds_of_body_are_refused(self) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            response = await self.ask(
                "POST",
                "/api/v1/runs",
                data=json.dumps(self.body).encode(),
                headers={**self.bearer, "Content-Type": kind},
            )
            await self.assert_problem(response, 415, "not_json")

    async def test_a_defect_is_told_without_its_details(self) -> None:
        self.farm.submitted = None
        response = await self.post("/api/v1/runs", self.body)
        document = await self.assert_problem(response, 500, "defect")
        self.assertNotIn("Assertion", document["detail"])
        self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)


class InterventionTests(SiteCase):
    async def test_cancelling_passes_on_the_words(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job(run)
        response = await self.post(f"/api/v1/jobs/{job}/cancel", {"why": "wrong branch"})
        self.assertEqual((response.code, (await response.json())["id"]), (202, job))
        response = await self.post(f"/api/v1/runs/{run}/cancel", {})
        self.assertEqual((response.code, (await response.json())["kind"]), (202, "run"))
        self.assertEqual(
            self.farm.asked,
            [
                ("cancel_job", job, BY, "wrong branch"),
                ("cancel_run", run, BY, "no reason given"),
            ],
        )

    async def test_a_cancellation_needs_no_body(self) -> None:
        job = await self.rows.job()
        response = await self.ask("POST", f"/api/v1/jobs/{job}/cancel", headers=self.bearer)
        self.assertEqual(response.code, 202, await response.text())

    async def test_retries_name_what_to_run_again(self) -> None:
        job = await self.rows.job()
        bodies: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
            ({}, (None, False)),
            ({"only": "test:0", "from_start": False}, (("test", 0), False)),
            ({"only": "a:b:12"}, (("a:b", 12), False)),
            ({"only": None, "from_start": True}, (None, True)),
        ]
        for body, expected in bodies:
            response = await self.post(f"/api/v1/jobs/{job}/retry", body)
            self.assertEqual(response.code, 202)
            self.assertEqual(
                await response.json(),
                {
                    "id": job,
                    "kind": "build",
                    "attempt": 1,
                    "state": "waiting",
                    "result": None,
                },
            )
            self.assertEqual(self.farm.asked.pop(), ("retry_job", job, BY, *expected))

    async def test_reruns_and_releases_are_passed_on(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job()
        body = {"scope": "from-here", "job": "build", "package": None, "cell": "arch=x"}
        response = await self.post(f"/api/v1/runs/{run}/rerun", body)
        self.assertEqual((response.code, (await response.json())["run"]), (202, run))
        response = await self.post(f"/api/v1/jobs/{job}/release", {})
        self.assertEqual(response.code, 202)
        asked = RerunRequest(scope="from-here", job="build", cell="arch=x")
        self.assertEqual(
            [each[:-1] for each in self.farm.asked],
            [("rerun", run, asked), ("release", job)],
        )
        wrong: list[dict[str, Any]] = [
            {},
            {"scope": "all"},
            {"scope": "failed", "jobs": []},
        ]
        for each in wrong:
            response = await self.post(f"/api/v1/runs/{run}/rerun", each)
            await self.assert_problem(response, 400, "bad_body")
        response = await self.post(f"/api/v1/jobs/{job}/release", {"x": 1})
        await self.assert_problem(response, 400, "bad_body")

    async def test_bad_retries_and_cancellations_are_refused(self) -> None:
        job = await self.rows.job()
        for verb, body in (
            ("retry", {"only": "test"}),
            ("retry", {"only": "test:x"}),
            ("retry", {"only": ":1"}),
            ("retry", {"only": "a\0:1"}),
            ("retry", {"only": "test:99999999999"}),
            ("retry", {"only": "test:\u0661"}),
            ("retry", {"from_start": 1}),
            ("retry", {"unknown": 1}),
            ("cancel", {"why": 7}),
            ("cancel", {"why": "x" * 1001}),
            ("cancel", ["why"]),
        ):
            response = await self.post(f"/api/v1/jobs/{job}/{verb}", body)
            await self.assert_problem(response, 400, "bad_body")
        self.assertEqual(self.farm.asked, [])

    async def test_what_does_not_exist_cannot_be_touched(self) -> None:
        for path in ("jobs/7/cancel", "jobs/7/retry", "runs/7/cancel"):
            response = await self.post(f"/api/v1/{path}", {})
            await self.assert_problem(response, 404, "not_found")
        self.assertEqual(self.farm.asked, [])

    async def test_what_the_farm_refuses_is_told(self) -> None:
        job = await self.rows.job()
        self.farm.refusal = Refusal(409, "not_done", "The job has not ended yet.")
        response = await self.post(f"/api/v1/jobs/{job}/retry", {})
        document = await response.json()
        self.assertEqual((response.code, document["code"]), (409, "not_done"))
