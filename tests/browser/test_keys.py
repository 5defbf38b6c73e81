"""Walking through the farm without a mouse."""

from __future__ import annotations

from tests.browser.case import BrowserCase


class KeyTests(BrowserCase):
    async def at(self, place: str) -> None:
        await self.tab.until(f"location.hash === {place!r}")
        await self.tab.until("!!document.querySelector('#view h1')")

    async def test_a_walk_from_the_overview_to_a_log_and_back(self) -> None:
        await self.open("#/")
        await self.tab.press("Tab", "Enter")  # past the navigation
        self.assertEqual(await self.tab.run("document.activeElement.id"), "view")
        self.assertEqual(await self.tab.run("location.hash"), "#/")
        await self.tab.press("?")
        await self.tab.until(
            "document.querySelector('dialog[open] h2').innerText === 'Keys'"
        )
        await self.tab.press("j", "g", "q")  # nothing goes on behind it
        self.assertEqual(await self.tab.run("location.hash"), "#/")
        await self.tab.press("Escape")
        await self.tab.until("!document.querySelector('dialog')")
        for keys, place in (
            (("g", "w"), "#/workers"),
            (("g", "q"), "#/queue"),
            (("g", "t"), "#/timeline"),
            (("g", "g"), "#/grid"),
            (("g", "o"), "#/"),
            (("g", "j"), "#/jobs"),
        ):
            await self.tab.press(*keys)
            await self.at(place)
        # The overview, which has rows of its own, stays until the list has come.
        await self.tab.until("document.querySelector('#view h1').innerText === 'Jobs'")
        await self.tab.until("!!document.querySelector('#view tbody tr')")
        await self.tab.press("j", "j", "k", "j")
        second = await self.tab.run(
            "document.querySelectorAll('#view tbody tr')[1].querySelector('a')"
            ".getAttribute('href')"
        )
        self.assertEqual(
            await self.tab.run("document.activeElement.getAttribute('href')"), second
        )
        await self.tab.press("Enter")
        await self.at(second)
        await self.tab.press("u")
        await self.at("#/jobs")
        # The job, which has a search of its own, stays until the list has come.
        await self.tab.until("document.querySelector('#view h1').innerText === 'Jobs'")
        await self.tab.press("/")
        await self.tab.type("build")
        await self.tab.press("Enter")
        await self.at("#/jobs?name=build")

    async def test_a_graph_is_walked_along_its_edges(self) -> None:
        [(run,)] = self.sql(
            """SELECT r.run FROM run_job r JOIN edge e ON e.down = r.job
               GROUP BY r.run ORDER BY count(*) DESC LIMIT 1"""
        )
        await self.open(f"#/runs/{run}")
        await self.tab.until("!!document.querySelector('.graph a.node')")
        [(up, down)] = self.sql(
            """SELECT e.up, e.down FROM edge e JOIN run_job r ON r.job = e.up
               WHERE r.run = %s ORDER BY e.up LIMIT 1""",
            run,
        )
        key = "document.activeElement.getAttribute('data-key')"
        await self.tab.run(f"document.querySelector('[data-key=\"node {up}\"]').focus()")
        await self.tab.press("ArrowRight")
        self.assertEqual(await self.tab.run(key), f"node {down}")
        await self.tab.press("ArrowLeft")
        self.assertEqual(await self.tab.run(key), f"node {up}")
        self.assertEqual(
            await self.tab.run(
                "document.querySelectorAll('a.node[tabindex=\"0\"]').length"
            ),
            1,
        )
        await self.tab.press("Enter")
        await self.at(f"#/jobs/{up}")

    async def test_the_timeline_is_walked_from_bar_to_bar(self) -> None:
        await self.open("#/timeline?hours=6")
        await self.tab.run("document.querySelector('.timeline canvas').focus()")
        await self.tab.press("ArrowRight")
        first = await self.tab.until("document.querySelector('.timeline-told').innerText")
        await self.tab.press("ArrowDown")
        second = await self.tab.until("document.querySelector('.timeline-told').innerText")
        self.assertIn("attempt", first)
        self.assertNotEqual(first, second)
        # The same for those who see no canvas.
        await self.tab.click(".timeline ~ details summary")
        await self.tab.until(
            "document.querySelectorAll('.timeline ~ details tbody tr').length > 5"
        )
        goal = await self.tab.run(
            "document.querySelector('.timeline-told a').getAttribute('href')"
        )
        await self.tab.run("document.querySelector('.timeline canvas').focus()")
        await self.tab.press("Enter")
        await self.at(goal)
