from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.model import License
from worker.supervisor.endings import Failed
from worker.supervisor.properties import combined, parse


class PropertiesTests(SynchronousTestCase):
    def test_the_jobs_own_win_and_a_bare_name_takes_one_away(self) -> None:
        self.assertEqual(
            combined({"a": 1, "b": [2], "c": 3}, {"a": "one", "c": None, "d": None}, None),
            {"a": "one", "b": [2]},
        )

    def test_the_licence_of_the_project_is_one(self) -> None:
        self.assertEqual(
            combined(None, {}, License(spdx="MIT")),
            {"license": {"spdx": "MIT", "path": None}},
        )

    def test_more_than_can_be_kept_is_a_failure(self) -> None:
        self.assertRaises(Failed, combined, {"a": "x" * 200_000}, {}, None)
        self.assertRaises(Failed, combined, {"a": "x\0"}, {}, None)

    def test_lines_are_read_as_a_shell_would(self) -> None:
        text = b"""
# a comment
A=one two # why
export B = 'x#y '
C="say \\"hi\\"\\n"
D=
E
"""
        self.assertEqual(
            parse(text),
            {"A": "one two", "B": "x#y ", "C": 'say "hi"\n', "D": "", "E": None},
        )

    def test_what_cannot_be_read_names_the_line(self) -> None:
        for text in (b"A=1\nB='open", b"\ntwo words", b"\n=x"):
            self.assertIn("line 2", self.assertRaises(Failed, parse, text).reason)
        self.assertRaises(Failed, parse, b"\xff=1")

    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, content: bytes) -> None:
        try:
            parse(content)
        except Failed:
            pass
