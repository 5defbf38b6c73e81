"""Every page: drawn without complaint, named for everybody, and as wide as the screen."""

from __future__ import annotations

from pathlib import Path

from tests.browser.case import BrowserCase
from tests.browser.scene import furnish
from tests.browser.workflow_scene import furnish_workflows

#: Roles of what can be operated: without a name nobody knows what it does.
CONTROLS = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "gridcell"}
CONTROLS |= {"columnheader", "rowheader", "grid", "table", "dialog", "navigation", "image"}

#: Gives texts that are hard to read.
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


class PageTests(BrowserCase):
    def prepare(self) -> None:
        super().prepare()
        flows = furnish_workflows(self.dsn, self.scene.running[0], self.scene.runs[0])
        self.flows = flows.ids

    def places(self) -> list[str]:
        job, run = self.scene.logged, self.scene.runs[-1]
        return [
            "#/",
            "#/grid",
            "#/grid?order=newest&cells=pipeline_jobs",
            "#/runs",
            f"#/runs/{run}",
            "#/jobs",
            f"#/jobs/{job}",
            f"#/jobs/{job}/log/L3-L5",
            "#/queue",
            "#/timeline?hours=6",
            "#/workers",
            "#/workers/mill-3",
            "#/history?name=build",
            "#/rules",
            "#/workflows",
            f"#/workflows/{self.flows['waiting']}",
            f"#/workflows/{self.flows['parked']}",
            f"#/workflows/{self.flows['long']}",
            "#/schedules",
        ]

    async def test_every_page_is_drawn_named_and_no_wider_than_any_screen(self) -> None:
        for place in self.places():
            await self.tab.size(1280, 800)
            await self.open(place)
            await self.live()
            title = await self.tab.run("document.title")
            self.assertRegex(title, r"^.+ · Headrace$", place)
            self.assertEqual(await self.tab.text(".error"), "", place)
            nodes = (await self.tab.send("Accessibility.getFullAXTree"))["nodes"]
            nameless = [
                node["role"]["value"]
                for node in nodes
                if not node["ignored"]
                and node["role"]["value"] in CONTROLS
                and not node.get("name", {}).get("value", "").strip()
            ]
            self.assertEqual(nameless, [], place)
            await self.tab.size(360, 740)
            await self.tab.until("innerWidth === 360")
            width = await self.tab.run("document.documentElement.scrollWidth")
            self.assertLessEqual(width, 360, place)
        self.assert_calm()

    async def test_light_and_dark_can_be_read(self) -> None:
        for scheme in ("light", "dark"):
            await self.tab.prefer(scheme, "reduce")
            for place in self.places():
                await self.open(place)
                self.assertEqual(await self.tab.run(CONTRAST), [], f"{place} {scheme}")
            ground = await self.tab.run(
                "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
            )
            self.assertEqual(sum(ground) > 380, scheme == "light")

    async def test_what_is_not_there_is_said(self) -> None:
        await self.open("#/jobs/99999999")
        said = await self.tab.until("document.querySelector('.error')?.innerText")
        self.assertIn("no job 99999999", said)
        await self.open("#/nowhere")
        self.assertIn("nothing at this address", await self.tab.text())
        await self.open("#/jobs?name=nobody-has-this-name")
        self.assertIn("No job is like that", await self.tab.text())
        await self.open("#/runs?owner=nobody")
        self.assertIn("No run is like that", await self.tab.text())


class QuietFarmTests(BrowserCase):
    def prepare(self) -> None:
        self.scene = furnish(self.dsn, self.runs, quiet=True)

    async def test_the_overview_asks_three_times_and_nothing_more_while_nothing_changes(
        self,
    ) -> None:
        await self.open("#/")
        await self.live()
        await self.tab.until("!!document.querySelector('.runs li')")
        await self.tab.run("new Promise((done) => setTimeout(done, 1500))")
        calls = [url for url in self.tab.requests if "/api/" in url]
        self.assertLessEqual(len(calls), 3, (calls, self.sql("SELECT * FROM event")))
        # Relative times are told anew meanwhile, with no question.
        await self.tab.run("new Promise((done) => setTimeout(done, 5500))")
        self.assertEqual([url for url in self.tab.requests if "/api/" in url], calls)


class EmptyFarmTests(BrowserCase):
    runs = 0

    async def test_a_farm_that_has_done_nothing_says_so_everywhere(self) -> None:
        for place, said in (
            ("#/", "Nothing was asked of this farm yet"),
            ("#/grid", "No run is like that"),
            ("#/queue", "Nobody waits for a worker"),
            ("#/timeline", "No worker did anything in this time"),
            ("#/rules", "There is no rule yet"),
            ("#/workflows", "No workflow is like that"),
            ("#/schedules", "There is no schedule yet"),
        ):
            await self.open(place)
            await self.tab.until(f"document.body.innerText.includes({said!r})")
        self.assert_calm()


class ClosedFarmTests(BrowserCase):
    runs = 4
    settings = {"open_reading": False}

    async def test_who_may_not_read_is_asked_who_they_are(self) -> None:
        await self.tab.go(f"{self.home.url}/#/jobs")
        await self.tab.until("document.body.innerText.includes('those it knows')")
        await self.sign_in("not-a-token")
        self.assertIn("does not know the token", await self.tab.text("dialog .error"))
        await self.tab.press("Escape")
        await self.tab.until("!document.querySelector('dialog')")
        await self.sign_in()
        await self.tab.until("!!document.querySelector('#view tbody tr')")
        await self.live()
