"""Lines of a file of passwords: which are taken, and what opens them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bcrypt
from passlib.hash import apr_md5_crypt, sha256_crypt, sha512_crypt
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.people.htpasswd import _decoy, read_htpasswd
from buildmaster.people.passwords import BadPassword, is_hash, new_hash, verify
from buildmaster.people.watched import BadFile

NONE = (
    "",
    "lace",
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "rqXexS6ZhobKA",
    "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
    "$2b$31$AvCc1LYrHMKMEk1rRM23/emH/CGJCtR7L5AJn0YPextG6A7ipB/tu",
    "$2b$12$short",
    "$6$rounds=999999999$salt$x",
    "$6$rounds=1$salt$x",
    f"$6$salt${'x' * 85}",
    f"$5$salt${'x' * 86}",
    "$2b$12$AvCc1LYrHMKMEk1rRM23/emH/CGJCtR7L5AJn0YPextG6A7ipB/tu\n",
)


class PasswordTests(SynchronousTestCase):
    def test_hashes_of_each_kind_open_to_their_password_only(self) -> None:
        made = (
            bcrypt.hashpw(b"lace", bcrypt.gensalt(4)).decode(),
            bcrypt.hashpw(b"lace", bcrypt.gensalt(4, b"2a")).decode(),
            bcrypt.hashpw(b"lace", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
            sha256_crypt.using(rounds=1000).hash("lace"),
            sha512_crypt.using(rounds=1000).hash("lace"),
            sha512_crypt.using(rounds=5000).hash("lace"),
            apr_md5_crypt.hash("lace"),
        )
        for line in made:
            self.assertTrue(is_hash(line), line)
            self.assertTrue(verify("lace", line), line)
            for wrong in ("", "Lace", "lace ", "lace\0", "lac", "x" * 1000, "x" * 16_000):
                self.assertFalse(verify(wrong, line), (line, wrong))

    def test_hashes_that_others_made_are_understood(self) -> None:
        for option in ("-apr1", "-5", "-6"):
            told = subprocess.run(
                ["openssl", "passwd", option, "-salt", "abcdefgh", "lace"],
                capture_output=True,
                text=True,
                check=True,
            )
            line = told.stdout.strip()
            self.assertTrue(is_hash(line), line)
            self.assertTrue(verify("lace", line), line)
            self.assertFalse(verify("lac", line), line)

    def test_everything_else_is_no_hash(self) -> None:
        for line in NONE:
            self.assertFalse(is_hash(line), line)

    def test_new_lines_are_taken_and_what_bcrypt_would_cut_is_not(self) -> None:
        line = new_hash("pässword")
        self.assertTrue(is_hash(line) and verify("pässword", line))
        for bad in ("", "a\0b", "x" * 73, "ä" * 37):
            self.assertRaises(BadPassword, new_hash, bad)

    def test_a_name_that_is_not_there_costs_what_one_does_that_is(self) -> None:
        for line in (
            new_hash("lace"),
            sha512_crypt.using(rounds=6000).hash("lace"),
            sha256_crypt.hash("lace"),
            apr_md5_crypt.hash("lace"),
        ):
            decoy = _decoy({"ada": line})
            self.assertTrue(is_hash(decoy), decoy)
            self.assertNotEqual(decoy, line)
            self.assertEqual(decoy.rpartition("$")[0], line.rpartition("$")[0])
            self.assertFalse(verify("lace", decoy))
        self.assertTrue(is_hash(_decoy({})))


class FileTests(SynchronousTestCase):
    def read(self, text: str | bytes) -> object:
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_htpasswd(path)

    def test_names_and_hashes_are_read(self) -> None:
        line = new_hash("lace")
        found = self.read(f"# people\n\nada:{line}\r\nbob b.:{line}\n")
        self.assertEqual(found, {"ada": line, "bob b.": line})

    def test_a_file_that_is_none_is_refused_with_the_line(self) -> None:
        line = new_hash("lace")
        for text, words in (
            ("ada", "line 1 is not"),
            (f"ada:{line}\n:{line}", "line 2 is not"),
            (f"ada:{line}\nbob:plain", r"line 2 \(bob\) has no hash"),
            (f"ada:{line}:x", "has no hash"),
            (f"ada:{line}\nada:{line}", "ada stands there twice"),
            (f"a\x1bb:{line}", "line 1 is not"),
            ("x" * (5 * 2**20), "more than"),
        ):
            with self.assertRaisesRegex(BadFile, words):
                self.read(text)
        self.assertRaises(UnicodeDecodeError, self.read, b"\xff:x")
