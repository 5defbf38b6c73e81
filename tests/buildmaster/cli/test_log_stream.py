from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.log_stream import LogStream
from buildmaster.cli.narration import Line
from tests.buildmaster.cli.recording_console import RecordingConsole


class LogStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A stream on a console."""
        self.console = RecordingConsole()
        self.stream = LogStream(self.console, "1.1", "")

    def test_news_waits_for_the_log_that_came_before_it(self) -> None:
        self.stream.received(b"one\n")
        self.stream.tell(Line("build:0 passed"), after=8)
        self.stream.received(b"two\nthree\n")
        self.assertEqual(self.console.lines, ["one", "two", "==> build:0 passed", "three"])

    def test_news_of_what_was_shown_is_told_at_once(self) -> None:
        self.stream.received(b"one\n")
        self.stream.tell(Line("build:0 passed"), after=4)
        self.assertEqual(self.console.lines, ["one", "==> build:0 passed"])

    def test_the_end_of_the_log_lets_go_of_everything(self) -> None:
        self.stream.tell(Line("first"), after=100)
        self.stream.tell(Line("second"), after=50)
        self.stream.received(b"short")
        self.stream.end()
        self.stream.end()
        self.assertEqual(self.console.lines, ["short", "==> first", "==> second"])

    def test_after_the_end_news_is_told_at_once(self) -> None:
        self.stream.end()
        self.stream.tell(Line("late"), after=100)
        self.assertEqual(self.console.lines, ["==> late"])

    def test_a_prefix_stands_before_every_line(self) -> None:
        stream = LogStream(self.console, "2.1", "amd64 | ")
        stream.received(b"one\ntw")
        stream.tell(Line("news"), after=6)
        stream.received(b"o\n")
        self.assertEqual(
            self.console.lines, ["amd64 | one", "amd64 | ==> news", "amd64 | two"]
        )

    @given(st.lists(st.integers(0, 30)), st.lists(st.integers(1, 10), max_size=6))
    def test_no_byte_and_no_news_is_lost(self, marks: list[int], sizes: list[int]) -> None:
        console = RecordingConsole()
        stream = LogStream(console, "1.1", "")
        for mark in marks:
            stream.tell(Line(f"news {mark}"), after=mark)
        for size in sizes:
            stream.received(b"x" * size)
        stream.end()
        lines = console.lines
        news = [line for line in lines if line.startswith("==>")]
        self.assertEqual(news, [f"==> news {mark}" for mark in marks])
        self.assertEqual(sum(line.count("x") for line in lines), sum(sizes))
