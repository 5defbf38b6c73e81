"""A farm with a worker, watched from the submission to the last line of the log."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.browser.chromium import Browser, chromium
from tests.farm import HELLO, farm
from tests.requirements import require


class WatchedFarmTests(TestCase):
    timeout = 240

    async def test_a_run_appears_passes_and_shows_its_log_without_a_reload(self) -> None:
        command = chromium()
        require(self, command is not None, "this machine lacks Chromium")
        assert command is not None
        started = await farm(self)
        browser = Browser()
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.stop()))
        await browser.start(command)
        tab = await browser.tab()
        await tab.go(f"{started.url}/")
        await tab.until(
            "document.body.innerText.includes('Nothing was asked of this farm')"
        )
        await tab.until("document.documentElement.dataset.live === 'live'")
        said = await started.headrace("run", str(HELLO))
        self.assertEqual(said.status, 0, said.all)
        await tab.until("!!document.querySelector('.runs .cell.good')")
        await tab.click(".runs .cell.good")
        await tab.until("document.querySelector('h1')?.innerText.includes('success')")
        text = "document.querySelector('.log-lines')?.innerText"
        await tab.until(f"{text}?.includes('Saluton el la muelejo!')")
        # Each of the five pipeline jobs is a part of the log, and a bar in the table.
        self.assertEqual(await tab.run("document.querySelectorAll('.log .fold').length"), 5)
        self.assertEqual(
            await tab.run("document.querySelectorAll('svg.interval').length"), 5
        )
        await tab.press("e")
        await tab.until(f"!{text}.includes('Saluton el la muelejo!')")
        file = await tab.run("document.querySelector('.files a').getAttribute('href')")
        self.assertIn(
            "Hello from the mill!",
            await tab.run(f"fetch({file!r}).then((answer) => answer.text())"),
        )
        self.assertEqual(tab.complaints, [])
