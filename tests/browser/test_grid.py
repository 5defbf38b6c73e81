"""The grid with ten thousand builds in it."""

from __future__ import annotations

from benchmarks.status_parts.rows import add_builds
from tests.browser.case import BrowserCase

_BUILDS = 10_000


class LargeGridTests(BrowserCase):
    def prepare(self) -> None:
        add_builds(self.dsn, 1, _BUILDS)
        self.sql(
            """INSERT INTO classified (job, attempt, classification, classified_by)
               SELECT id, 1, 'flaky', 'ada' FROM job
               WHERE result = 'failure' AND id % 20 = 0"""
        )

    async def test_ten_thousand_builds_are_there_and_few_of_them_are_elements(self) -> None:
        await self.open("#/grid")
        await self.tab.until("!!document.querySelector('.grid[data-complete]')")
        self.assertIn("10,000 jobs of 2,500 runs", await self.tab.text("#grid-count"))
        elements = await self.tab.run("document.querySelectorAll('*').length")
        self.assertLess(elements, 3000)
        self.assertEqual(
            await self.tab.run(
                "document.querySelector('.grid').getAttribute('aria-rowcount')"
            ),
            "2501",
        )
        # What failed and nobody has spoken of comes first: half of the failures.
        reds = (
            "[...document.querySelectorAll('.grid-row')]"
            ".every((row) => !!row.querySelector('.red'))"
        )
        self.assertTrue(await self.tab.run(reds))
        await self.tab.run(
            "new Promise((done) => { const grid = document.querySelector('.grid');"
            " grid.scrollTop = grid.scrollHeight; requestAnimationFrame(() =>"
            " requestAnimationFrame(done)); })"
        )
        self.assertFalse(await self.tab.run(reds))
        await self.tab.until("!!document.querySelector('.grid a[href=\"#/runs/1\"]')")

        await self.open("#/grid?order=newest")
        await self.tab.until("!!document.querySelector('.grid a[href=\"#/runs/2500\"]')")
        await self.open("#/grid?only=red")
        await self.tab.until("!!document.querySelector('.grid[data-complete]')")
        shown = await self.tab.run(
            "Number(document.querySelector('.grid').getAttribute('aria-rowcount')) - 1"
        )
        self.assertEqual(
            [(shown,)],
            self.sql(
                """SELECT count(DISTINCT r.run) FROM run_job r JOIN job j ON j.id = r.job
                   LEFT JOIN classified c ON c.job = j.id
                   WHERE j.result = 'failure' AND c.job IS NULL"""
            ),
        )
        self.assert_calm()

    async def test_the_keyboard_goes_from_cell_to_cell_and_opens_one(self) -> None:
        await self.open("#/grid?order=newest")
        await self.tab.until("!!document.querySelector('.grid[data-complete]')")
        await self.tab.press("j", "j", "j", "ArrowRight")
        at = "document.activeElement.closest('.grid-row')?.getAttribute('aria-rowindex')"
        self.assertEqual(await self.tab.run(at), "4")
        await self.tab.press("End")
        self.assertEqual(await self.tab.run(at), "2501")
        self.assertTrue(
            await self.tab.run(
                "(() => { const a = document.activeElement.getBoundingClientRect();"
                " const g = document.querySelector('.grid').getBoundingClientRect();"
                " return a.top >= g.top && a.bottom <= g.bottom; })()"
            )
        )
        goal = await self.tab.run("document.activeElement.getAttribute('href')")
        await self.tab.press("Enter")
        await self.tab.until(f"location.hash === {goal!r}")
        await self.tab.until("document.querySelector('h1').innerText.includes('job')")


class PipelineGridTests(BrowserCase):
    async def test_cells_of_pipeline_jobs_follow_them_and_not_their_job(self) -> None:
        # Of the builds of a run for one architecture the last stands in the cells.
        [(job,)] = self.sql(
            """SELECT max(j.id) FROM job j JOIN run_job r ON r.job = j.id
               WHERE j.state = 'running' AND NOT EXISTS (
                   SELECT FROM run_job o JOIN job l ON l.id = o.job
                   WHERE o.run = r.run AND l.class = j.class AND l.id > j.id)"""
        )
        await self.open("#/grid?order=newest&cells=pipeline_jobs")
        await self.live()
        await self.tab.until("!!document.querySelector('.grid[data-complete]')")
        signs = (
            f"[...document.querySelectorAll(\".grid a.cell[href='#/jobs/{job}']\")]"
            ".map((cell) => [cell.parentNode.ariaColIndex, cell.textContent.trim()[0]])"
            ".sort((a, b) => a[0] - b[0]).map((each) => each[1]).join('')"
        )
        self.assertEqual(await self.tab.run(signs), "✓·▶·")
        self.happen(
            """UPDATE pipeline_job SET state = 'done', result = 'failure', reason = 'x',
                   finished_at = farm_now() WHERE job = %s AND state = 'running'""",
            *("pipeline-job.done", job),
            name="unit-tests",
            index=0,
            result="failure",
        )
        await self.tab.until(f"{signs} === '✓·✗·'")
        # That the job goes on to another state says nothing of its pipeline jobs.
        self.happen(
            "UPDATE job SET cancel_asked_at = farm_now() WHERE id = %s",
            *("job.assigned", job),
            state="assigned",
            attempt=1,
        )
        await self.tab.run("new Promise((done) => setTimeout(done, 600))")
        self.assertEqual(await self.tab.run(signs), "✓·✗·")
