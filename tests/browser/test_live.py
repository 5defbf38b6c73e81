"""Live pages: what happens is shown without reloading, broken lines are taken up again."""

from __future__ import annotations

import signal

from tests.browser.case import BrowserCase


class LiveTests(BrowserCase):
    async def test_one_cell_changes_and_nothing_else_is_drawn_anew(self) -> None:
        job = self.scene.running[0]
        await self.open("#/grid?order=newest")
        await self.live()
        cell = f"#view .grid a.cell[href='#/jobs/{job}']"
        await self.tab.until(
            f"document.querySelector(\"{cell}\")?.textContent.includes('▶')"
        )
        await self.tab.until("!!document.querySelector('.grid[data-complete]')")
        await self.tab.run(
            "window.all = [...document.querySelectorAll('.grid-row .cell')];"
            f'window.mine = document.querySelector("{cell}"); window.mine.focus();'
            "window.changes = [];"
            "new MutationObserver((found) => window.changes.push(...found.map((each) =>"
            " each.target.closest ? each.target : each.target.parentElement)"
            ".map((each) => each.closest('a.cell')))).observe("
            "document.querySelector('.grid-body'), {subtree: true, childList: true,"
            " attributes: true, characterData: true});"
        )
        before = [url for url in self.tab.requests if "/api/" in url]
        self.happen(
            "UPDATE job SET state = 'done', result = 'failure', reason = 'it broke',"
            " finished_at = farm_now() WHERE id = %s",
            *("job.done", job),
            state="done",
            result="failure",
            attempt=1,
        )
        await self.tab.until("window.mine.textContent.includes('✗')")
        self.assertTrue(await self.tab.run("document.activeElement === window.mine"))
        self.assertIn(
            "failure", await self.tab.run("window.mine.getAttribute('aria-label')")
        )
        others = "window.changes.filter((each) => each && each !== window.mine).length"
        self.assertEqual(await self.tab.run(others), 0)
        self.assertTrue(await self.tab.run("window.all.every((each) => each.isConnected)"))
        # The event told all that there was to know.
        self.assertEqual([url for url in self.tab.requests if "/api/" in url], before)

    async def test_a_list_changes_under_the_focus_and_keeps_it(self) -> None:
        job = self.scene.ready[0]
        await self.open("#/jobs?state=ready,done")
        await self.live()
        await self.tab.run(
            f"(window.mine = document.querySelector(\"a[data-key='jobs/{job}']\")).focus()"
        )
        self.happen(
            "UPDATE job SET state = 'done', result = 'cancelled', reason = 'not wanted',"
            " finished_at = farm_now() WHERE id = %s",
            *("job.done", job),
            state="done",
            result="cancelled",
            attempt=1,
        )
        await self.tab.until("window.mine.closest('tr').innerText.includes('cancelled')")
        self.assertTrue(await self.tab.run("document.activeElement === window.mine"))

    async def test_a_master_that_starts_anew_is_followed_again_and_nothing_is_missed(
        self,
    ) -> None:
        job = self.scene.running[0]
        await self.open("#/grid?order=newest")
        await self.live()
        await self.home.daemons[0].kill()
        await self.tab.until("document.documentElement.dataset.live === 'reconnecting'")
        self.assertEqual(await self.tab.text("#live"), "reconnecting")
        self.happen(
            "UPDATE job SET state = 'done', result = 'success',"
            " finished_at = farm_now() WHERE id = %s",
            *("job.done", job),
            state="done",
            result="success",
            attempt=1,
        )
        await self.home.start()
        await self.live()
        cell = f"#view .grid a.cell[href='#/jobs/{job}']"
        await self.tab.until(
            f"document.querySelector(\"{cell}\").textContent.includes('✓')"
        )

    async def test_a_line_on_which_nothing_comes_is_called_late(self) -> None:
        """The clock of the page is set forward, for a master that is stopped."""
        await self.tab.send(
            "Page.addScriptToEvaluateOnNewDocument",
            source="const now = performance.now.bind(performance); window.forward = 0;"
            "performance.now = () => now() + window.forward;",
        )
        await self.open("#/")
        await self.live()
        daemon = self.home.daemons[0]
        daemon.signal(signal.SIGSTOP)
        await self.tab.run("window.forward = 30000")
        await self.tab.until("document.documentElement.dataset.live === 'late'")
        daemon.signal(signal.SIGCONT)
        # It is heard of again, or the line is taken up anew.
        await self.tab.run("window.forward = 60000")
        await self.tab.until("document.documentElement.dataset.live === 'live'", 30)
