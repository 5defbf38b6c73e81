"""What is said of failures over HTTP, and what lists and documents show of it."""

from __future__ import annotations

from typing import Any

from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.rows import HOSTILE

FLAKY = {"classification": "flaky", "note": "again", "link": "https://bugs.example/1"}


class ClassifyingTests(SiteCase):
    async def failed(self, **columns: Any) -> int:
        job = await self.rows.job(**columns)
        await self.rows.attempt(job, worker="ant")
        await self.rows.log(job, b"No space left\n")
        await self.rows.end_attempt(job, result="failure")
        await self.database.run(
            "UPDATE job SET state = 'done', result = 'failure', reason = 'no',"
            " finished_at = farm_now() WHERE id = %s",
            (job,),
        )
        return job

    async def good(self, path: str, body: Any, status: int = 200) -> Any:
        response = await self.post(path, body)
        self.assertEqual(response.code, status, await response.text())
        return await response.json()

    async def ids(self, query: str) -> list[int]:
        return [each["id"] for each in (await self.json(f"/api/v1/jobs?{query}"))["jobs"]]

    async def test_it_is_said_and_shown(self) -> None:
        job, other = await self.failed(), await self.failed()
        await self.json("/api/v1/jobs")  # so that the list is one that was made before
        told = await self.good(f"/api/v1/jobs/{job}/classify", FLAKY)
        self.assertEqual(told["classification"], "flaky")
        shown = await self.json(f"/api/v1/jobs/{job}")
        self.assertEqual(
            {**shown["classified"], "at": None},
            {**FLAKY, "by": "farm token", "rule": None, "at": None},
        )
        listed = (await self.json("/api/v1/jobs"))["jobs"]
        self.assertEqual([each["classification"] for each in listed], [None, "flaky"])
        self.assertEqual(await self.ids("classification=none"), [other])
        self.assertEqual(await self.ids("classification=flaky,infrastructure"), [job])
        self.assertEqual(
            await self.ids("classification=flaky,none&state=done&order=id"), [job, other]
        )
        run = await self.rows.run()
        await self.database.run("INSERT INTO run_job VALUES (%s, %s)", (run, job))
        self.assertEqual(await self.ids(f"run={run}&classification=flaky"), [job])
        self.assertEqual(await self.ids(f"run={run}&classification=none"), [])

    async def test_rules_are_made_listed_tried_and_removed(self) -> None:
        job = await self.failed()
        body = {**FLAKY, "pattern": "^No space", "note": HOSTILE.replace("\r\n", " ")}
        body["note"] = body["note"].replace("\u2028", "")
        made = await self.good("/api/v1/rules", body, 201)
        [listed] = (await self.json("/api/v1/rules"))["rules"]
        self.assertEqual(
            (listed["id"], listed["pattern"], listed["note"], listed["by"]),
            (made["id"], "^No space", body["note"], "farm token"),
        )
        tried = await self.good("/api/v1/rules/try", {"pattern": "spa", "job": job})
        self.assertEqual(tried, {"found": True, "line": 1, "text": "No space left"})
        gone = await self.good(f"/api/v1/rules/{made['id']}/remove", {})
        self.assertEqual(gone["forgotten"], 0)
        self.assertEqual((await self.json("/api/v1/rules"))["rules"], [])

    async def test_what_makes_no_sense_is_refused(self) -> None:
        job = await self.failed()
        rule = {"classification": "flaky", "pattern": "x"}
        for path, body, status, code in (
            (f"/api/v1/jobs/{job}/classify", {}, 400, "bad_body"),
            (f"/api/v1/jobs/{job}/classify", {"classification": "x"}, 400, "bad_body"),
            (
                f"/api/v1/jobs/{job}/classify",
                {**FLAKY, "link": "javascript:alert(1)"},
                422,
                "bad_rule",
            ),
            (f"/api/v1/jobs/{job}/classify", {**FLAKY, "note": "\0"}, 400, "bad_body"),
            ("/api/v1/jobs/4711/classify", FLAKY, 404, "no_such_job"),
            ("/api/v1/rules", {**rule, "pattern": "("}, 422, "bad_rule"),
            ("/api/v1/rules", {**rule, "pattern": "a\nb"}, 400, "bad_body"),
            ("/api/v1/rules", {**rule, "days": 1e9}, 400, "bad_body"),
            ("/api/v1/rules/4711/remove", {}, 404, "no_such_rule"),
            ("/api/v1/rules/x/remove", {}, 404, "not_found"),
            ("/api/v1/rules/try", {"pattern": "x", "job": 4711}, 404, "not_found"),
        ):
            await self.assert_problem(await self.post(path, body), status, code)
