from __future__ import annotations

import io

from twisted.trial.unittest import SynchronousTestCase

from worker.environments.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ProgressTests(SynchronousTestCase):
    def test_a_terminal_shows_a_bar_that_grows(self) -> None:
        output = Terminal()
        with Progress("Image of x", output) as progress:
            progress.hear("Image of x: installing packages")
            before = progress.share()
            progress.hear("Image of x: 12 s, 100 MiB unpacked")
            self.assertGreater(progress.share(), before)
            progress.hear("Image of x: 13 s, 900 MiB unpacked")
            self.assertLess(progress.share(), 1)
        shown = output.getvalue()
        self.assertIn("[###", shown)
        self.assertIn("installing packages", shown)
        self.assertIn("made after", shown)

    def test_without_a_terminal_there_are_lines(self) -> None:
        output = io.StringIO()
        with self.assertRaises(ZeroDivisionError), Progress("Image of x", output) as told:
            told.hear("Image of x: installing")
            raise ZeroDivisionError
        lines = output.getvalue().splitlines()
        self.assertEqual(lines[:2], ["Image of x: begun", "Image of x: installing"])
        self.assertIn("not made after", lines[2])
        self.assertNotIn("\x1b", output.getvalue())
