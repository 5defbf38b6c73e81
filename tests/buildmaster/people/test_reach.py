"""What somebody sees who may see some projects only: those, and no trace of others."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import psycopg2
import treq
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.grants import is_within
from buildmaster.http.openapi import PATH as OPENAPI
from buildmaster.people.roles import Role, RoleEntry
from tests.buildmaster.people.people_site import OTHER, TEAM, PeopleCase
from tests.postgres import fresh_dsn

THIRD = "https://example.com/third"
_PARTS = st.sampled_from(
    [
        "https://example.com",
        "team",
        "teammates",
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "?",
        "a",
        "\\",
    ]
)


class RuleTests(SynchronousTestCase):
    def test_the_database_and_the_code_draw_the_same_line(self) -> None:
        connection = psycopg2.connect(fresh_dsn(self))

        @given(
            st.lists(_PARTS, max_size=6).map("".join),
            st.lists(st.lists(_PARTS, max_size=4).map("".join), max_size=3),
        )
        @example(f"{TEAM}/a", [TEAM])
        @example(f"{TEAM}/a/../b", [TEAM])
        @example(f"{TEAM}mates", [TEAM])
        @example(f"{TEAM}//", [f"{TEAM}/"])
        @example("", [""])
        @settings(max_examples=400, deadline=None)
        def law(repository: str, projects: list[str]) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT is_within(%s, %s::text[])", (repository, projects))
                [[there]] = cursor.fetchall()
            self.assertEqual(there, is_within(tuple(projects), repository))

        with closing(connection):
            law()
            with connection.cursor() as cursor:
                cursor.execute("SELECT is_within(NULL, '{a}'), is_within('a', '{}')")
                self.assertEqual(cursor.fetchall(), [(False, False)])


class SightTests(PeopleCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.roles += [
            RoleEntry(role=Role.READER, user="ada", project=TEAM),
            RoleEntry(role=Role.OPERATOR, user="ada", project=OTHER),
        ]
        self.runs: dict[str, int] = {}
        self.jobs: dict[str, int] = {}
        for project in (TEAM, OTHER, THIRD):
            name = f"secret-of-{project.rpartition('/')[2]}"
            run = await self.rows.run(repository=f"{project}/a.git", name=name)
            self.runs[project] = run
            self.jobs[project] = await self.rows.job(
                run, repository=f"{project}/a.git", source_digest="a" * 40, name=name
            )
            await self.rows.attempt(self.jobs[project])
            await self.rows.log(self.jobs[project], name.encode())
        self.native = await self.rows.job(name="secret-of-nobody")
        await self.rows.worker("secret-worker")
        self.headers = await self.writing()

    async def text(self, path: str) -> tuple[int, str]:
        response = await self.ask("GET", path, headers=self.headers)
        return int(response.code), await response.text()

    async def test_lists_show_the_union_of_the_projects_and_nothing_else(self) -> None:
        for name, there in (("runs", self.runs), ("jobs", self.jobs)):
            status, text = await self.text(f"/api/v1/{name}")
            self.assertEqual(status, 200)
            found = {each["id"] for each in json.loads(text)[name]}
            self.assertEqual(found, {there[TEAM], there[OTHER]})
            for query in ("?limit=1", "?order=id&limit=2", "?fields=id"):
                _, text = await self.text(f"/api/v1/{name}{query}")
                found = {each["id"] for each in json.loads(text)[name]}
                self.assertLessEqual(found, {there[TEAM], there[OTHER]}, query)
        for state in ("ready", "running", "running,done", "waiting"):
            _, text = await self.text(f"/api/v1/jobs?state={state}")
            self.assertNotIn("third", text)
            self.assertNotIn("nobody", text)

    async def test_pages_go_on_within_the_projects(self) -> None:
        seen: list[int] = []
        after = ""
        while True:
            _, text = await self.text(f"/api/v1/jobs?limit=1{after}")
            page = json.loads(text)
            seen += [job["id"] for job in page["jobs"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        self.assertEqual(seen, sorted((self.jobs[TEAM], self.jobs[OTHER]), reverse=True))

    async def test_nothing_of_others_shows_anywhere(self) -> None:
        """Every address that reads, with what is not theirs: no name, no byte, no count."""
        third, job = self.runs[THIRD], self.jobs[THIRD]
        for path in (
            f"/api/v1/runs/{third}",
            f"/api/v1/jobs/{job}",
            f"/api/v1/jobs/{self.native}",
            f"/api/v1/jobs/{job}/log",
            f"/api/v1/jobs/{job}/log?follow=1",
            f"/api/v1/jobs/{job}/explain",
            f"/api/v1/jobs/{job}/order",
            f"/api/v1/jobs?run={third}",
            f"/api/v1/events?run={third}",
            f"/api/v1/events?job={job}",
            "/api/v1/overview",
            "/api/v1/workers",
            "/api/v1/workers/secret-worker",
            "/api/v1/holds",
            "/api/v1/forecast",
            "/api/v1/semaphores",
            "/api/v1/tokens",
            "/api/v1/audit",
            "/api/v1/stays",
            "/api/v1/books",
            "/metrics",
            "/cctray.xml",
            f"/badge.svg?repository={THIRD}/a.git",
        ):
            status, text = await self.text(path)
            self.assertEqual(status, 403, path)
            self.assertNotIn("secret", text, path)
            self.assertNotIn("third", text, path)
            live = {**self.headers, "Accept": "text/event-stream"}
            response = await self.ask("GET", path, headers=live)
            self.assertEqual(response.code, 403, path)

    async def test_every_address_is_either_filtered_or_closed(self) -> None:
        """A new list must say which; by default it is closed."""
        for route in self.site.front._routes._routes:
            if "GET" not in route.handlers or not route.path.startswith("/api/v1/"):
                continue
            if "{" in route.path or route.path == OPENAPI:
                continue
            status, text = await self.text(route.path)
            self.assertIn(status, (200, 403), route.path)
            for secret in ("third", "nobody", "secret-worker"):
                self.assertNotIn(secret, text, route.path)

    async def test_events_are_those_of_the_projects(self) -> None:
        for project in (TEAM, THIRD, OTHER):
            await self.rows.event(f"of-{project[-5:]}", job=self.jobs[project])
            await self.rows.event(f"run-{project[-5:]}", run=self.runs[project])
        last = await self.rows.event("of-nobody")
        await self.rows.until_readable(last)
        _, text = await self.text("/api/v1/events")
        kinds = [event["kind"] for event in json.loads(text)["events"]]
        self.assertEqual(kinds, ["of-/team", "run-/team", "of-other", "run-other"])

    async def test_each_scope_ends_where_its_project_does(self) -> None:
        for project, wanted in (
            (TEAM, (403, "outside_project")),
            (OTHER, (202, "")),
            (THIRD, (403, "outside_project")),
        ):
            told = await self.code(
                "POST",
                f"/api/v1/jobs/{self.jobs[project]}/cancel",
                json={},
                headers=self.headers,
            )
            self.assertEqual(told, wanted, project)

    async def test_who_operates_a_project_stays_behind_those_of_others(self) -> None:
        path = f"/api/v1/jobs/{self.jobs[OTHER]}/rescore"
        for score, wanted in ((400_000, (202, "")), (500_001, (403, "not_allowed"))):
            body: dict[str, Any] = {"score": score, "reason": "now"}
            told = await self.code("POST", path, json=body, headers=self.headers)
            self.assertEqual(told, wanted, score)
        for path, body in (
            ("/api/v1/duty", {"workers": "*", "duty": "paused", "reason": "x"}),
            ("/api/v1/holds", {"scope": "farm", "reason": "x"}),
            ("/api/v1/bulk", {"act": "cancel", "where": "state=ready", "reason": "x"}),
        ):
            told = await self.code("POST", path, json=body, headers=self.headers)
            self.assertEqual(told, (403, "outside_project"), path)

    async def test_a_role_that_is_taken_away_ends_what_is_followed(self) -> None:
        live = {**self.headers, "Accept": "text/event-stream"}
        response = await self.ask("GET", "/api/v1/jobs", headers=live)
        heard: list[bytes] = []
        over = treq.collect(response, heard.append)
        self.roles.pop()
        await self.rows.event("secret", job=self.jobs[TEAM])
        await over
        text = b"".join(heard).decode()
        self.assertIn("event: snapshot", text)
        self.assertIn("event: refused", text)
        self.assertNotIn("event: secret", text)

    async def test_a_stay_that_ends_ends_what_it_follows(self) -> None:
        job = self.jobs[TEAM]
        live = {**self.headers, "Accept": "text/event-stream"}
        events = await self.ask("GET", "/api/v1/jobs", headers=live)
        heard: list[bytes] = []
        over = treq.collect(events, heard.append)
        await self.stays.end_all_of("ada")
        await self.rows.event("secret", job=job)
        await over
        self.assertIn(b"event: refused", b"".join(heard))
        self.assertNotIn(b"event: secret", b"".join(heard))


class OpenSightTests(PeopleCase):
    open_reading = True

    async def test_a_stay_that_ends_ends_what_it_follows_where_all_may_read(self) -> None:
        headers = {**await self.log_in(), "Accept": "text/event-stream"}
        response = await self.ask("GET", "/api/v1/jobs", headers=headers)
        heard: list[bytes] = []
        over = treq.collect(response, heard.append)
        await self.stays.end_all_of("ada")
        await self.rows.event("news", job=await self.rows.job())
        await over
        self.assertIn(b"event: refused", b"".join(heard))
