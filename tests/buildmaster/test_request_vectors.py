"""Duplicate requests end as they do on other farms, told by the shared vectors."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from twisted.trial.unittest import TestCase

from buildmaster.requests import GitRequest, SubmissionRequest, Submitted
from buildmaster.series import DEFAULT_SERIES
from buildmaster.submission import (
    Material,
    Submission,
    SubmissionRules,
    read_configuration,
)
from protocol.messages import Offer
from protocol.order import GitSource
from protocol.results import Result
from tests.buildmaster.books import Books, ended, fresh_books, over
from tests.vectors import cases as vectors

#: What the other farm calls the end of a build.
ENDS = {"FULLYBUILT": Result.SUCCESS, "FAILEDTOBUILD": Result.FAILURE}


class RequestVectorTests(TestCase):
    """Every case that is told in steps; the others are about parts of another farm.

    Its "created" is a job that was not merged, "already-requested" one that was: there
    is one row, with the refs of both.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        self.books: Books = await fresh_books(self)
        offers = [
            Offer(isolation="native", architecture=architecture, series=("*",))
            for architecture in ("amd64", "arm64")
        ]
        await self.books.database.run(
            "UPDATE worker SET offers = %s::jsonb", (msgspec.json.encode(offers).decode(),)
        )

    async def _request(self, step: dict[str, Any]) -> Submitted:
        repository, commit, place, refs = step["request"]
        series, architecture = place.split("/")
        [[[name, _]]] = step.get("stages", [[["unit", 0]]])
        text = (
            f"pipeline: [{name}]\njobs:\n"
            f"  {name}: {{series: {series}, architectures: {architecture}, run: make}}\n"
        ).encode()
        digest = hashlib.sha1(commit.encode()).hexdigest()
        url = f"https://git.example/{repository}"
        request = SubmissionRequest(
            source=GitRequest(repository=url), refs=tuple(refs or ())
        )
        submission = Submission(
            request,
            "ann",
            Material(url, digest, GitSource(repository=url, commit=digest), text),
            read_configuration(request, text),
            SubmissionRules(DEFAULT_SERIES),
        )
        return await self.books.database.transaction(submission.store)

    async def _end(self, result: Result) -> None:
        claim = await self.books.begin()
        reason = "" if result is Result.SUCCESS else "no"
        await self.books.report(claim, ended("unit", result, reason), over(result, reason))

    async def _replay(self, case: dict[str, Any]) -> None:
        for step in case["steps"]:
            if "status" in step:
                await self._end(ENDS[step["status"]])
                continue
            [job] = (await self._request(step)).jobs
            expected = step["result"] == "already-requested"
            self.assertEqual(job.merged, expected, case["name"])
        expect = case["expect"]
        (count,) = await self.books.database.one("SELECT count(*) FROM build")
        self.assertEqual(count, expect["builds"], case["name"])
        if "git_refs" in expect:
            (refs,) = await self.books.database.one("SELECT refs FROM job")
            self.assertEqual(refs, expect["git_refs"], case["name"])

    async def test_each_case_that_is_told_in_steps(self) -> None:
        cases = [case for case in vectors(self, "request_state.json") if "steps" in case]
        self.assertGreaterEqual(len(cases), 6)
        for case in cases:
            await self._replay(case)
            await self.books.database.run(
                "TRUNCATE run, job, configuration RESTART IDENTITY CASCADE"
            )

    async def test_two_refs_of_one_commit_are_one_build(self) -> None:
        [case] = [
            case
            for case in vectors(self, "request_state.json")
            if case["name"] == "two-refs-one-commit-single-build"
        ]
        for ref in case["refs"]:
            await self._request({"request": ["repoA", "c1", "jammy/amd64", [ref]]})
        rows = await self.books.database.rows("SELECT refs FROM job LIMIT 9")
        self.assertEqual(rows, [(case["expect"]["git_refs"],)])
