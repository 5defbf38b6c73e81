"""The work tree that a plan is made of, and repositories that would have programs run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twisted.trial.unittest import TestCase

from buildmaster.cli.problems import CommandMisused
from buildmaster.cli.source_tree import source_tree
from tests.farm import folder_for


class SourceTreeTests(TestCase):
    def setUp(self) -> None:
        self.folder = folder_for(self)
        self.root = self.folder / "root"
        self.root.mkdir()
        self.git("init", "--quiet")
        (self.root / "a").mkdir()
        (self.root / "a" / "file").write_text("one\n")

    def git(self, *words: str) -> str:
        told = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
            cwd=self.root, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return told.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=x")

    def of_head(self, path: str) -> str:
        """As a farm has it of a commit."""
        if not path:
            return self.git("rev-parse", "HEAD^{tree}")
        return self.git("ls-tree", "--full-tree", "HEAD", "--", path).partition("\t")[0]

    def files(self) -> dict[str, bytes]:
        """All of the repository's own."""
        return {
            str(path): path.read_bytes()
            for path in (self.root / ".git").rglob("*")
            if path.is_file()
        }

    def test_it_has_the_digests_that_a_commit_would_have(self) -> None:
        (self.root / "b").write_text("two")
        (self.root / ".git" / "info" / "exclude").write_text("left\n")
        (self.root / "left").write_text("not a part of it")
        before = self.files()
        with source_tree(self.root / "a") as tree:
            self.assertEqual(tree.root, self.root)
            found = tree.digests(["", "a", "./b", "c"])
        self.assertEqual(self.files(), before)
        self.commit()
        self.assertEqual(
            found,
            {"": self.of_head(""), "a": self.of_head("a"), "./b": self.of_head("b"),
             "c": ""},
        )  # fmt: skip

    def test_no_program_runs_that_the_repository_names(self) -> None:
        mark = self.folder / "mark"
        evil = f"touch {mark}; cat"
        self.commit()
        (self.root / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
        for name in ("filter.evil.clean", "filter.evil.process", "diff.evil.textconv",
                     "core.fsmonitor", "core.sshCommand", "core.pager"):  # fmt: skip
            self.git("config", name, evil)
        for hook in ("pre-commit", "post-index-change", "post-checkout"):
            file = self.root / ".git" / "hooks" / hook
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"#!/bin/sh\n{evil}\n")
            file.chmod(0o755)
        (self.root / "a" / "file").write_text("another\n")
        with source_tree(self.root) as tree:
            tree.digests(["", "a"])
            tree.repositories()
        self.assertFalse(mark.exists())

    def test_a_hook_of_git_may_ask(self) -> None:
        self.commit()
        self.patch_variables(GIT_DIR="/nowhere", GIT_INDEX_FILE="/nowhere/index")
        with source_tree(self.root) as tree:
            found = tree.digests([""])
        self.patch_variables(GIT_DIR=None, GIT_INDEX_FILE=None)
        self.assertEqual(found, {"": self.of_head("")})

    def patch_variables(self, **values: str | None) -> None:
        import os

        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
                self.addCleanup(os.environ.pop, name, None)

    def test_no_secret_of_an_address_is_told(self) -> None:
        for name, url in (
            ("a", "https://me:secret@git.example/x.git"),
            ("b", "https://secret@git.example/y.git"),
            ("c", "ssh://git@git.example/z.git"),
            ("d", "ssh://git:secret@git.example/z2.git"),
            ("e", "git@git.example:z.git"),
        ):
            self.git("remote", "add", name, url)
        with source_tree(self.root) as tree:
            self.assertEqual(
                tree.repositories(),
                [
                    str(self.root),
                    "https://git.example/x.git",
                    "https://git.example/y.git",
                    "ssh://git@git.example/z.git",
                    "ssh://git.example/z2.git",
                    "git@git.example:z.git",
                ],
            )

    def test_outside_of_any_repository_it_says_so(self) -> None:
        place: Path = self.folder / "elsewhere"
        place.mkdir()
        with self.assertRaisesRegex(CommandMisused, "no work tree of git"):
            with source_tree(place):
                pass
