"""Jobs that refer to jobs, in a browser: what was reused and why, and what waits."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.defer import Deferred

from tests.browser.chromium import Browser, Tab, chromium
from tests.referring import WholeFarm
from tests.requirements import require

FILE = """\
packages: {A: {paths: [a], depends: [B]}, B: {paths: [b]}}
defaults: {series: noble}
jobs:
  build:
    per_package: true
    run: cat $(echo $CI_PACKAGE | tr A-Z a-z)/file > made.txt
    output: {paths: [made.txt]}
  publish:
    scope: component
    needs: [{job: build, map: all}]
    run: echo "publish $CI_PACKAGES"
"""
MANUAL = "  sign: {needs: [publish], manual: true, run: 'true'}\n"


class ReferencePageTests(WholeFarm):
    timeout = 240
    tab: Tab

    async def start(self) -> None:
        command = chromium()
        require(self, command is not None, "this machine lacks Chromium")
        assert command is not None
        await super().start()
        browser = Browser()
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.stop()))
        await browser.start(command)
        self.tab = await browser.tab()
        await self.tab.go(f"{self.here.url}/")
        await self.tab.until("!!document.querySelector('#use-token')")

    async def open(self, place: str) -> None:
        await self.tab.run(f"location.hash = {json.dumps(place)}")
        await self.tab.until(
            f"location.hash === {json.dumps(place)} && !!document.querySelector('#view h1')"
            " && !document.querySelector('#view[aria-busy]')"
            " && !document.querySelector('#view').innerText.includes('Reading')"
        )

    async def says(self, text: str) -> None:
        await self.tab.until(
            f"document.querySelector('#view').innerText.includes({json.dumps(text)})"
        )

    async def sign_in(self) -> None:
        token = Path(self.here.environment["HEADRACE_TOKEN_FILE"]).read_text().strip()
        await self.tab.click("#use-token")
        await self.tab.until("!!document.querySelector('dialog[open] input')")
        await self.tab.type(token)
        await self.tab.press("Enter")
        await self.tab.until("!document.querySelector('dialog[open]')")

    async def test_a_gate_is_shown_and_opened_and_reuse_says_whose_result_it_is(
        self,
    ) -> None:
        self.commit(FILE + MANUAL, a__file="one\n", b__file="two\n")
        run = await self.submit()
        [sign] = [job for job in (await self.run_of(run))["jobs"] if job["name"] == "sign"]
        await self.until(sign["id"], "parked")
        await self.open(f"#/runs/{run}")
        await self.says("To be let go")
        marks = (
            "[...document.querySelectorAll('.graph .node .of')].map((e) => e.textContent)"
        )
        self.assertEqual(await self.tab.until(f"{marks}.length && {marks}"), ["‖ gate"])
        await self.open(f"#/jobs/{sign['id']}")
        await self.says("Waits to be let go.")
        self.assertFalse(await self.tab.run("!!document.querySelector('#release')"))
        await self.sign_in()
        await self.tab.click("#release")
        await self.tab.until("!!document.querySelector('dialog[open] [type=submit]')")
        await self.tab.click("dialog [type=submit]")
        await self.tab.until("document.querySelector('h1').innerText.includes('success')")
        await self.tab.until("!document.querySelector('#release')")
        first = await self.done(run)

        # Only A is another one: B is reused, and the page says from where, and why.
        self.commit(FILE, a__file="three\n")
        run = await self.submit()
        second = await self.done(run)
        self.assertEqual(second.results["B/build"], "reused")
        await self.open(f"#/jobs/{second['B/build']['id']}")
        await self.says("passed with the same content key")
        link = f"#/jobs/{first['B/build']['id']}"
        self.assertTrue(
            await self.tab.run(f"!!document.querySelector(\".verdict a[href='{link}']\")")
        )
        facts = await self.tab.text(".facts")
        for said in ("Package\nB", "One for\neach package", "Content key", "same keys"):
            self.assertIn(said, facts)
        await self.open(f"#/runs/{run}")
        await self.says("1 of 3")
        reused = "[...document.querySelectorAll('.graph .node.reused')]"
        self.assertEqual(
            await self.tab.until(
                f"{reused}.length && {reused}.map((e) => e.getAttribute('aria-label'))"
            ),
            [f"B/build on amd64 noble: reused from job {first['B/build']['id']}"],
        )
        self.assertIn(f"from {first['B/build']['id']}", await self.tab.text(".graph"))

        # Nothing of either is another one: there is nothing to publish.
        self.commit(FILE, readme="new\n")
        third = await self.built()
        self.assertEqual(third.results["A/publish"], "skipped")
        await self.open(f"#/jobs/{third['A/publish']['id']}")
        await self.says("Skipped as unchanged")
        self.assertIn("Covers\nA, B", await self.tab.text(".facts"))
        self.assertEqual(self.tab.complaints, [])
