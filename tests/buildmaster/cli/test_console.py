from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.console import tone
from protocol.results import Result
from tests.buildmaster.cli.recording_console import RecordingConsole


class ConsoleTests(SynchronousTestCase):
    def test_own_lines_begin_on_a_line_of_their_own(self) -> None:
        console = RecordingConsole()
        console.log("1", b"no end")
        console.say("said")
        console.log("1", b" of a line\n")
        console.say("again")
        self.assertEqual(console.lines, ["no end", "said", " of a line", "again"])

    def test_names_cannot_leave_their_line(self) -> None:
        console = RecordingConsole(is_terminal=True)
        console.say("worker evil\x1b[2J\nheadrace: all passed")
        self.assertEqual(console.lines, ["worker evil [2J headrace: all passed"])

    def test_without_a_terminal_a_log_is_passed_on_byte_for_byte(self) -> None:
        console = RecordingConsole()
        console.log("1", b"\x1b[2J\xff\r")
        console.end_log("1")
        self.assertEqual(console.printed, b"\x1b[2J\xff\r")

    def test_a_terminal_gets_a_log_filtered(self) -> None:
        console = RecordingConsole(is_terminal=True)
        console.log("1", b"\x1b[2Ja\x1b[3")
        console.log("1", b"1mb")
        console.end_log("1")
        self.assertEqual(console.printed, b"a\x1b[31mb\x1b[0m")

    def test_a_colour_of_a_log_does_not_reach_our_lines(self) -> None:
        console = RecordingConsole(is_terminal=True)
        console.log("1", b"\x1b[31mred")
        console.say("ours")
        self.assertEqual(console.printed, b"\x1b[31mred\x1b[0m\nours\n")

    def test_prefixed_logs_are_shown_in_whole_lines(self) -> None:
        """Two logs at once do not tear each other's lines."""
        console = RecordingConsole()
        console.log("1", b"one ", "amd64 | ")
        console.log("2", b"two\nthree", "arm64 | ")
        console.log("1", b"line\n", "amd64 | ")
        console.end_log("2", "arm64 | ")
        self.assertEqual(
            console.lines, ["arm64 | two", "amd64 | one line", "arm64 | three"]
        )

    def test_every_result_has_a_tone(self) -> None:
        self.assertEqual(
            {result.value: tone(result.value) for result in Result},
            {
                **dict.fromkeys(("success", "reused", "skipped"), "good"),
                **dict.fromkeys(("failure", "error", "timeout", "malformed"), "bad"),
                **dict.fromkeys(("unrun", "cancelled"), "void"),
            },
        )
        self.assertEqual((tone(None), tone("of a later version")), (None, None))
