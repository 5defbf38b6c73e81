from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from worker.supervisor.redaction import MASK, Redactor


def redactor(*secrets: str) -> Redactor:
    made = Redactor()
    made.learn(secrets)
    return made


class RedactorTests(SynchronousTestCase):
    def test_without_secrets_everything_passes_at_once(self) -> None:
        made = redactor("")
        self.assertEqual(made.feed(b"abc"), b"abc")
        self.assertEqual(made.rest(), b"")

    def test_a_secret_is_masked_wherever_it_is_cut(self) -> None:
        for cut in range(1, 6):
            made = redactor("tOkEn1")
            text = b"a tOkEn1 b"
            out = made.feed(text[: 2 + cut]) + made.feed(text[2 + cut :]) + made.rest()
            self.assertEqual(out, b"a *** b")

    def test_what_cannot_become_a_secret_is_not_held_back(self) -> None:
        made = redactor("token")
        self.assertEqual(made.feed(b"line\n"), b"line\n")
        self.assertEqual(made.feed(b"to"), b"")
        self.assertEqual(made.feed(b"day\n"), b"today\n")

    def test_a_secret_in_the_spelling_of_a_url_is_masked(self) -> None:
        made = redactor("a/b:c@d")
        self.assertEqual(made.whole(b"x a%2Fb%3Ac%40d a/b%3Ac%40d y"), b"x *** *** y")

    def test_the_longer_of_two_secrets_leaves_no_tail(self) -> None:
        made = redactor("pass", "password")
        self.assertEqual(made.feed(b"password") + made.rest(), b"***")
        self.assertEqual(made.feed(b"pass") + made.feed(b"word") + made.rest(), b"***")

    def test_values_are_cleaned_all_the_way_down(self) -> None:
        made = redactor("token")
        self.assertEqual(
            made.value({"token": ["a token", 1, None, {"x": "token"}]}),
            {"***": ["a ***", 1, None, {"x": "***"}]},
        )

    def test_an_endless_repetition_is_not_kept_in_memory(self) -> None:
        made = redactor("aaaa")
        for _ in range(50):
            made.feed(b"a" * 1000)
        self.assertLess(len(made.rest()), 8)


class LawTests(SynchronousTestCase):
    @given(
        secrets=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
        pieces=st.lists(st.text("abc", max_size=6), max_size=8),
    )
    def test_cutting_changes_nothing(self, secrets: list[str], pieces: list[str]) -> None:
        streaming, at_once = redactor(*secrets), redactor(*secrets)
        out = b"".join(streaming.feed(piece.encode()) for piece in pieces)
        self.assertEqual(out + streaming.rest(), at_once.whole("".join(pieces).encode()))

    @given(
        secrets=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
        text=st.text("abc", max_size=30),
    )
    def test_no_byte_of_a_secret_is_left(self, secrets: list[str], text: str) -> None:
        hidden = {
            place
            for secret in secrets
            for start in range(len(text))
            if text.startswith(secret, start)
            for place in range(start, start + len(secret))
        }
        left = [letter for place, letter in enumerate(text) if place not in hidden]
        out = redactor(*secrets).whole(text.encode())
        self.assertEqual(out.replace(MASK, b""), "".join(left).encode())
