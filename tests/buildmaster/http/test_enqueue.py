"""POST /api/v1/jobs: what reaches the farm, who may, and bodies that mean harm."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from buildmaster.requests import GraphRequest, JobRequest
from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.test_scopes import ScopeCase
from tests.buildmaster.live_farm import live_farm

PATH = "/api/v1/jobs"
NOOP = {"performs": "noop"}


class ReachingTests(SiteCase):
    async def test_one_job_and_a_graph_reach_the_farm(self) -> None:
        one = JobRequest(performs="noop")
        for body, request in (
            (NOOP, GraphRequest(jobs=(one,))),
            ({"jobs": [NOOP], "name": "x"}, GraphRequest(jobs=(one,), name="x")),
        ):
            response = await self.post(PATH, body)
            self.assertEqual(response.code, 201, await response.text())
            self.assertEqual(response.headers.getRawHeaders("location"), ["/api/v1/runs/7"])
            self.assertEqual(self.farm.asked.pop(), ("enqueue", request, "farm token"))

    async def test_bodies_that_are_no_jobs_never_reach_the_farm(self) -> None:
        many = {"jobs": [NOOP] * 20_001}
        for body, code in (
            (b"", "bad_json"),
            (b"[", "bad_body"),
            (b"[" * 100_000, "bad_body"),
            (b'{"arguments":' * 50_000, "bad_json"),
            (b"[]", "bad_body"),
            (b"null", "bad_body"),
            (b'{"jobs": []}', "bad_body"),
            (b'{"jobs": {}}', "bad_body"),
            (b'{"jobs": [[]]}', "bad_body"),
            (json.dumps(many).encode(), "bad_body"),
            *((json.dumps({**NOOP, **extra}).encode(), "bad_body") for extra in HOSTILE),
        ):
            response = await self.ask(
                "POST",
                PATH,
                data=body,
                headers={**self.bearer, "Content-Type": "application/json"},
            )
            self.assertEqual(response.code, 400, (body[:80], await response.text()))
            self.assertEqual((await response.json())["code"], code, body[:80])
        self.assertEqual(self.farm.asked, [])


HOSTILE: tuple[dict[str, Any], ...] = (
    {"unknown": 1},
    {"name": ""},
    {"name": "a\nb"},
    {"name": "a\0b"},
    {"name": "x" * 201},
    {"owner": "\x1b[2J"},
    {"kind": "Native"},
    {"kind": "native\n"},
    {"performs": 7},
    {"arguments": []},
    {"arguments": "{}"},
    {"needs": [0]},
    {"needs": [-1]},
    {"needs": [2**63]},
    {"needs": [1.5]},
    {"needs": [{"job": "a", "require": "maybe"}]},
    {"needs": [{"job": "a", "more": 1}]},
    {"needs": "a"},
    {"requirements": {"slots": 0}},
    {"requirements": {"slots": 10**12}},
    {"requirements": {"cpu": -1}},
    {"requirements": {"memory": 2**40}},
    {"requirements": {"isolation": "none"}},
    {"requirements": {"tags": ["a"] * 51}},
    {"requirements": {"architecture": None, "arch": "amd64"}},
    {"semaphores": ["s"] * 21},
    {"limits": {"run": 0}},
    {"limits": {"run": -5}},
    {"limits": {"run": 1e300}},
    {"limits": {"idle": "1"}},
    {"deadline": "tomorrow"},
    {"deadline": "2030-01-01T00:00:00"},
    {"not_before": 12},
    {"retry": [{"limit": 0}]},
    {"retry": [{"limit": 10**9}]},
    {"retry": [{"exit": 75}]},
    {"retry": {}},
    {"error_limit": -1},
    {"score": 1_000_001},
    {"interruptible": "yes"},
    {"key": ""},
    {"concurrency": {"policy": "queue"}},
    {"concurrency": {"group": "g", "policy": "replace"}},
    {"concurrency": {"group": "a\0"}},
)


class LimitTests(SiteCase):
    async def test_what_is_no_limit_changes_nothing(self) -> None:
        """Neither in a semaphore nor in a cap."""
        cap = {"owner": "ann", "architecture": "amd64", "jobs": 1}
        for path, body in (
            ("semaphores", {"name": "a"}),
            ("semaphores", {"name": "", "capacity": 1}),
            ("semaphores", {"name": "a\0", "capacity": 1}),
            ("semaphores", {"name": "a", "capacity": -1}),
            ("semaphores", {"name": "a", "capacity": 2**40}),
            ("semaphores", {"name": "a", "capacity": "1"}),
            ("semaphores", {"name": "cap:ann/amd64", "capacity": 1}),
            ("caps", {**cap, "jobs": -1}),
            ("caps", {**cap, "owner": "\n"}),
            ("caps", {**cap, "architecture": "\0"}),
            ("caps", {"owner": "ann", "architecture": ""}),
        ):
            response = await self.post(f"/api/v1/{path}", body)
            await self.assert_problem(response, 400, "bad_body")
        listed = await self.json("/api/v1/semaphores")
        self.assertEqual(listed["semaphores"], [])

    async def test_pages_of_semaphores_follow_each_other(self) -> None:
        for name in ("b&a=1", "a/é", "c"):
            body = {"name": name, "capacity": 2}
            self.assertEqual((await self.post("/api/v1/semaphores", body)).code, 200)
        address = "/api/v1/semaphores?limit=1"
        document = await self.json(address)
        seen = [each["name"] for each in document["semaphores"]]
        while document["next"] is not None:
            following = urlencode({"after": document["next"]})
            document = await self.json(f"{address}&{following}")
            seen += [each["name"] for each in document["semaphores"]]
        self.assertEqual(sorted(seen), ["a/é", "b&a=1", "c"])


class TrustTests(ScopeCase):
    async def _try(self, body: Any, *scopes: str, project: str | None = None) -> Any:
        bearer = await self.token(*scopes, project=project)
        return await self.answer("POST", PATH, json=body, headers=bearer)

    async def test_a_tokens_project_does_not_reach_native_jobs(self) -> None:
        self.assertEqual(
            await self._try(NOOP, "submit", project="https://example.com/team"),
            (403, "outside_project"),
        )
        self.assertEqual(await self._try(NOOP, "submit"), (201, ""))
        self.assertEqual(await self._try(NOOP, "read"), (403, "not_allowed"))

    async def test_only_admins_put_jobs_before_those_of_others(self) -> None:
        high = {**NOOP, "score": 500_001}
        self.assertEqual(await self._try(high, "submit"), (403, "not_allowed"))
        self.assertEqual(await self._try(high, "admin"), (201, ""))
        low = {"jobs": [{**NOOP, "score": 1}]}
        self.assertEqual(await self._try(low, "submit"), (201, ""))


class LiveTests(SiteCase):
    """With a real farm behind the site: what passes the types must not break it."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        farm: Any = live_farm(self, self.database)
        self.site.front._routes.find(PATH)[0].handlers["POST"].__self__._farm = farm  # type: ignore[attr-defined]

    async def _answer(self, body: bytes) -> tuple[int, Any]:
        response = await self.ask(
            "POST",
            PATH,
            data=body,
            headers={**self.bearer, "Content-Type": "application/json"},
        )
        return response.code, await response.json()

    async def test_arguments_that_cannot_be_kept_are_refused(self) -> None:
        deep = '{"a":' * 60 + "1" + "}" * 60
        for arguments in (
            '{"a": "\\u0000"}',
            '{"\\u0000": 1}',
            '{"a": 1e999}',
            '{"a": ' + "9" * 400 + "}",
            '{"a": [9223372036854775808]}',
            deep,
            '{"a": "' + "x" * 70_000 + '"}',
        ):
            code, document = await self._answer(
                f'{{"performs": "noop", "arguments": {arguments}}}'.encode()
            )
            self.assertIn(code, (400, 422), document)
            self.assertNotEqual(document["code"], "defect")
        (count,) = await self.database.one("SELECT count(*) FROM run")
        self.assertEqual(count, 0)

    async def test_strange_but_storable_jobs_are_stored(self) -> None:
        for extra in (
            {"name": "Robert'); DROP TABLE job;--"},
            {"name": "%s %(x)s {} \\"},
            {"name": "\u202e\u2028 \U0001f600"},
            {"arguments": {"": "", "x": [[]], "y": -0.0, "z": 2**53}},
            {"not_before": "0001-01-01T00:00:00Z", "deadline": "9999-12-31T23:59:59Z"},
            {"requirements": {"architecture": "%s", "tags": ["{a,b}", '"', "\\"]}},
            {"limits": {"run": 1e-9, "total": 3e9}},
        ):
            code, document = await self._answer(json.dumps({**NOOP, **extra}).encode())
            self.assertEqual(code, 201, (extra, document))
            [job] = document["jobs"]
            shown = await self.json(f"{PATH}/{job['id']}")
            self.assertEqual(shown["name"], extra.get("name", "noop"))
            self.assertEqual(shown["arguments"], extra.get("arguments", {}))
            run = await self.json(f"/api/v1/runs/{document['run']}")
            self.assertEqual((run["repository"], run["job_count"]), (None, 1))

    async def test_a_bad_graph_is_told_with_every_problem(self) -> None:
        code, document = await self._answer(
            json.dumps(
                {
                    "jobs": [
                        {**NOOP, "name": "a", "needs": ["b", "c"]},
                        {**NOOP, "name": "b", "needs": ["a"]},
                    ]
                }
            ).encode()
        )
        self.assertEqual((code, document["code"]), (422, "bad_graph"))
        self.assertEqual(
            [problem["where"] for problem in document["problems"]],
            ["jobs.0.needs.1", "jobs.0.needs"],
        )

    async def test_ten_thousand_jobs_fit_into_a_body(self) -> None:
        jobs: list[dict[str, Any]] = [{**NOOP, "name": "s"}]
        jobs += [{**NOOP, "name": f"j{n}", "needs": ["s"]} for n in range(9_998)]
        jobs.append({**NOOP, "name": "t", "needs": [f"j{n}" for n in range(9_998)]})
        code, document = await self._answer(json.dumps({"jobs": jobs}).encode())
        self.assertEqual(code, 201)
        self.assertEqual(len({job["id"] for job in document["jobs"]}), 10_000)
        (blocked,) = await self.database.one("SELECT blocked_by FROM job WHERE name = 't'")
        self.assertEqual(blocked, 9_998)
