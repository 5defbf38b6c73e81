"""``make test`` runs every test there is, in two halves."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

HERE = Path(__file__).parent


class HalvesTests(SynchronousTestCase):
    def test_every_folder_of_tests_is_in_one_of_the_halves(self) -> None:
        makefile = (HERE.parent / "Makefile").read_text()
        named: list[str] = []
        for half in ("HALF", "OTHER"):
            [words] = re.findall(f"^{half} := (.*)$", makefile, re.MULTILINE)
            named += [word for word in words.split() if re.fullmatch("[a-z]+", word)]
        there = {
            folder.name
            for folder in HERE.iterdir()
            if folder.is_dir() and any(folder.rglob("test_*.py"))
        } - {"api"}  # which `tests.test_whole_api` runs against a farm
        self.assertEqual(sorted(named), sorted(there))
