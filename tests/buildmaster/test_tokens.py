"""Tokens: who may do what."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.tokens import AttemptGrant, FarmGrant, FileGrant, Tokens, UnsafeTokenFile

TOKENS = Tokens("f" * 64, b"secret")


class TokenTests(SynchronousTestCase):
    def test_the_farms_own_token_permits_everything(self) -> None:
        self.assertEqual(TOKENS.check("f" * 64), FarmGrant())

    def test_an_attempts_token_is_good_for_that_attempt(self) -> None:
        token = TOKENS.attempt_token(7, 2)
        self.assertEqual(TOKENS.check(token), AttemptGrant(7, 2))
        self.assertIsNone(TOKENS.check(token.replace(".7.", ".8.")))
        self.assertIsNone(TOKENS.check(token.replace(".2.", ".3.")))
        self.assertIsNone(Tokens("f" * 64, b"other").check(token))

    def test_a_files_token_is_good_for_that_file(self) -> None:
        one, other = "a" * 64, "b" * 64
        token = TOKENS.file_token(one)
        self.assertEqual(TOKENS.check(token), FileGrant(one))
        self.assertIsNone(TOKENS.check(token.replace(one, other)))
        self.assertIsNone(Tokens("f" * 64, b"other").check(token))

    @given(st.text() | st.from_regex(r"file\.[0-9a-f]{64}\.[0-9a-f]{64}", fullmatch=True))
    def test_no_guess_opens_a_file(self, token: str) -> None:
        self.assertIsNone(TOKENS.check(token))

    @given(st.text() | st.from_regex(r"attempt\.\d+\.\d+\.[0-9a-f]{64}", fullmatch=True))
    def test_nothing_else_permits_anything(self, token: str) -> None:
        self.assertIsNone(TOKENS.check(token))


class KeptTokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_secrets_are_made_once_for_their_owner_alone(self) -> None:
        before = os.umask(0)
        try:
            first = Tokens.load(self.folder)
        finally:
            os.umask(before)
        again = Tokens.load(self.folder)
        self.assertEqual(first.farm_token, again.farm_token)
        self.assertEqual(first.attempt_token(1, 1), again.attempt_token(1, 1))
        for path in self.folder.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)

    def test_a_file_that_others_can_read_is_refused(self) -> None:
        Tokens.load(self.folder)
        (self.folder / "token").chmod(0o640)
        with self.assertRaises(UnsafeTokenFile) as caught:
            Tokens.load(self.folder)
        self.assertIn("chmod 600", str(caught.exception))

    def test_a_link_in_place_of_the_file_is_not_followed(self) -> None:
        (self.folder / "other").write_text("x" * 64)
        (self.folder / "token").symlink_to("other")
        with self.assertRaises(OSError):
            Tokens.load(self.folder)
