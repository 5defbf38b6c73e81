"""A log on the page: all that a build writes is text, to be searched, linked, folded."""

from __future__ import annotations

import zstandard

from tests.browser.case import BrowserCase

_HARM = "<script>window.harm = 1</script><img src=x onerror='window.harm = 2'>"
HOSTILE = (
    f"{_HARM}\n"
    "\x1b]8;;javascript:window.harm=3\x07click me\x1b]8;;\x07 and \x1b]0;a title\x1b\\ on\n"
    "\x1b]8;;https://evil.example/ never ends\n"
    "after the link\n"
    "\x1b[31mred\x1b[1m bold\x1b[0m \x1b[38;5;196mpalette\x1b[48;2;1;2;3m true\x1b[0m"
    " plain\n"
    "\x1b[2J\x1b[H\x1b[999999999;9999mstill here\x1b[0m\n"
    "right \u202eto left\u202c and \u2066isolated\u2069\n"
    "progress 10%\rprogress 90%\rdone        \n"
    "bell\x07 and null\x00 and \x9b31mC1\x9bm\n"
    "a\u0300\u0301\u0302 e\u0301 \u05d0\u05d1\u05d2 \u0627\u0644\n"
    "</div></main><h1>not a heading</h1>\n" + "long " * 220_000 + "END\n"
    "needle one\nneedle two\nlast Needle\n"
)


