"""Patterns of failures, and logs that they are looked for in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.classification import (
    LONGEST_LINE,
    BadRule,
    Classification,
    FailureRule,
    Search,
    check_link,
    check_pattern,
    first_line,
)


def rule(number: int, pattern: str, **more: str) -> FailureRule:
    return FailureRule(number, pattern, Classification.FLAKY, **more)


def found(pieces: list[bytes], *patterns: str) -> int | None:
    search = Search([rule(number, each) for number, each in enumerate(patterns, 1)])
    for piece in pieces:
        search.feed(piece)
    search.end()
    return None if search.found is None else search.found.id


class PatternTests(SynchronousTestCase):
    def test_what_can_be_looked_for_passes(self) -> None:
        for good in (
            "No space left",
            r"(?i)^E: .* 50[0-9]\b",
            "ü+",
            "a|b",
            "x{1,900}",
            "(a+)+$",
        ):
            check_pattern(good)

    def test_others_are_refused_with_a_sentence(self) -> None:
        for bad, why in (
            ("", "1 to 500"),
            ("x" * 501, "1 to 500"),
            ("(", "missing \\)"),
            ("a)(b", "unexpected \\)"),
            (r"(a)\1", "invalid escape"),
            ("(?=a)b", "invalid"),
            ("((a{900}){900}){900}", "repetition"),
            (r"\pL{400}", "too large"),
            ("a*", "every log"),
            ("^$", "every log"),
        ):
            with self.assertRaisesRegex(BadRule, why, msg=bad):
                check_pattern(bad)

    def test_links_lead_to_pages_only(self) -> None:
        for good in ("", "https://bugs.example/1", "http://x/?a=1#b"):
            check_link(good)
        for bad in (
            "javascript:alert(1)",
            "data:text/html,x",
            "//evil.example",
            "https://",
            "https://farm@evil.example/",
            "https://a b",
            "https:\\\\evil.example",
            " https://x",
        ):
            with self.assertRaises(BadRule, msg=bad):
                check_link(bad)


class SearchTests(SynchronousTestCase):
    def test_the_first_rule_wins_wherever_its_line_is(self) -> None:
        self.assertEqual(found([b"two\n", b"one\n"], "one", "two"), 1)
        self.assertEqual(found([b"two\n"], "one", "two"), 2)
        self.assertIsNone(found([b"three\n"], "one", "two"))

    def test_lines_come_in_any_pieces(self) -> None:
        log = "vor dem\nNo späce left on device\ndanach".encode()
        for size in range(1, len(log) + 1):
            pieces = [log[at : at + size] for at in range(0, len(log), size)]
            self.assertEqual(found(pieces, "^No späce left on device$"), 1, size)

    def test_a_pattern_is_for_one_line(self) -> None:
        self.assertIsNone(found([b"left\nright\n"], r"left[^x]*right"))
        self.assertIsNone(found([b"left\nright\n"], r"left\sright"))

    def test_colours_and_carriage_returns_do_not_hide_it(self) -> None:
        self.assertEqual(
            found([b"\x1b[31mNo \x1b[1mspace\x1b[0m left\r\n"], "No space left$"), 1
        )
        self.assertEqual(found([b"10%\r20%\rdone\r"], "^20%$"), 1)

    def test_what_is_no_text_hides_nothing(self) -> None:
        self.assertEqual(found([b"\xff\xfe\x00 No space\n"], "No space"), 1)

    def test_many_rules_are_looked_for_together(self) -> None:
        patterns = [f"failure number {number}\\b" for number in range(500)]
        self.assertEqual(found([b"failure number 499\n"], *patterns), 500)
        self.assertEqual(found([b"failure number 26\n"], *patterns), 27)

    def test_a_line_without_an_end_takes_bounded_memory(self) -> None:
        search = Search([rule(1, "needle")])
        for _ in range(200):
            search.feed(b"x" * 50_000)
            self.assertLessEqual(len(search._rest), LONGEST_LINE)
        search.feed(b" needle ")
        search.end()
        self.assertIsNotNone(search.found)

    def test_patterns_that_ruin_others_take_time_by_length_only(self) -> None:
        # With a backtracking engine these would not end before the sun does.
        log = b"a" * 200_000 + b"!\n"
        self.assertIsNone(found([log], "(a+)+$", "(a|aa)+$", "^(a?){100}a{100}$"))

    def test_rules_concern_projects_and_names(self) -> None:
        inside = rule(1, "x", project="https://example.com/team", name="test")
        self.assertTrue(inside.concerns("https://example.com/team/a.git", "test"))
        self.assertFalse(inside.concerns("https://example.com/team/a.git", "lint"))
        self.assertFalse(inside.concerns("https://example.com/teammate/a.git", "test"))
        self.assertFalse(inside.concerns(None, "test"))
        self.assertTrue(rule(1, "x").concerns(None, "anything"))

    def test_the_first_line_that_has_it_is_told(self) -> None:
        log = b"one\r\n\x1b[1mtwo\x1b[0m here\ntwo there\n"
        self.assertEqual(first_line("^two", log), (2, "two here"))
        self.assertIsNone(first_line("three", log))
