"""What operators ask over HTTP: who may, what is refused, and what is noted of them."""

from __future__ import annotations

from typing import Any

from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.rows import HOSTILE

DUTY = {"workers": "ant", "duty": "paused", "reason": "a new disk"}
HOLD = {"scope": "farm", "reason": "a new kernel"}
BULK = {"act": "cancel", "where": "state=waiting", "reason": "too many"}


class OperatingTests(SiteCase):
    async def good(self, path: str, body: Any, status: int = 200) -> Any:
        response = await self.post(path, body)
        self.assertEqual(response.code, status, await response.text())
        return await response.json()

    async def refused(self, path: str, body: Any, status: int, code: str) -> None:
        await self.assert_problem(await self.post(path, body), status, code)

    async def test_a_worker_is_paused_and_shows_it(self) -> None:
        await self.rows.worker("ant")
        told = await self.good("/api/v1/duty", {**DUTY, "until": "2999-01-01T00:00:00Z"})
        self.assertEqual(told, {"duty": "paused", "workers": ["ant"]})
        worker = await self.json("/api/v1/workers/ant")
        self.assertEqual(
            (worker["duty"], worker["duty_reason"], worker["duty_by"]),
            ("paused", "a new disk", "farm token"),
        )
        self.assertEqual(worker["duty_until"], "2999-01-01T00:00:00.000000Z")
        page = await self.json("/api/v1/events?since=0-0")
        [event] = [e for e in page["events"] if e["kind"] == "worker.duty"]
        self.assertEqual(event["payload"]["from"], "127.0.0.1")

    async def test_holds_are_made_listed_and_ended(self) -> None:
        await self.good("/api/v1/holds", HOLD, 201)
        project = {"scope": "project", "name": HOSTILE, "reason": HOSTILE}
        await self.good("/api/v1/holds", project, 201)
        listed = (await self.json("/api/v1/holds"))["holds"]
        self.assertEqual([each["scope"] for each in listed], ["farm", "project"])
        self.assertEqual(listed[1]["name"], HOSTILE)
        self.assertEqual(listed[0]["from"], "127.0.0.1")
        await self.good("/api/v1/holds/release", HOLD)
        await self.refused("/api/v1/holds/release", HOLD, 404, "not_held")

    async def test_one_job_is_rescored_and_moved(self) -> None:
        job = await self.rows.job()
        await self.rows.attempt(job)
        told = await self.good(
            f"/api/v1/jobs/{job}/rescore", {"score": 7, "reason": "not urgent"}, 202
        )
        self.assertEqual(told["manual_score"], 7)
        body = {"worker": "nobody", "reason": "to see"}
        await self.refused(f"/api/v1/jobs/{job}/move", body, 422, "never")
        await self.refused(
            "/api/v1/jobs/4711/rescore", {"score": 1, "reason": "x"}, 404, "no_such_job"
        )

    async def test_many_jobs_are_changed_page_by_page(self) -> None:
        for name in ("a", "b", "c"):
            await self.rows.attempt(await self.rows.job(name=name))
        told = await self.good("/api/v1/bulk", {**BULK, "dry_run": True})
        self.assertEqual((told["matched"], told["changed"], told["next"]), (3, 0, None))
        told = await self.good("/api/v1/bulk", BULK)
        self.assertEqual((told["matched"], told["changed"], told["next"]), (3, 3, None))
        job = await self.json("/api/v1/jobs/1")
        self.assertEqual(
            (job["result"], job["reason"]),
            ("cancelled", "cancelled by farm token: too many"),
        )

    async def test_what_makes_no_sense_never_reaches_the_farm(self) -> None:
        await self.rows.worker("ant")
        bad = "bad_body"
        for path, body, status, code in (
            ("/api/v1/duty", {**DUTY, "reason": ""}, 400, bad),
            ("/api/v1/duty", {**DUTY, "reason": "  "}, 400, bad),
            ("/api/v1/duty", {**DUTY, "duty": "asleep"}, 400, bad),
            ("/api/v1/duty", {**DUTY, "until": "tomorrow"}, 400, "bad_until"),
            ("/api/v1/duty", {**DUTY, "until": "2999-01-01T00:00:00"}, 400, "bad_until"),
            ("/api/v1/duty", {**DUTY, "until": "1999-01-01T00:00:00Z"}, 422, "bad_until"),
            ("/api/v1/duty", {**DUTY, "workers": "tag:"}, 422, "bad_pattern"),
            ("/api/v1/duty", {**DUTY, "workers": "x" * 2001}, 400, bad),
            ("/api/v1/duty", {**DUTY, "more": 1}, 400, bad),
            ("/api/v1/holds", {**HOLD, "name": "x"}, 422, "bad_hold"),
            ("/api/v1/holds", {**HOLD, "scope": "planet"}, 400, bad),
            ("/api/v1/bulk", {**BULK, "where": ""}, 400, bad),
            ("/api/v1/bulk", {**BULK, "where": "*"}, 422, "bad_pattern"),
            ("/api/v1/bulk", {**BULK, "where": "1=1"}, 422, "bad_pattern"),
            ("/api/v1/bulk", {**BULK, "where": "name=a\0"}, 422, "bad_pattern"),
            ("/api/v1/bulk", {**BULK, "act": "drop"}, 400, bad),
            ("/api/v1/bulk", {**BULK, "score": -1}, 400, bad),
            ("/api/v1/bulk", {**BULK, "after": -1}, 400, bad),
            ("/api/v1/jobs/1/rescore", {"score": 1_000_001, "reason": "x"}, 400, bad),
            ("/api/v1/jobs/1/move", {"worker": "", "reason": "x"}, 400, bad),
        ):
            await self.refused(path, body, status, code)
        [duty] = await self.database.rows("SELECT duty::text FROM worker")
        self.assertEqual(duty, ("active",))
