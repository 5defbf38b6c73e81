"""Explanations over HTTP."""

from __future__ import annotations

from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.rows import HOSTILE


class ExplainingTests(SiteCase):
    async def test_a_job_is_explained(self) -> None:
        job = await self.rows.job(name=HOSTILE)
        await self.rows.attempt(job)
        told = await self.json(f"/api/v1/jobs/{job}/explain")
        self.assertEqual((told["id"], told["state"]), (job, "waiting"))
        self.assertEqual(told["name"], HOSTILE)
        self.assertEqual([b["kind"] for b in told["blocked_by"]], ["no_worker"])

    async def test_what_is_not_there_is_404(self) -> None:
        for path in ("/api/v1/jobs/4711/explain", f"/api/v1/jobs/{2**63 - 1}/explain"):
            await self.assert_problem(await self.get(path), 404, "not_found")
        for path in ("/api/v1/jobs/1/explain?deep=1", "/api/v1/forecast?sort=1"):
            await self.assert_problem(await self.get(path), 400, "unknown_parameter")

    async def test_scores_of_forecasts_come_in_pages(self) -> None:
        self.assertEqual((await self.json("/api/v1/forecast"))["forecast"], [])
        await self.database.run(
            """
            INSERT INTO forecast_score
            SELECT n, '2026-01-01', 1, 8, 1 FROM generate_series(1, 3) AS n
            """
        )
        page = await self.json("/api/v1/forecast?limit=2")
        self.assertEqual([each["class"] for each in page["forecast"]], [None, 1, 2])
        self.assertEqual(page["forecast"][0]["forecasts"], 30)
        self.assertEqual(page["forecast"][0]["share"], 0.8)
        page = await self.json(f"/api/v1/forecast?limit=2&after={page['next']}")
        self.assertEqual([each["class"] for each in page["forecast"]], [3])
        self.assertIsNone(page["next"])
