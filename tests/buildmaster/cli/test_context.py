from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.context import find_farm
from buildmaster.cli.problems import CommandFailed


class FindFarmTests(SynchronousTestCase):
    """Which farm is asked, and with which token."""

    def setUp(self) -> None:
        """A home of one's own."""
        self.home = Path(self.mktemp()).absolute()
        self.environ = {"XDG_DATA_HOME": str(self.home)}
        self.folder = self.home / "headrace"
        self.folder.mkdir(parents=True)

    def farm_runs_at(self, url: str) -> None:
        """As ``headrace up`` leaves it."""
        addresses = {"http": url, "workers": "pb://127.0.0.1:8011"}
        (self.folder / "addresses.json").write_text(json.dumps(addresses))
        (self.folder / "token").write_text("own\n")

    def test_without_anything_it_is_where_a_farm_would_be(self) -> None:
        self.assertEqual(find_farm(self.environ), ("http://127.0.0.1:8010", None))

    def test_the_farm_of_this_machine_is_found_with_its_token(self) -> None:
        self.farm_runs_at("http://127.0.0.1:4711")
        self.assertEqual(find_farm(self.environ), ("http://127.0.0.1:4711", "own"))

    def test_the_environment_names_another_one(self) -> None:
        """Which gets its own token, never this machine's."""
        self.farm_runs_at("http://127.0.0.1:4711")
        self.environ["HEADRACE_URL"] = "http://farm.example"
        self.assertEqual(find_farm(self.environ), ("http://farm.example", None))
        self.environ["HEADRACE_TOKEN"] = "theirs"
        self.assertEqual(find_farm(self.environ), ("http://farm.example", "theirs"))

    def test_the_farm_of_this_machine_named_by_its_address_is_the_same(self) -> None:
        self.farm_runs_at("http://127.0.0.1:4711")
        self.environ["HEADRACE_URL"] = "http://127.0.0.1:4711/"
        self.assertEqual(find_farm(self.environ)[1], "own")

    def test_a_token_may_be_in_a_file(self) -> None:
        path = self.home / "file"
        path.write_text("filed\n")
        self.environ["HEADRACE_TOKEN_FILE"] = str(path)
        self.assertEqual(find_farm(self.environ)[1], "filed")

    def test_a_token_file_that_cannot_be_read_is_a_sentence(self) -> None:
        self.environ["HEADRACE_TOKEN_FILE"] = str(self.home / "nowhere")
        with self.assertRaisesRegex(CommandFailed, "HEADRACE_TOKEN_FILE"):
            find_farm(self.environ)

    def test_nonsense_in_the_data_folder_is_passed_over(self) -> None:
        for text in ("", "[]", "null", "{}", '{"http"'):
            (self.folder / "addresses.json").write_text(text)
            self.assertEqual(find_farm(self.environ)[0], "http://127.0.0.1:8010")
