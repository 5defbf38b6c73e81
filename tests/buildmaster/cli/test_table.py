from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.table import ALWAYS, moment, print_json, print_table, short_source
from tests.buildmaster.cli.recording_console import RecordingConsole


class TableTests(SynchronousTestCase):
    def test_columns_are_as_wide_as_their_widest_cell(self) -> None:
        console = RecordingConsole()
        columns = (("ID", lambda each: each["id"]), ("NAME", lambda each: each["name"]))
        print_table(
            console, columns, [{"id": 10_000, "name": None}, {"id": 1, "name": "b"}]
        )
        self.assertEqual(console.lines, ["ID     NAME", "10000  -", "1      b"])

    def test_a_hostile_name_stays_in_its_cell(self) -> None:
        console = RecordingConsole(is_terminal=True)
        columns = (("NAME", lambda each: each["name"]),)
        print_table(console, columns, [{"name": "a\n\x1b[31mb" + "x" * 500}])
        self.assertEqual(len(console.lines), 2)
        self.assertTrue(console.lines[1].startswith("a  [31mbx"))
        self.assertLess(len(console.lines[1]), 100)

    def test_json_always_has_the_keys_that_programs_rely_on(self) -> None:
        console = RecordingConsole()
        print_json(console, [{"id": 3, "kind": "build", "more": [1]}, {}])
        first, second = json.loads(console.printed)
        self.assertEqual(first["id"], 3)
        self.assertEqual(first["more"], [1])
        for each in (first, second):
            self.assertTrue(set(ALWAYS) <= set(each))

    def test_json_is_ascii(self) -> None:
        console = RecordingConsole(is_terminal=True)
        print_json(console, [{"id": "\x1b[31m\u202e\u00fc"}])
        self.assertTrue(console.printed.isascii())
        self.assertEqual(json.loads(console.printed)[0]["id"], "\x1b[31m\u202e\u00fc")

    def test_times_and_sources_are_shortened(self) -> None:
        self.assertEqual(moment("2026-01-31T12:00:05.123456Z"), "2026-01-31 12:00:05")
        self.assertIsNone(moment(None))
        self.assertEqual(short_source({"source_digest": "sha256:" + "ab" * 32}), "ab" * 5)
        self.assertEqual(short_source({}), "-")
