from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from worker.supervisor.secrets_file import LIMIT, BadSecrets, read_secrets


class SecretsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.touch(mode=0o600)

    def refusal(self, content: str | bytes) -> str:
        self.path.write_bytes(content if isinstance(content, bytes) else content.encode())
        error: BadSecrets = self.assertRaises(BadSecrets, read_secrets, self.path)
        self.assertIn(str(self.path), str(error))
        self.assertNotIn("hush", str(error))
        return str(error)

    def test_names_lead_to_texts(self) -> None:
        self.path.write_text("token: hush\nother: 'user:pass'\n")
        self.assertEqual(read_secrets(self.path), {"token": "hush", "other": "user:pass"})

    def test_an_empty_file_holds_none(self) -> None:
        self.assertEqual(read_secrets(self.path), {})

    def test_a_file_that_others_can_read_is_refused(self) -> None:
        for mode in (0o640, 0o604, 0o620):
            self.path.chmod(mode)
            self.assertIn(f"chmod 600 {self.path}", self.refusal("token: hush"))

    def test_a_file_that_is_not_there_is_named(self) -> None:
        self.path.unlink()
        error: BadSecrets = self.assertRaises(BadSecrets, read_secrets, self.path)
        self.assertIn("cannot be read", str(error))

    def test_what_is_no_secret_is_refused_without_being_quoted(self) -> None:
        self.assertIn("must map names", self.refusal("- hush"))
        self.assertIn("must map names", self.refusal("1: hush"))
        self.assertIn("line 2", self.refusal("token: hush\nhush: 'hush"))
        self.assertIn("is not YAML", self.refusal(b"token: hush\xff"))
        self.assertIn("is not YAML", self.refusal("[" * 10_000))
        self.assertIn("more than", self.refusal("#" * (LIMIT + 1)))
        for value in ("1", "[hush]", "", "''", '"hush\\nhush"', "hush" * 2000):
            self.assertIn("the secret token", self.refusal(f"token: {value}"))
