"""What other people's tools are given: CCTray, badges, the access log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from buildmaster.http.access_log import AccessLog
from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.rows import HOSTILE


class CCTrayTests(SiteCase):
    async def test_each_repository_shows_its_last_run_whatever_its_name(self) -> None:
        over = {"state": "done", "finished_at": "2026-01-01 12:00+00"}
        await self.rows.run(repository=HOSTILE, result="failure", **over)
        await self.rows.run(repository=HOSTILE)
        await self.rows.run(repository="b", result="success", **over)
        await self.rows.run(repository="c", result="error", **over)
        response = await self.get("/cctray.xml")
        found = {
            each.attrib["name"]: each.attrib
            for each in ElementTree.fromstring(await response.text())
        }
        hostile = HOSTILE.replace("\r", " ").replace("\n", " ")
        self.assertEqual(
            {name: (e["activity"], e["lastBuildStatus"]) for name, e in found.items()},
            {
                hostile: ("Building", "Failure"),
                "b": ("Sleeping", "Success"),
                "c": ("Sleeping", "Exception"),
            },
        )
        self.assertRegex(found["b"]["webUrl"], r"^http://127\.0\.0\.1:\d+/#/runs/\d+$")


class BadgeTests(SiteCase):
    async def word(self, query: str) -> str:
        response = await self.get(f"/badge.svg?{query}")
        text = await response.text()
        self.assertEqual(response.code, 200, text)
        self.assertNotIn("script", text)
        ElementTree.fromstring(text)
        return str(re.findall("build: ([a-z ]+)", text)[0])

    async def test_a_badge_says_how_the_last_run_ended(self) -> None:
        over = {"state": "done", "finished_at": "2026-01-01 12:00+00", "repository": "a"}
        await self.rows.run(result="success", refs=["refs/heads/main"], **over)
        self.assertEqual(await self.word("repository=a"), "passing")
        await self.rows.run(result="failure", refs=["refs/heads/other"], **over)
        self.assertEqual(await self.word("repository=a"), "failing")
        self.assertEqual(await self.word("repository=a&ref=refs/heads/main"), "passing")
        await self.rows.run(result="cancelled", **over)
        self.assertEqual(await self.word("repository=a"), "not run")
        self.assertEqual(await self.word("repository=%3Cscript%3E"), "unknown")

    async def test_whose_badge_must_be_said(self) -> None:
        await self.assert_problem(await self.get("/badge.svg"), 400, "bad_parameter")


class AccessLogTests(SiteCase):
    def more(self) -> dict[str, Any]:
        self.path = Path(self.mktemp_folder()) / "access.log"
        log = AccessLog(self.path)
        self.addCleanup(log.close)
        return {"access_log": log}

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    async def test_every_answer_is_a_line_without_what_is_secret(self) -> None:
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        await (await self.get("/healthz?secret=1")).content()
        await (await self.ask("GET", "/api/v1/runs", headers=self.bearer)).content()
        refused = await self.raw(
            self.head("POST /api/v1/runs HTTP/1.1", Content_Length="5")
        )
        await refused.until(b"unauthorized")
        lines = self.lines()
        self.assertEqual(
            [(e["method"], e["path"], e["status"], e["who"]) for e in lines],
            [
                ("GET", "/healthz", 400, ""),
                ("GET", "/api/v1/runs", 200, "farm token"),
                ("POST", "/api/v1/runs", 401, ""),
            ],
        )
        self.assertEqual(lines[0]["address"], "127.0.0.1")
        self.assertGreater(lines[1]["bytes"], 10)
        whole = self.path.read_text()
        self.assertNotIn("secret", whole)
        self.assertNotIn(self.tokens.farm_token, whole)

    async def test_no_path_makes_a_line_of_its_own(self) -> None:
        raw = await self.raw(self.head('GET /"%0a{}\x85<x> HTTP/1.1', Connection="close"))
        await raw.closed
        self.assertLessEqual(len(self.lines()), 1)
