"""What tests of the page begin with: a database, a real master, and a browser."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.browser.chromium import Browser, Tab, chromium
from tests.browser.scene import Scene, bring_workers_back, furnish
from tests.masters import MasterHome
from tests.postgres import fresh_dsn, query
from tests.requirements import require

#: Set by whatever a hostile text would have made run.
_HARM = "window.harm"


class BrowserCase(TestCase):
    """One master, one browser; `open` shows pages."""

    timeout = 240
    runs = 24  #: of the scene; 0: an empty farm
    settings: dict[str, Any] = {}

    async def setUp(self) -> None:  # type: ignore[override]
        command = chromium()
        require(self, command is not None, "this machine lacks Chromium")
        assert command is not None
        self.dsn = fresh_dsn(self)
        self.scene = Scene()
        self.prepare()
        self.home = MasterHome(self, self.dsn, **self.settings)
        self.ready()
        await self.home.start()
        bring_workers_back(self.dsn)
        browser = Browser()
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.stop()))
        await browser.start(command)
        self.browser = browser
        self.tab = await browser.tab()

    def prepare(self) -> None:
        """Write what the farm has before its master starts."""
        if self.runs:
            self.scene = furnish(self.dsn, self.runs)

    def ready(self) -> None:
        """Write what the master's folder has before the master starts."""

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a statement gives, in a transaction of its own."""
        return query(self.dsn, statement, *parameters)

    def happen(self, change: str, kind: str, job: int, **payload: Any) -> None:
        """Change a job and tell of it, as the farm does: in one transaction."""
        with closing(psycopg2.connect(self.dsn)) as connection:
            with connection.cursor() as cursor:
                cursor.execute(change, (job,))
                cursor.execute(
                    "INSERT INTO event (kind, job, payload) VALUES (%s, %s, %s)",
                    (kind, job, json.dumps(payload)),
                )
            connection.commit()

    async def open(self, place: str = "#/", tab: Tab | None = None) -> Tab:
        """Show a place, and return when it is there and live."""
        tab = tab or self.tab
        if not any(url.startswith(self.home.url) for url in tab.requests):
            await tab.go(f"{self.home.url}/{place}")
            await tab.until("document.readyState === 'complete'")
        else:
            await tab.run(f"location.hash = {json.dumps(place)}")
        await tab.until(
            f"location.hash === {json.dumps(place)} && !!document.querySelector('#view h1')"
            " && !document.querySelector('#view[aria-busy]')"
            " && !document.querySelector('#view').innerText.includes('Reading')"
        )
        return tab

    async def live(self, tab: Tab | None = None) -> None:
        """Wait until the page follows the farm."""
        await (tab or self.tab).until("document.documentElement.dataset.live === 'live'")

    async def sign_in(self, token: str | None = None) -> None:
        """Type a token in, as people do."""
        token = token or (self.home.folder / "token").read_text().strip()
        await self.tab.click("#use-token")
        await self.tab.until("!!document.querySelector('dialog[open] input')")
        await self.tab.type(token)
        await self.tab.press("Enter")
        await self.tab.until(
            "!document.querySelector('dialog[open]')"
            " || document.querySelector('dialog .error').textContent"
        )

    async def answer(self, **fields: str) -> None:
        """Fill in a dialog and press its button."""
        tab = self.tab
        await tab.until("!!document.querySelector('dialog[open] [type=submit]')")
        for name, value in fields.items():
            await tab.run(
                f"(() => {{ const e = document.querySelector('dialog [name={name}]');"
                f" e.value = {json.dumps(value)}; }})()"
            )
        await tab.click("dialog [type=submit]")
        await tab.until("!document.querySelector('dialog [type=submit]:disabled')")

    def assert_calm(self, tab: Tab | None = None, *allowed: str) -> None:
        """Nothing was complained of on the console, no policy was broken."""
        complaints = [
            each
            for each in (tab or self.tab).complaints
            if not any(word in each for word in allowed)
        ]
        self.assertEqual(complaints, [])

    async def assert_only_text(self, place: str) -> None:
        """What looks like an image is text there, harms nothing, and widens no page."""
        await self.tab.until("document.body.innerText.includes('<img src=x')")
        await self.assert_harmless()
        await self.tab.size(360, 740)
        width = await self.tab.run("document.documentElement.scrollWidth")
        self.assertLessEqual(width, 360, place)
        await self.tab.size(1280, 800)

    async def assert_harmless(self) -> None:
        """No text of the farm became anything but text."""
        self.assertIsNone(await self.tab.run(f"{_HARM} || null"))
        found = await self.tab.run(
            "[...document.querySelectorAll('script, iframe, img, object, embed, base, link,"
            " style, form[action], [onerror], [onclick], [onload], [style*=url]')]"
            ".filter(e => !document.head.contains(e)).map(e => e.outerHTML.slice(0, 200))"
        )
        self.assertEqual(found, [])
        links = await self.tab.run(
            "[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))"
        )
        for link in links:
            self.assertRegex(link, r"^(#|/api/v1/|/login|https?://)", link)
