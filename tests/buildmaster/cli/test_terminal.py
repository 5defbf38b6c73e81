from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.terminal import TerminalFilter, one_line

COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

#: What a terminal could be made to do, and what is to be seen of it.
ATTACKS = {
    "sets the window's title": (b"a\x1b]0;owned\x07b\n", "ab\n"),
    "sets it, ended by ST": (b"a\x1b]2;owned\x1b\\b\n", "ab\n"),
    "writes the clipboard": (b"a\x1b]52;c;cm0gLXJmIC8=\x07b\n", "ab\n"),
    "makes a link of another text": (
        b"\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\\n",
        "click\n",
    ),
    "moves over earlier lines": (b"\x1b[1A\x1b[2Kall passed\n", "all passed\n"),
    "clears the screen": (b"\x1b[2J\x1b[Hclean\n", "clean\n"),
    "asks the terminal to answer": (b"\x1b[6n\x1b[c\x1bZ?\n", "?\n"),
    "switches the character set": (b"\x1b(0\x0eabc\x0f\n", "abc\n"),
    "resets the terminal": (b"\x1bcabc\n", "abc\n"),
    "sends a device control string": (b'\x1bP$q"p\x1b\\abc\n', "abc\n"),
    "uses an eight-bit sequence": ("\x9b2Jabc\x9d0;t\x07d\n".encode(), "abcd\n"),
    "overwrites its line": (b"failed\rpassed\n", "failed\npassed\n"),
    "goes back": (b"no\b\byes\n", "noyes\n"),
    "rings": (b"\x07\x07\n", "\n"),
    "turns text around": ("a\u202etxt.exe\n".encode(), "atxt.exe\n"),
    "begins a string that never ends": (b"\x1b]0;abc\nnext line\n", "\nnext line\n"),
    "is no UTF-8": (b"caf\xe9\n", "caf\ufffd\n"),
}


def shown(data: bytes) -> str:
    """What the filter makes of ``data``."""
    return TerminalFilter().feed(data, final=True)


class TerminalFilterTests(SynchronousTestCase):
    def test_nothing_but_text_comes_of_an_attack(self) -> None:
        for name, (data, seen) in ATTACKS.items():
            self.assertEqual(shown(data), seen, name)

    def test_colours_stay_and_end_with_their_line(self) -> None:
        self.assertEqual(shown(b"\x1b[1;31mred\nplain\n"), "\x1b[1;31mred\x1b[0m\nplain\n")

    def test_a_colour_ends_with_the_log(self) -> None:
        self.assertEqual(shown(b"\x1b[31mred"), "\x1b[31mred\x1b[0m")

    def test_ends_of_lines_of_other_systems_are_one_end(self) -> None:
        self.assertEqual(shown(b"one\r\ntwo\r\n"), "one\ntwo\n")

    def test_a_sequence_of_any_length_is_left_out(self) -> None:
        for end in (b"m", b"\x07", b"\x1b\\"):
            kind = b"[" if end == b"m" else b"]"
            data = b"a\x1b" + kind + b"1" * 100_000 + end + b"b\n"
            self.assertEqual(shown(data), "ab\n", end)

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"\x1b",
                    b"[",
                    b"]0;",
                    b"31m",
                    b"\x07",
                    b"\\",
                    b"x",
                    b"\r",
                    b"\n",
                    "\u00fc\u202e\x9b".encode(),
                    b"\xc3",
                    b"P",
                    b"(",
                    b";",
                ]
            ),
            max_size=40,
        )
    )
    def test_what_is_shown_is_text_and_colours(self, parts: list[bytes]) -> None:
        rest = COLOUR.sub("", shown(b"".join(parts)))
        for character in rest:
            self.assertTrue(
                character in "\n\t" or unicodedata.category(character) != "Cc",
                repr(character),
            )
            self.assertNotIn(character, "\u202e")

    @given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=10))
    def test_it_does_not_matter_how_the_log_is_cut(
        self, data: bytes, places: list[int]
    ) -> None:
        data = data.replace(b"\x00", b"\x1b[3").replace(b"\x01", b"\x1b]")
        cutting = TerminalFilter()
        cuts = [0, *sorted(places), max(len(data), 100)]
        pieces = [cutting.feed(data[start:end]) for start, end in pairwise(cuts)]
        self.assertEqual("".join(pieces) + cutting.feed(b"", final=True), shown(data))


class OneLineTests(SynchronousTestCase):
    @given(st.text())
    def test_nothing_leaves_the_line(self, text: str) -> None:
        self.assertLessEqual(len(one_line(text).splitlines()), 1)

    def test_control_characters_become_blanks(self) -> None:
        self.assertEqual(one_line("a\x1b[31m\nb\u202e"), "a [31m b")
