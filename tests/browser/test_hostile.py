"""Names that want to be more than names: they are shown, and do nothing."""

from __future__ import annotations

import json

from tests.browser.case import BrowserCase

_SCRIPT = "<img src=x onerror=window.harm=1><script>window.harm=1</script>"
HOSTILE = f"{_SCRIPT}\"'></a>{{{{7*7}}}}\u202e\u2066txt.exe\u0301" + "w" * 2000


class HostileNameTests(BrowserCase):
    runs = 6

    def prepare(self) -> None:
        super().prepare()
        job = self.scene.logged
        for table, columns in (
            ("job", ("reason", "requester", "parked_for")),
            ("run", ("name", "requester", "owner")),
            ("queue_hold", ("reason", "held_by")),
            ("failure_rule", ("pattern", "note", "made_by")),
            ("classified", ("note", "classified_by")),
            ("attempt", ("reason",)),
            ("worker", ("duty_reason", "software")),
            ("pipeline_job", ("reason",)),
        ):
            sets = ", ".join(f"{column} = %s" for column in columns)
            where = {
                "job": "WHERE state = 'done'",
                "attempt": "WHERE result IS NOT NULL",
                "pipeline_job": "WHERE result NOT IN ('success', 'reused', 'skipped')",
            }.get(table, "")
            if table == "job":
                sets = sets.replace(", parked_for = %s", "")
                columns = columns[:2]
            self.sql(f"UPDATE {table} SET {sets} {where}", *[HOSTILE] * len(columns))
        self.sql("UPDATE job SET name = left(%s, 900) || id", HOSTILE)
        self.sql("UPDATE job SET owner = left(%s, 200)", HOSTILE)
        self.sql("UPDATE run SET refs = ARRAY[%s]", HOSTILE)
        self.sql("UPDATE classified SET link = 'javascript:window.harm=1'")
        self.sql(
            "UPDATE failure_rule SET link = 'data:text/html,<script>alert(1)</script>'"
        )
        self.sql("UPDATE artifact SET path = %s WHERE path LIKE 'dist%%'", HOSTILE[:120])
        self.sql(
            """INSERT INTO worker (name, duty_reason) VALUES (%s, 'x')
               ON CONFLICT DO NOTHING""",
            HOSTILE[:150],
        )
        self.job = job

    async def test_no_name_is_more_than_text_on_any_page(self) -> None:
        worker = HOSTILE[:150]
        address = await self.address_of(worker)
        for place in (
            *("#/", "#/grid", "#/runs", f"#/runs/{self.scene.runs[-1]}", "#/jobs"),
            *(
                f"#/jobs/{self.job}",
                "#/queue",
                "#/workers",
                address,
                "#/history",
                "#/rules",
            ),
            "#/timeline?hours=6",
        ):
            await self.open(place)
            if "timeline" in place:
                await self.tab.click(".timeline ~ details summary")
            await self.assert_only_text(place)
        self.assert_calm()

    async def address_of(self, worker: str) -> str:
        await self.open("#/workers")
        found = await self.tab.run(
            "[...document.querySelectorAll('#view tbody a')].find((a) =>"
            f" a.innerText.startsWith({json.dumps(worker[:20])})).getAttribute('href')"
        )
        return str(found)

    async def test_only_addresses_of_the_web_become_links(self) -> None:
        given = [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "data:text/html,x",
            "//evil.example/x",
            "file:///etc/passwd",
            "vbscript:x",
            "https://issues.example.com/1",
            "http://issues.example.com/2",
        ]
        await self.open("#/")
        made = await self.tab.run(
            "import('/page/show/parts.js').then((parts) =>"
            f" {json.dumps(given)}.map((each) => parts.safeLink(each)))"
        )
        self.assertEqual(made, [*[None] * 7, *given[7:]])
        link = await self.tab.run(
            "import('/page/show/parts.js').then((parts) =>"
            " parts.outside('https://issues.example.com/1').outerHTML)"
        )
        self.assertIn('rel="noopener noreferrer"', link)
