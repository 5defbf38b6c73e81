"""``headrace status`` for people: documents that are no plain lists, as tables."""

from __future__ import annotations

import argparse
import io

from twisted.internet import reactor

from buildmaster.cli import status as command
from buildmaster.cli.console import Console
from buildmaster.cli.context import Interrupts
from buildmaster.cli.status_tables import duration
from tests.buildmaster.status.test_reading import full_farm
from tests.buildmaster.status.test_ways import WaysCase, _Context


class TableTests(WaysCase):
    async def printed(self, *words: str) -> str:
        parser = argparse.ArgumentParser()
        command.add(parser.add_subparsers())
        chosen = parser.parse_args(["status", *words])
        output = io.BytesIO()
        context = _Context(
            reactor, Console(output, True, True), {}, Interrupts(reactor, lambda: None)
        )
        context.url, context.token = self.url, self.tokens.farm_token
        self.assertEqual(await chosen.act(chosen, context), 0)
        text = output.getvalue().decode()
        # Whatever strangers wrote stays on its line, and does nothing to the terminal.
        for line in text.split("\n"):
            self.assertEqual(line.splitlines(), [line] if line else [])
        return text

    async def test_every_document_of_a_page_can_be_read_in_a_terminal(self) -> None:
        run, job = await full_farm(self.rows)
        evil = "\x1b]0;title\x07 <\u202e>\r\n"
        await self.database.run("UPDATE run SET name = %s", (evil,))
        await self.database.run("UPDATE job SET name = %s WHERE id <> %s", (evil, job))
        await self.rows.end_attempt(job, result="failure")
        await self.rows.log(job, b"\x1b[2J gone \r\n last", start=7)
        told = {
            "grid": ("RUN", f"{job} flaky", "CREATED"),
            "graph": ("WAITS FOR", str(job), "test:0"),
            "build": ("attempt 1", "a line", "gone", "PIPELINE JOB"),
            "queue": ("PLACE", "FREE SLOTS", "LIKELY START"),
            "timeline": ("WORKER", "ant", "AT WORK"),
            "history": ("RAN", "HALF WITHIN", "failure"),
        }
        for name, words in told.items():
            whose = {"graph": [str(run)], "build": [str(job)]}.get(name, [])
            text = await self.printed(name, *whose)
            for word in words:
                self.assertIn(word, text, name)
            self.assertNotIn("\x1b]", text)
            self.assertNotIn("\x1b[2J", text)
            self.assertNotIn("\u202e", text)

    async def test_a_wide_grid_is_shown_as_marks_with_a_legend(self) -> None:
        run = await self.rows.run()
        for number in range(9):
            await self.rows.job(
                run, name=f"job-{number}", state="ready" if number else "waiting"
            )
        text = await self.printed("grid")
        self.assertIn(".oooooooo", text)
        self.assertIn("   9  job-8 amd64 bookworm", text)
        self.assertIn("F failure", text)

    async def test_what_is_empty_says_so(self) -> None:
        for name, words in (
            ("grid", "no runs"),
            ("queue", "Nobody stands"),
            ("timeline", "No worker"),
            ("history", "Nothing of this sort"),
        ):
            self.assertIn(words, await self.printed(name))

    def test_durations_are_said_as_people_say_them(self) -> None:
        for seconds, words in (
            (None, None),
            (0.04, "0.0 s"),
            (59.94, "59.9 s"),
            (61.4, "1 min 1 s"),
            (3725.0, "1 h 2 min"),
        ):
            self.assertEqual(duration(seconds), words)
