"""The audit: what changes something is there, with who, from where and how it ended."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from buildmaster.database import DatabaseAway
from buildmaster.http.acts import ACTS
from buildmaster.people.roles import Role, RoleEntry
from tests.buildmaster.people.people_site import OTHER, TEAM, PeopleCase

_SHA = "0" * 64


class RouteTests(PeopleCase):
    async def test_every_route_that_changes_something_leaves_an_act(self) -> None:
        """Whatever comes of it; a new route without a name in the table fails here."""
        admin = await self.admission.add_client("boss", ["admin"], None, "test")
        await self.clients.round()
        bearer = {"Authorization": f"Bearer {admin}"}
        writing = {
            (method, route.path)
            for route in self.site.front._routes._routes
            for method in route.handlers
            if method != "GET"
        }
        self.assertEqual(writing, set(ACTS))
        for method, path in sorted(writing):
            concrete = path.replace("{sha256}", _SHA)
            for name in ("run", "job", "worker", "semaphore", "token", "rule"):
                concrete = concrete.replace(f"{{{name}}}", "4711")
            before = len(await self.acts())
            if path in ("/login", "/logout"):
                response = await self.form(path, {"user": "x"}, **bearer)
            else:
                body: dict[str, Any] = {"data": b"x"} if method == "PUT" else {"json": {}}
                response = await self.ask(method, concrete, headers=bearer, **body)
            await response.content()
            fresh = (await self.acts())[before:]
            self.assertEqual(
                [act[:2] for act in fresh], [(ACTS[method, path], "token boss")], path
            )
            self.assertIsNotNone(fresh[0][2], path)
            [row] = await self.database.rows(
                "SELECT address, status, run, job, worker, facts FROM act"
                " ORDER BY id DESC LIMIT 1"
            )
            self.assertEqual(row[:2], ("127.0.0.1", response.code), path)
            for column, name in ((2, "run"), (3, "job"), (4, "worker")):
                if f"{{{name}}}" in path:
                    self.assertIsNotNone(row[column], path)

    async def test_reading_and_the_files_of_attempts_leave_none(self) -> None:
        await (await self.get("/api/v1/runs", **self.bearer)).content()
        job = await self.rows.job()
        await self.rows.attempt(job)
        token = self.tokens.attempt_token(job, 1)
        await (
            await self.ask(
                "PUT",
                f"/api/v1/artifacts/{_SHA}",
                data=b"x",
                headers={"Authorization": f"Bearer {token}"},
            )
        ).content()
        self.assertEqual(await self.acts(), [])


class ActTests(PeopleCase):
    async def test_coming_failing_and_going_are_told(self) -> None:
        await (await self.form("/login", {"user": "ada", "password": "no"})).content()
        headers = await self.writing()
        await (await self.ask("POST", "/logout", headers=headers)).content()
        self.assertEqual(
            await self.acts(),
            [
                ("login", "nobody", "wrong_password"),
                ("login", "person ada", "done"),
                ("logout", "person ada", "done"),
            ],
        )
        rows = await self.database.rows("SELECT facts, address FROM act ORDER BY id")
        self.assertEqual([row[0].get("name") for row in rows], ["ada", "ada", None])
        self.assertEqual({row[1] for row in rows}, {"127.0.0.1"})
        text = str(await self.database.rows("SELECT act::text FROM act"))
        self.assertNotIn("lace", text)

    async def test_what_was_refused_is_told_with_the_reason(self) -> None:
        self.roles += [
            RoleEntry(role=Role.READER, user="ada"),
            RoleEntry(role=Role.OPERATOR, user="ada", project=TEAM),
        ]
        job = await self.rows.job(
            repository=f"{OTHER}/a.git", source_digest="a" * 40, name="out"
        )
        headers = await self.writing()
        told = await self.code(
            "POST", f"/api/v1/jobs/{job}/cancel", json={}, headers=headers
        )
        self.assertEqual(told, (403, "outside_project"))
        [row] = await self.database.rows(
            "SELECT who, outcome, status, job FROM act WHERE act = 'job.cancel'"
        )
        self.assertEqual(tuple(row), ("person ada", "outside_project", 403, job))

    async def test_nothing_in_a_name_forges_a_line(self) -> None:
        for name in (
            "ada\n2026-01-01 person root login done",
            "\x1b[2Jx",
            "a\u202edmin",
            "\0",
            "\ud800" if False else "a\u2028b",
        ):
            response = await self.form("/login", {"user": name, "password": "x"})
            self.assertEqual(response.code, 401)
        rows = await self.database.rows("SELECT facts->>'name' FROM act")
        self.assertEqual(len(rows), 5)
        for (name,) in rows:
            self.assertTrue(name.isprintable(), ascii(name))

    async def test_what_cannot_be_noted_is_not_done(self) -> None:
        job = await self.rows.job()

        async def away(*given: Any) -> None:
            raise DatabaseAway("the database is away")

        self.patch(self.database, "one", away)
        told = await self.code(
            "POST", f"/api/v1/jobs/{job}/cancel", json={}, headers=self.bearer
        )
        self.assertEqual(told, (503, "not_now"))
        self.assertEqual(self.farm.asked, [])

    async def test_an_act_is_there_before_it_is_done(self) -> None:
        job = await self.rows.job()
        seen: list[Any] = []
        hold: Deferred[None] = Deferred()

        async def cancel_job(job: int, by: str, why: str) -> None:
            seen.extend(await self.acts())
            await hold

        self.patch(self.farm, "cancel_job", cancel_job)
        asking = Deferred.fromCoroutine(
            self.code("POST", f"/api/v1/jobs/{job}/cancel", json={}, headers=self.bearer)
        )
        while not seen:
            await self.rows.database.run("SELECT pg_sleep(0.01)")
        self.assertEqual(seen, [("job.cancel", "farm token", None)])
        hold.callback(None)
        self.assertEqual((await asking)[0], 202)
        self.assertEqual(await self.acts(), [("job.cancel", "farm token", "done")])


class ViewTests(PeopleCase):
    async def audit(self, query: str, headers: dict[str, str] | None = None) -> Any:
        response = await self.ask(
            "GET", f"/api/v1/audit{query}", headers=headers or self.bearer
        )
        self.assertEqual(response.code, 200, await response.text())
        return await response.json()

    async def test_filters_and_pages(self) -> None:
        acts = self.site.front._acts
        for number in range(5):
            await acts.note("job.cancel", f"person p{number % 2}", "::1", "done", 202)
        act = await acts.begin("run.cancel", "token ci", "192.0.2.1", run=7)
        await acts.complete(act, "not_found", 404, {"job": 3, "why": "x"})
        page = await self.audit("?limit=4")
        self.assertEqual(len(page["audit"]), 4)
        first = page["audit"][0]
        self.assertEqual(
            (first["act"], first["who"], first["outcome"], first["run"], first["job"]),
            ("run.cancel", "token ci", "not_found", 7, 3),
        )
        self.assertEqual(first["facts"], {"why": "x"})
        rest = await self.audit(f"?limit=4&after={page['next']}")
        self.assertEqual((len(rest["audit"]), rest["next"]), (2, None))
        for query, count in (
            ("?who=person+p0", 3),
            ("?act=run.cancel", 1),
            ("?job=3", 1),
            ("?run=7&act=run.cancel", 1),
            ("?run=8", 0),
            ("?since=2020-01-01", 6),
            ("?since=2090-01-01T10:00:00Z", 0),
        ):
            self.assertEqual(len((await self.audit(query))["audit"]), count, query)
        response = await self.ask(
            "GET", "/api/v1/audit?since=2026-02-31", headers=self.bearer
        )
        await self.assert_problem(response, 400, "bad_parameter")

    async def test_only_admins_see_it(self) -> None:
        self.roles.append(RoleEntry(role=Role.OPERATOR, user="ada"))
        cookie = await self.log_in()
        for path in ("/api/v1/audit", "/api/v1/stays"):
            told = await self.code("GET", path, headers=cookie)
            self.assertEqual(told, (403, "not_allowed"))
            self.assertEqual(await self.code("GET", path), (401, "unauthorized"))
        self.roles.append(RoleEntry(role=Role.ADMIN, user="ada"))
        self.assertEqual((await self.audit("", cookie))["audit"][0]["act"], "login")


class StayTests(PeopleCase):
    async def test_admins_see_who_is_logged_in_and_end_it(self) -> None:
        ada, bob = await self.log_in(), await self.log_in("bob", "sponge")
        told = await self.ask("GET", "/api/v1/stays", headers=self.bearer)
        stays = (await told.json())["stays"]
        self.assertEqual(
            [(stay["who"], stay["by"], stay["address"]) for stay in stays],
            [("bob", "htpasswd", "127.0.0.1"), ("ada", "htpasswd", "127.0.0.1")],
        )
        text = await (await self.ask("GET", "/api/v1/stays", headers=self.bearer)).text()
        self.assertNotIn(ada["Cookie"].partition("=")[2], text)
        ended = await self.post("/api/v1/stays/end", {"who": "ada"})
        self.assertEqual(await ended.json(), {"who": "ada", "ended": 1})
        self.assertEqual((await self.me(ada))["by"], "open")
        self.assertEqual((await self.me(bob))["by"], "htpasswd")
