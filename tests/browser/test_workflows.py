"""Workflows in the browser: what they wait for, their history, and what may be done."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from tests.browser.case import BrowserCase
from tests.browser.test_hostile import HOSTILE
from tests.browser.workflow_scene import furnish_workflows

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "workflow-build-handler"


class WorkflowPageTests(BrowserCase):
    runs = 8

    def prepare(self) -> None:
        super().prepare()
        self.job, self.run_id = self.scene.running[0], self.scene.runs[0]
        self.flows = furnish_workflows(self.dsn, self.job, self.run_id)

    def place(self, word: str, query: str = "") -> str:
        return f"#/workflows/{self.flows.ids[word]}{query}"

    async def rows(self) -> list[str]:
        found = await self.tab.run(
            "[...document.querySelectorAll('#view tbody tr')].map((row) => row.innerText)"
        )
        return list(found)

    async def has(self, text: str) -> None:
        await self.tab.until(
            f"document.querySelector('#view').innerText.includes({json.dumps(text)})"
        )

    async def test_the_list_tells_what_each_waits_for_and_can_be_filtered(self) -> None:
        await self.open("#/workflows")
        [row] = [each for each in await self.rows() if "launch-control-4711\t" in each]
        for said in (
            "binaries built",
            "since 12 min ago",
            "until in",
            "and 2 more",
            "core",
        ):
            self.assertIn(said, row)
        for query, words in (
            ("state=parked", ["build-storefront-12"]),
            ("workflow_class=Watch", ["watch-the-mirrors"]),
            ("result=cancelled", ["build-query-planner-2"]),
            ("state=open&owner=nobody", []),
        ):
            await self.open(f"#/workflows?{query}")
            names = [each.split("\t")[0].strip() for each in await self.rows()]
            self.assertEqual(names, words, query)
        await self.tab.press("g", "f")
        await self.tab.until("location.hash === '#/workflows'")
        await self.tab.press("?")
        await self.tab.until(
            "document.querySelector('dialog').innerText.includes('go to workflows')"
        )
        self.assert_calm()

    async def test_the_overview_counts_them(self) -> None:
        await self.open("#/")
        await self.has("workflows under way")
        figures = await self.tab.run(
            "Object.fromEntries([...document.querySelectorAll('.figure')].map((each) =>"
            " [each.lastChild.innerText, [each.firstChild.innerText,"
            " each.getAttribute('href')]]))"
        )
        self.assertEqual(figures["workflows under way"], ["4", "#/workflows?state=open"])
        self.assertEqual(figures["workflow parked"], ["1", "#/workflows?state=parked"])

    async def test_pages_of_the_list_follow_each_other_by_key(self) -> None:
        self.sql(
            """INSERT INTO workflow (name, class, version, requester, owner)
               SELECT 'more-' || n, 'More', 1, 'person ada', 'core'
               FROM generate_series(1, 150) AS n"""
        )
        await self.open("#/workflows?workflow_class=More")
        first = await self.rows()
        await self.tab.click("a[data-key='older']")
        await self.tab.until("document.querySelectorAll('#view tbody tr').length === 50")
        second = await self.rows()
        self.assertEqual(len(first), 100)
        self.assertIn("more-50", second[0])
        self.assertIn("workflow_class=More", await self.tab.run("location.hash"))

    async def test_one_shows_its_waits_its_family_and_its_history(self) -> None:
        await self.open(self.place("waiting"))
        text = await self.tab.text()
        for said in ("binaries built", "smoke test", "as long as it takes", "under way"):
            self.assertIn(said, text)
        links = set(
            await self.tab.run(
                "[...document.querySelectorAll('#view a')].map("
                "(each) => each.getAttribute('href'))"
            )
        )
        wanted = {
            f"#/jobs/{self.job}",
            f"#/runs/{self.run_id}",
            "#/workflows/release-2026.11",
            "#/workflows/build-launch-control-4711%2F1.5",
            f"/api/v1/workflows/{self.flows.ids['waiting']}/export",
        }
        self.assertEqual(wanted - links, set())
        await self.tab.until("document.querySelectorAll('.story .row').length === 6")
        drawn = await self.tab.run(
            "[...document.querySelectorAll('.story .row, .story .mark')].map((each) =>"
            " each.getAttribute('aria-label'))"
        )
        for said in (
            "submit_source (local action): asked",
            "completed after 1 min",
            "check (run): asked",
            "failure after 21 min",
            "srpm built (timer): asked",
            "no answer needed",
            "smoke test (job): asked",
            "signal build_ended, by webhook copr",
        ):
            self.assertTrue(any(said in each for each in drawn), (said, drawn))
        # The keyboard walks through time, and opens what has a page.
        await self.tab.run("document.querySelector('.story [tabindex=\"0\"]').focus()")
        key = "document.activeElement.getAttribute('data-key')"
        self.assertEqual(await self.tab.run(key), "mark 0")
        await self.tab.press("ArrowRight")
        self.assertEqual(await self.tab.run(key), "row 0")
        self.assertIn("submit_source", await self.tab.text(".story-told"))
        await self.tab.press("End", "ArrowLeft")
        self.assertEqual(await self.tab.run(key), "row 4")
        self.assertEqual(
            await self.tab.run(
                "document.querySelectorAll('.story [tabindex=\"0\"]').length"
            ),
            1,
        )
        # The same as a table, for those who see no drawing.
        await self.tab.click(".moments > summary")
        table = await self.tab.until("document.querySelector('.moments table').innerText")
        for said in (
            "asked for local action 0",
            "completed 0",
            "build_ended",
            '["f42",true]',
        ):
            self.assertIn(said, table)
        await self.tab.run("document.querySelector('.story [data-key=\"row 4\"]').focus()")
        await self.tab.press("Enter")
        await self.tab.until(f"location.hash === '#/jobs/{self.job}'")
        # A link by the name of a workflow leads to it, too.
        await self.open("#/workflows/build-launch-control-4711%2F1.5")
        await self.has("a day")
        self.assert_calm()

    async def test_by_the_clock_a_short_step_is_short(self) -> None:
        await self.open(self.place("waiting"))
        bar = '.story [data-key="row 0"] .bar'
        wide = f"document.querySelector('{bar}').getAttribute('width')"
        steps = float(await self.tab.until(wide))
        await self.tab.click(".story .buttons button")
        await self.tab.until(f"Number({wide}) < {steps / 3}")
        self.assertEqual(
            await self.tab.run(
                "document.querySelector('.story button').getAttribute('aria-pressed')"
            ),
            "true",
        )

    async def test_one_that_is_parked_says_why_in_full_and_what_to_do(self) -> None:
        await self.open(self.place("parked"))
        verdict = await self.tab.text(".verdict")
        for said in ("KeyError: 'srpm'", "line 41, in run", "Mend the code", "tried again"):
            self.assertIn(said, verdict)
        await self.open(self.place("failure"))
        self.assertIn("the source package did not build", await self.tab.text(".verdict"))

    async def test_a_long_history_begins_at_its_end_and_can_be_leafed_through(self) -> None:
        await self.open(self.place("long"))
        # A loop is one lane.
        await self.tab.until("document.querySelectorAll('.story .row').length === 150")
        self.assertIn("an hour ×150", await self.tab.text(".story"))
        await self.tab.click("a[data-key='leaf Earlier']")
        await self.tab.until("location.hash.endsWith('?from=100')")
        await self.tab.until("document.querySelectorAll('.story .row').length === 200")
        self.assertNotIn(
            "waited for",
            await self.tab.run(
                "[...document.querySelectorAll('.story .row')].map((each) =>"
                " each.getAttribute('aria-label')).join()"
            ),
        )
        await self.tab.click("a[data-key='leaf Later']")
        await self.tab.until("location.hash.endsWith('?from=300')")

    async def test_what_happens_is_shown_and_else_nothing_is_asked(self) -> None:
        one = self.flows.ids["waiting"]
        await self.open(self.place("waiting"))
        await self.live()
        await self.tab.until("document.querySelectorAll('.story .row').length === 6")
        await self.tab.run("window.mine = document.querySelector('#view h1')")
        await self.tab.run("new Promise((done) => setTimeout(done, 1500))")
        before = [url for url in self.tab.requests if "/api/" in url]
        await self.tab.run("new Promise((done) => setTimeout(done, 3500))")
        self.assertEqual([url for url in self.tab.requests if "/api/" in url], before)
        # A signal that changes nothing of what it waits for is no event of the log.
        self.sql(
            """INSERT INTO workflow_event (workflow, generation, n, type, name, payload,
                                           dedupe_key)
               VALUES (%s, 1, 6, 'signal', 'news', '["of the world"]', 'event 6')""",
            one,
        )
        self.sql(
            "UPDATE workflow SET position = 7, changed_at = farm_now() WHERE id = %s", one
        )
        await self.tab.until("!!document.querySelector('.story [data-key=\"mark 6\"]')")
        self.sql(
            """UPDATE workflow SET state = 'done', result = 'success', waits = '[]',
                   value = '"it is done"', changed_at = farm_now(), finished_at = farm_now()
               WHERE id = %s""",
            one,
        )
        await self.tab.until(
            "document.querySelector('#view h1').innerText.includes('success')"
        )
        await self.has("it is done")
        self.assertTrue(await self.tab.run("window.mine.isConnected"))
        self.assert_calm()

    async def test_what_is_not_there_is_said(self) -> None:
        await self.open("#/workflows/nobody-has-this-name")
        said = await self.tab.until("document.querySelector('.error')?.innerText")
        self.assertIn("no workflow", said)
        await self.open("#/workflows?name=nobody-has-this-name")
        await self.has("No workflow is like that")

    async def test_nobody_in_particular_sees_no_buttons(self) -> None:
        for place in (self.place("waiting"), self.place("parked"), "#/schedules"):
            await self.open(place)
            self.assertEqual(
                await self.tab.run(
                    "document.querySelectorAll('#view .actions button, td button').length"
                ),
                0,
            )


class HostileWorkflowTests(BrowserCase):
    """Names and payloads are whatever somebody sent: they are shown, and do nothing."""

    runs = 2

    def prepare(self) -> None:
        super().prepare()
        self.flows = furnish_workflows(self.dsn, None, self.scene.runs[0])
        one = self.flows.ids["waiting"]
        name = HOSTILE.replace("\x1b", "")[:180]
        self.sql("UPDATE workflow SET name = %s WHERE id = %s", name, one)
        self.sql(
            """UPDATE workflow SET class = left(%s, 300), requester = %s,
                   owner = left(%s, 200), reason = %s, cause = repeat(%s, 2)""",
            *[HOSTILE] * 5,
        )
        waits = json.dumps(
            [{"what": "condition", "name": HOSTILE, "since": 1_700_000_000_000_000}]
        )
        self.sql("UPDATE workflow SET waits = %s WHERE state <> 'done'", waits)
        evil = {"\x1b]0;title\x07\x1b[2J": f"{HOSTILE}\x1b[31m"}
        self.sql(
            "UPDATE workflow SET arguments = %s, value = %s",
            json.dumps([evil, "\u202e" + "y" * 262_000]),
            json.dumps(HOSTILE),
        )
        self.sql("UPDATE workflow_event SET name = %s WHERE type = 'signal'", HOSTILE)
        self.sql(
            "UPDATE workflow_event SET by = %s, payload = %s WHERE seq IS NULL",
            f"workflow {HOSTILE}",
            json.dumps({"text": HOSTILE[:700]}),
        )
        self.sql("UPDATE workflow_command SET name = %s", HOSTILE)
        self.sql(
            "UPDATE firing SET reason = %s WHERE state IN ('skipped', 'failed')", HOSTILE
        )
        self.sql(
            """UPDATE schedule SET cron = %s, owner = %s, made_by = %s, zone = %s,
                   starts = %s""",
            *[HOSTILE] * 3,
            "Nowhere/<img src=x>",
            json.dumps({"workflow": {"class": HOSTILE}}),
        )

    async def test_no_text_is_more_than_text(self) -> None:
        places = [f"#/workflows/{each}" for each in self.flows.ids.values()]
        for place in ("#/workflows", "#/schedules", *places):
            await self.open(place)
            await self.tab.until("!document.querySelector('.story-box:empty')")
            await self.tab.run(
                "document.querySelectorAll('details').forEach("
                "(each) => { each.open = true; })"
            )
            await self.assert_only_text(place)
        self.assert_calm()

    async def test_what_is_hidden_in_a_payload_is_seen_and_a_long_one_is_cut(self) -> None:
        await self.open(f"#/workflows/{self.flows.ids['waiting']}")
        given = await self.tab.until(
            "document.querySelector('[aria-label=\"What it was given\"]')?.innerText"
        )
        self.assertIn("<U+202E>", given)
        self.assertNotIn("\u202e", given)
        self.assertNotIn("\x1b", given)
        self.assertLess(len(given), 60_000)
        self.assertIn("characters more", await self.tab.text())


class WorkflowActionTests(BrowserCase):
    """With a class of the example, on the master that runs it."""

    runs = 0

    def ready(self) -> None:
        example = self.home.folder / "example"
        ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(EXAMPLE, example, ignore=ignored)
        self.home.environment = {
            "PYTHONPATH": str(example),
            "COPR_URL": "http://127.0.0.1:9",  # nobody is there: it tries again and again
        }

    async def test_a_signal_is_sent_once_and_the_end_is_asked_for(self) -> None:
        await self.open("#/")
        await self.sign_in()
        started = await self.home.client.change(
            "/api/v1/workflows",
            {"class": "BuildHandler", "arguments": ["p", "abc", ["f42"]], "name": "b-1"},
        )
        await self.open(f"#/workflows/{started['id']}")
        await self.live()
        await self.tab.click("#signal")
        await self.answer(signal="build_ended", arguments="no JSON")
        refusal = await self.tab.until("document.querySelector('dialog .error').innerText")
        self.assertIn("not JSON", refusal)
        await self.answer(arguments='["only one"]')
        refusal = await self.tab.until(
            "(t => t.includes('not JSON') ? '' : t)"
            "(document.querySelector('dialog .error').innerText)"
        )
        self.assertIn("build_ended", refusal)  # the farm's own words
        await self.answer(
            arguments='{"build": 1, "chroot": "<b>x</b>", "ok": true}', id="one"
        )
        await self.tab.until(
            "document.querySelector('#told').innerText.includes('is sent')"
        )
        await self.tab.until(
            "[...document.querySelectorAll('.story .mark')].some((each) =>"
            " each.getAttribute('aria-label').includes('build_ended'))"
        )
        await self.tab.click("#signal")
        await self.answer(
            signal="build_ended",
            arguments='{"build": 1, "chroot": "<b>x</b>", "ok": true}',
            id="one",
        )
        await self.tab.until(
            "document.querySelector('#told').innerText.includes('sent before')"
        )
        await self.tab.click("#cancel")
        await self.answer(why="no need")
        await self.tab.until(
            "document.querySelector('#view h1').innerText.includes('cancelled')"
        )
        self.assertIn("no need", await self.tab.text(".verdict"))
        self.assertFalse(await self.tab.run("!!document.querySelector('#signal, #cancel')"))
        [(by,)] = self.sql("SELECT DISTINCT by FROM workflow_event WHERE type = 'signal'")
        self.assertIn("farm", by)
        self.assert_calm(self.tab, "422")


class SchedulePageTests(BrowserCase):
    runs = 4

    def prepare(self) -> None:
        super().prepare()
        self.flows = furnish_workflows(self.dsn, None, self.scene.runs[0])

    def one(self, statement: str) -> object:
        return self.sql(statement)[0][0]

    async def row(self, name: str) -> str:
        return str(
            await self.tab.run(
                "[...document.querySelectorAll('#view tbody tr')]"
                ".map((row) => row.innerText)"
                f".find((text) => text.includes({json.dumps(name)})) || ''"
            )
        )

    async def test_each_says_what_it_starts_when_and_what_became_of_it(self) -> None:
        await self.open("#/schedules")
        nightly = await self.row("nightly")
        for said in (
            "30 2 * * mon-fri",
            "Europe/Berlin",
            "in 5 h",
            "passed over",
            "run of",
        ):
            self.assertIn(said, nightly)
        self.assertIn("success", await self.row("report"))
        self.assertIn("waits for the last one to end", await self.row("report"))
        self.assertIn("not while it is paused", await self.row("tidy"))
        [moment] = self.sql("SELECT next_at FROM schedule WHERE name = 'nightly'")[0]
        assert isinstance(moment, datetime)
        there = json.dumps(moment.astimezone(UTC).isoformat())
        here = await self.tab.run(
            f"new Date({there}).toLocaleTimeString("
            "'en-GB', {timeZone: 'Europe/Berlin', hour: '2-digit', minute: '2-digit'})"
        )
        self.assertIn(here, nightly)
        told = await self.tab.run(
            "[...document.querySelectorAll('#view .cell')].map((each) =>"
            " each.getAttribute('aria-label')).join('; ')"
        )
        self.assertIn("skipped, what was started before is still under way", told)
        self.assertIn("could not start, the repository does not answer", told)
        await self.tab.press("g", "o")
        await self.tab.until("location.hash === '#/'")
        await self.tab.press("g", "s")
        await self.tab.until("location.hash === '#/schedules'")
        self.assert_calm()

    async def test_it_is_paused_resumed_and_removed_and_that_is_seen_elsewhere(
        self,
    ) -> None:
        await self.open("#/")
        await self.sign_in()
        await self.open("#/schedules")
        other = await self.browser.tab()
        await self.open("#/schedules", other)
        await self.live(other)
        await self.tab.click("[aria-label='Pause schedule nightly']")
        await self.answer()
        await self.tab.until(
            "!!document.querySelector(\"[aria-label='Resume schedule nightly']\")"
        )
        self.assertIs(self.one("SELECT paused FROM schedule WHERE name = 'nightly'"), True)
        await other.until(
            "[...document.querySelectorAll('#view tbody tr')].some((row) =>"
            " row.innerText.includes('nightly') && row.innerText.includes('paused'))"
        )
        await self.tab.click("#told button")  # undo
        await self.tab.until(
            "!!document.querySelector(\"[aria-label='Pause schedule nightly']\")"
        )
        self.assertIs(self.one("SELECT paused FROM schedule WHERE name = 'nightly'"), False)
        await self.tab.click("[aria-label='Remove schedule tidy']")
        await self.answer()
        await self.tab.until("!document.querySelector('#view').innerText.includes('tidy')")
        self.assertEqual(self.sql("SELECT 1 FROM schedule WHERE name = 'tidy'"), [])
        self.assert_calm()
