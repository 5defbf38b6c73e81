"""Every address asks for its scope, and every token has no more than was given."""

from __future__ import annotations

from typing import Any

from buildmaster.admission import Admission
from buildmaster.clients import Clients
from buildmaster.grants import Scope
from buildmaster.http.routing import Route
from buildmaster.http.scopes import NEEDS, Need
from buildmaster.requests import Submitted
from tests.buildmaster.http.farm_site import SiteCase

TEAM = "https://example.com/team"
SHA = "0" * 64
GIT = {"source": {"kind": "git", "repository": f"{TEAM}/a.git", "revision": "main"}}


class ScopeCase(SiteCase):
    open_reading = False

    def more(self) -> dict[str, Any]:
        self.clients = Clients(self.database)
        self.admission = Admission(self.database)
        return {
            "clients": self.clients,
            "admission": self.admission,
            "open_reading": self.open_reading,
        }

    async def token(self, *scopes: str, project: str | None = None) -> dict[str, str]:
        """The header of a new token."""
        name = "-".join([*scopes, "of" if project else "all", str(id(object()))])
        token = await self.admission.add_client(name, scopes, project, "test")
        await self.clients.round()
        return {"Authorization": f"Bearer {token}"}

    async def answer(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        """Status and, of a problem, the code."""
        response = await self.ask(method, path, **more)
        text = await response.text()
        if response.code < 400:
            return response.code, ""
        return response.code, str((await response.json())["code"] if text else "")


class RouteTests(ScopeCase):
    def routes(self) -> list[Route]:
        return list(self.site.front._routes._routes)

    async def test_every_route_is_in_the_table_and_nothing_else(self) -> None:
        there = {(method, r.path) for r in self.routes() for method in r.handlers}
        self.assertEqual(there, set(NEEDS))

    async def test_each_route_takes_the_scope_it_needs_and_no_other(self) -> None:
        """With reading closed; whatever is behind the door does not matter here."""
        headers = {scope.value: await self.token(scope.value) for scope in Scope}
        scope_of = {Need.FETCH: "read", Need.STORE: "submit"}
        for (method, path), need in NEEDS.items():
            concrete = path.replace("{sha256}", SHA).replace("{file}", "page.js")
            if "{hook}" in path:
                continue  # its messages are signed, whoever brings them
            for name in ("run", "job", "worker", "token", "rule", "workflow", "schedule"):
                concrete = concrete.replace(f"{{{name}}}", "1")
            for scope, bearer in headers.items():
                body: dict[str, Any] = {"json": {}} if method == "POST" else {}
                body = {"data": b"x"} if method == "PUT" else body
                if path == "/logout":
                    body = {}  # a form, and nothing in it
                if path == "/api/v1/events":
                    concrete = "/api/v1/events?limit=1"
                status, code = await self.answer(method, concrete, headers=bearer, **body)
                wanted = scope_of.get(need, need.value)
                lets_in = need is Need.NOTHING or scope in (wanted, "admin")
                told = f"{method} {path} with {scope}: {status} {code}"
                # A file that is there for nobody is told as not allowed, too.
                if lets_in and (method, need) != ("GET", Need.FETCH):
                    self.assertNotIn(status, (401, 403), told)
                elif not lets_in:
                    self.assertEqual((status, code), (403, "not_allowed"), told)
            status, code = await self.answer(method, concrete, **body)
            if need is not Need.NOTHING:
                self.assertEqual((status, code), (401, "unauthorized"), path)

    async def test_a_wrong_token_brings_less_than_none(self) -> None:
        for path in ("/api/v1/runs", "/healthz"):
            wrong = {"Authorization": "Bearer hra_wrong"}
            told = await self.answer("GET", path, headers=wrong)
            self.assertEqual(told, (401, "unauthorized"))

    async def test_a_revoked_token_is_wrong_at_once(self) -> None:
        made = await self.post("/api/v1/tokens", {"name": "ci", "scopes": ["read"]})
        self.assertEqual(made.code, 201)
        token = (await made.json())["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        self.assertEqual((await self.answer("GET", "/api/v1/runs", headers=bearer))[0], 200)
        listed = await self.ask("GET", "/api/v1/tokens", headers=self.bearer)
        self.assertNotIn(token, await listed.text())
        gone = await self.post("/api/v1/tokens/ci/revoke", {})
        self.assertEqual(gone.code, 200)
        told = await self.answer("GET", "/api/v1/runs", headers=bearer)
        self.assertEqual(told, (401, "unauthorized"))


class ProjectTests(ScopeCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.farm.submitted = Submitted(
            run=1, source_digest="a" * 40, jobs=(), skipped=(), notes=()
        )
        self.inside = await self.rows.run(repository=f"{TEAM}/a.git")
        self.outside = await self.rows.run(repository="https://example.com/other/b.git")
        self.job = await self.rows.job(
            repository=f"{TEAM}/a.git", source_digest="a" * 40, name="in"
        )
        self.other = await self.rows.job(
            repository="https://example.com/other/b.git", source_digest="a" * 40, name="o"
        )
        self.all = await self.token("read", "submit", "cancel", project=TEAM)

    async def test_what_is_of_the_project_is_there_and_nothing_else(self) -> None:
        for path, ours, theirs in (
            ("/api/v1/runs/{}", self.inside, self.outside),
            ("/api/v1/jobs/{}", self.job, self.other),
            ("/api/v1/jobs?run={}", self.inside, self.outside),
            ("/api/v1/events?run={}", self.inside, self.outside),
            ("/api/v1/events?job={}", self.job, self.other),
        ):
            got = await self.answer("GET", path.format(ours), headers=self.all)
            self.assertEqual(got, (200, ""), path)
            for hidden in (theirs, 4711):
                got = await self.answer("GET", path.format(hidden), headers=self.all)
                self.assertEqual(got, (403, "outside_project"), path)
        for path in ("/api/v1/overview", "/api/v1/holds", "/metrics", "/api/v1/workers"):
            got = await self.answer("GET", path, headers=self.all)
            self.assertEqual(got, (403, "outside_project"), path)
        for name, ours in (("runs", self.inside), ("jobs", self.job)):
            response = await self.ask("GET", f"/api/v1/{name}", headers=self.all)
            told = (await response.json())[name]
            self.assertEqual([each["id"] for each in told], [ours])

    async def test_jobs_of_others_are_neither_stopped_nor_retried(self) -> None:
        for path in ("/api/v1/jobs/{}/cancel", "/api/v1/jobs/{}/retry"):
            got = await self.answer(
                "POST", path.format(self.job), headers=self.all, json={}
            )
            self.assertEqual(got, (202, ""))
            got = await self.answer(
                "POST", path.format(self.other), headers=self.all, json={}
            )
            self.assertEqual(got, (403, "outside_project"))
        self.assertEqual([asked[1] for asked in self.farm.asked], [self.job, self.job])
        self.assertEqual({asked[2] for asked in self.farm.asked}, {self.who()})

    def who(self) -> str:
        return next(str(a[2]) for a in self.farm.asked)

    async def test_only_repositories_of_the_project_are_built(self) -> None:
        got = await self.answer("POST", "/api/v1/runs", headers=self.all, json=GIT)
        self.assertEqual(got[1], "")
        for source in (
            {"kind": "git", "repository": f"{TEAM}/../other/b", "revision": "main"},
            {"kind": "git", "repository": f"{TEAM}mates/b", "revision": "main"},
            {"kind": "tree", "name": f"{TEAM}/a.git", "sha256": SHA},
        ):
            got = await self.answer(
                "POST", "/api/v1/runs", headers=self.all, json={"source": source}
            )
            self.assertEqual(got, (403, "outside_project"), source)
        self.assertEqual(len(self.farm.asked), 1)
        self.assertTrue(self.farm.asked[0][2].startswith("token read-submit"))


class OpenReadingTests(ProjectTests):
    """What everybody may read, a limited token may, too."""

    open_reading = True

    async def test_what_is_of_the_project_is_there_and_nothing_else(self) -> None:
        for path in ("/api/v1/runs", f"/api/v1/runs/{self.outside}"):
            got = await self.answer("GET", path, headers=self.all)
            self.assertEqual(got, (200, ""))
            self.assertEqual(await self.answer("GET", path), (200, ""))