class HostileLogTests(BrowserCase):
    runs = 4

    def prepare(self) -> None:
        super().prepare()
        self.job = self.scene.logged
        self.write(HOSTILE.encode() + b"\xff\xfe broken utf-8 \xc3\n")

    def write(self, data: bytes, job: int | None = None, start: int = 0) -> None:
        self.sql(
            "DELETE FROM log_chunk WHERE job = %s AND start >= %s", job or self.job, start
        )
        for place in range(0, len(data), 200_000):
            part = data[place : place + 200_000]
            self.sql(
                """INSERT INTO log_chunk (job, attempt, start, length, data)
                   SELECT id, attempt, %s, %s, %s FROM job WHERE id = %s""",
                *(start + place, len(part), zstandard.compress(part), job or self.job),
            )
        self.sql(
            "UPDATE attempt SET log_length = %s WHERE job = %s",
            *(start + len(data), job or self.job),
        )

    async def line(self, number: int) -> str:
        """The text of a line that is on the screen."""
        key = f"document.querySelector('[data-key=\"line {number}\"] .text')"
        return str(await self.tab.until(f"{key}?.innerText"))

    async def test_a_hostile_log_is_shown_as_text_and_nothing_else(self) -> None:
        await self.open(f"#/jobs/{self.job}/log")
        self.assertEqual(await self.line(1), _HARM)
        self.assertEqual(await self.line(2), "click me and  on")
        self.assertEqual(await self.line(4), "after the link")
        self.assertEqual(await self.line(5), "red bold palette true plain")
        self.assertEqual(await self.line(6), "still here")
        self.assertEqual(
            await self.line(7), "right <U+202E>to left<U+202C> and <U+2066>isolated<U+2069>"
        )
        self.assertEqual((await self.line(8)).rstrip(), "done")
        self.assertEqual(await self.line(9), "bell␇ and null␀ and C1")
        self.assertEqual(await self.line(11), "</div></main><h1>not a heading</h1>")
        look = await self.tab.run(
            "[...document.querySelectorAll('[data-key=\"line 5\"] .text span')].map((e) =>"
            " [e.innerText, getComputedStyle(e).color, getComputedStyle(e).fontWeight,"
            " getComputedStyle(e).backgroundColor])"
        )
        self.assertEqual(
            [each[0] for each in look], ["red", " bold", "palette", " true"], look
        )
        self.assertEqual(look[1][2], "700")
        self.assertEqual(look[2][1], "rgb(255, 0, 0)")
        self.assertEqual(look[3][3], "rgb(1, 2, 3)")
        # The line of a megabyte is cut, and shown on demand.
        self.assertLess(len(await self.line(12)), 2100)
        await self.tab.click("[data-key='line 12'] button.more")
        shown = await self.tab.until(
            "document.querySelector('dialog .whole').innerText.length"
        )
        self.assertEqual(shown, 200_000)
        await self.tab.press("Escape")
        await self.assert_harmless()
        self.assertLess(await self.tab.run("document.querySelectorAll('*').length"), 1500)
        self.assert_calm()

    async def test_it_is_searched_linked_and_folded(self) -> None:
        titles = ("lint:0", "unit-tests:0")
        text = "begin\n" + "".join(
            f"== {title}: noble, amd64\n" + "".join(f"{title} {n}\n" for n in range(200))
            for title in titles
        )
        self.write(text.encode() + b"needle one\nneedle two\nlast Needle\n")
        await self.open(f"#/jobs/{self.job}/log")
        await self.line(1)
        await self.tab.press("/")
        await self.tab.type("needle")
        hits = ".log-bar [aria-label='Lines found']"
        await self.tab.until(f"document.querySelector(\"{hits}\").innerText === '1 of 3'")
        await self.tab.press("Enter")
        await self.tab.until(f"document.querySelector(\"{hits}\").innerText === '2 of 3'")
        self.assertEqual(
            await self.tab.run("document.querySelector('.line.hit mark').innerText"),
            "needle",
        )
        await self.tab.press("Escape", "n", "n", "N")
        await self.tab.until(f"document.querySelector(\"{hits}\").innerText === '3 of 3'")
        await self.tab.press("e")  # folds
        await self.tab.until("document.querySelectorAll('.line').length === 3")
        self.assertEqual(await self.line(2), "== lint:0: noble, amd64")
        await self.tab.press("n")  # what is found is unfolded
        await self.tab.until("!!document.querySelector('[data-key=\"line 404\"]')")
        await self.tab.press("e", "e")
        await self.tab.run("document.querySelector('.log').scrollTop = 0")
        await self.tab.click("[data-key='line 3'] .no")
        await self.tab.until(f"location.hash === '#/jobs/{self.job}/log/L3'")
        await self.tab.run(
            "document.querySelector('[data-key=\"line 6\"] .no').dispatchEvent("
            "new MouseEvent('click', {shiftKey: true, bubbles: true, cancelable: true}))"
        )
        await self.tab.until(f"location.hash === '#/jobs/{self.job}/log/L3-L6'")
        await self.tab.until("document.querySelectorAll('.line.marked').length === 4")
        # A link that somebody sent leads there.
        other = await self.browser.tab()
        await self.open(f"#/jobs/{self.job}/log/L300", other)
        await other.until("!!document.querySelector('[data-key=\"line 300\"].marked')")

    async def test_a_log_that_grows_is_followed_until_somebody_reads(self) -> None:
        [job] = [
            row[0] for row in self.sql("SELECT min(id) FROM job WHERE state = 'running'")
        ]
        first = b"".join(b"line %d\n" % number for number in range(1, 301))
        self.write(first, job)
        await self.open(f"#/jobs/{job}")
        await self.line(300)

        async def add(number: int) -> None:
            nonlocal first
            more = b"line %d\n" % number
            self.write(more, job, len(first))
            first += more
            self.sql("SELECT pg_notify('headrace_logs', %s)", str(job))

        await add(301)
        await self.line(301)
        await self.tab.run("document.querySelector('.log').scrollTop = 0")
        await self.line(1)
        await self.tab.until(
            "document.querySelector('.log-bar [aria-pressed]').ariaPressed === 'false'"
        )
        await add(302)
        await self.tab.until(
            "document.querySelector('.log-lines').offsetHeight === 302 * 18"
        )
        self.assertEqual(await self.tab.run("document.querySelector('.log').scrollTop"), 0)
        await self.tab.press("f")
        await self.line(302)
