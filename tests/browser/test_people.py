"""Logging in, what one may then do, and leaving, in a browser."""

from __future__ import annotations

from tests.browser.case import BrowserCase
from tests.buildmaster.people.people_site import cheap_line

_PROJECT = "https://git.example.com/core"


class PeopleTests(BrowserCase):
    settings = {
        "open_reading": False,
        "people": {
            "htpasswd": "htpasswd",
            "roles": [
                {"user": "ada", "role": "admin"},
                {"user": "bob", "role": "submitter"},
                {"user": "eve", "role": "reader", "project": _PROJECT},
            ],
        },
    }

    def ready(self) -> None:
        lines = [cheap_line(name, "lace") for name in ("ada", "bob", "eve")]
        (self.home.folder / "htpasswd").write_text("".join(lines))

    async def log_in(self, name: str) -> None:
        """As people do: from the page that they wanted, and back to it."""
        tab = self.tab
        await tab.click("#view a[href^='/login']")
        await tab.until("!!document.querySelector('form.login')")
        for field, text in (("user", name), ("password", "lace")):
            await tab.run(f"document.querySelector('#{field}').focus()")
            await tab.type(text)
        await tab.press("Enter")
        await tab.until("!!document.querySelector('#account .who')")

    async def log_out(self) -> None:
        await self.tab.click("#sign-out")
        await self.tab.until("document.body.innerText.includes('those it knows')")

    async def test_each_sees_the_buttons_of_their_role_and_leaves(self) -> None:
        tab = self.tab
        failed = self.scene.failed[0]
        place = f"#/jobs/{failed}"
        await tab.go(f"{self.home.url}/{place}")
        await tab.until("document.body.innerText.includes('those it knows')")
        await self.log_in("bob")
        await tab.until(
            f"location.hash === '{place}' && !!document.querySelector('#retry')"
        )
        self.assertIn("bob", await tab.text("#account"))
        self.assertFalse(await tab.run("!!document.querySelector('#classify')"))
        await self.live()
        await self.log_out()
        await self.log_in("ada")
        await tab.until("!!document.querySelector('#classify')")
        # What is asked with a cookie comes from this page, and the farm sees that it does.
        await tab.click("#classify")
        await self.answer(classification="flaky", note="it slips")
        await tab.until("document.querySelector('.verdict').innerText.includes('it slips')")
        await self.open("#/audit")
        await tab.until(
            "document.querySelector('#view').innerText.includes('job.classify')"
        )
        await tab.until("document.querySelector('#view').innerText.includes('login')")
        # Without reloading: the log names the ways to log in by a colour of its own.
        self.assert_calm(tab, "401", "/api/v1/")

    async def test_who_sees_a_project_is_told_where_it_is(self) -> None:
        tab = self.tab
        await tab.go(f"{self.home.url}/#/workers")
        await tab.until("document.body.innerText.includes('those it knows')")
        await self.log_in("eve")
        await tab.until("!!document.querySelector('#view .error')")
        self.assertIn(_PROJECT, await tab.text())
        await tab.run("location.hash = '#/runs'")
        await tab.until("!!document.querySelector('#view tbody tr')")
        self.assertNotIn("storefront", await tab.text())
        await self.live()
