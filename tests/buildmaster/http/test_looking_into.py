"""Who may enter what lingers on a worker, and that it is noted; the order for elsewhere."""

from __future__ import annotations

from typing import Any

from tests.buildmaster.http.test_scopes import TEAM, ScopeCase

WHY = {"reason": "it hangs in configure"}
IMAGE = "ab" * 32


class ShellTests(ScopeCase):
    open_reading = True

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.job = await self.rows.job(
            repository=f"{TEAM}/a.git", source_digest="a" * 40, name="in"
        )
        await self.rows.attempt(self.job, worker="ant")

    async def linger(self, seconds: int = 3600) -> None:
        await self.database.run(
            """
            UPDATE pipeline_job SET state = 'done', result = 'failure', reason = 'exit 1',
                   finished_at = farm_now(), image = %s,
                   lingers_until = farm_now() + make_interval(secs => %s)
            """,
            (IMAGE, seconds),
        )

    async def shell(self, headers: Any) -> tuple[int, str]:
        path = f"/api/v1/jobs/{self.job}/shell"
        return await self.answer("POST", path, headers=headers, json=WHY)

    async def events(self) -> list[Any]:
        page = await self.json("/api/v1/events?since=0-0")
        return [each for each in page["events"] if each["kind"] == "job.shell"]

    async def test_an_outsider_s_token_gets_no_shell_and_holds_nothing(self) -> None:
        """Whatever it may do otherwise, and though the job is its own."""
        await self.linger()
        attempt = {"Authorization": f"Bearer {self.tokens.attempt_token(self.job, 1)}"}
        tokens = [
            await self.token("read", "submit", "cancel"),
            await self.token("read", "submit", "cancel", project=TEAM),
            attempt,
            {"Authorization": "Bearer hra_wrong"},
            {},
        ]
        for headers in tokens:
            status, _ = await self.shell(headers)
            self.assertIn(status, (401, 403), headers)
            path = f"/api/v1/jobs/{self.job}/retry"
            told = await self.answer("POST", path, headers=headers, json={"hold": 60})
            self.assertIn(told[0], (401, 403), headers)
        self.assertEqual(await self.events(), [])
        self.assertEqual(self.farm.asked, [])

    async def test_an_admin_s_is_told_where_it_is_and_noted(self) -> None:
        await self.linger()
        response = await self.post(f"/api/v1/jobs/{self.job}/shell", WHY)
        self.assertEqual(response.code, 201, await response.text())
        told = await response.json()
        self.assertEqual(
            (told["job"], told["attempt"], told["name"], told["worker"]),
            (self.job, 1, "test", "ant"),
        )
        [event] = await self.events()
        self.assertEqual(event["job"], self.job)
        payload = event["payload"]
        self.assertEqual(
            (payload["by"], payload["from"], payload["why"], payload["worker"]),
            ("farm token", "127.0.0.1", WHY["reason"], "ant"),
        )
        document = await self.json(f"/api/v1/jobs/{self.job}")
        [one] = document["pipeline_jobs"]
        self.assertEqual(one["image"], IMAGE)
        self.assertRegex(one["lingers_until"], "^20")

    async def test_what_is_not_held_is_not_noted_either(self) -> None:
        for prepare in (None, -1):
            if prepare is not None:
                await self.linger(prepare)
            response = await self.post(f"/api/v1/jobs/{self.job}/shell", WHY)
            await self.assert_problem(response, 409, "not_held")
        for body in ({}, {"reason": " "}, {**WHY, "release": 1}, {**WHY, "x": 1}):
            response = await self.post(f"/api/v1/jobs/{self.job}/shell", body)
            await self.assert_problem(response, 400, "bad_body")
        response = await self.post("/api/v1/jobs/4711/shell", WHY)
        await self.assert_problem(response, 404, "not_found")
        self.assertEqual(await self.events(), [])

    async def test_a_hold_has_a_bound(self) -> None:
        path = f"/api/v1/jobs/{self.job}/retry"
        for seconds in (0, -1, 604801, "1h"):
            response = await self.post(path, {"hold": seconds})
            await self.assert_problem(response, 400, "bad_body")
        response = await self.post(path, {"hold": 3600})
        self.assertEqual(response.code, 202)
        self.assertEqual(self.farm.asked[-1][-1], 3600.0)
