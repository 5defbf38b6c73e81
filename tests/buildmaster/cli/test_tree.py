from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.cli.tree import pack
from protocol.tree_archive import PackedTree, TreeProblem
from tests.requirements import require


class TreeTests(SynchronousTestCase):
    """With real folders and the real git."""

    def setUp(self) -> None:
        """A folder with a file."""
        # Not below the checkout, where git would find the project itself.
        self.top = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.top)
        self.tree = self.top / "a tree"
        self.tree.mkdir(parents=True)
        self.write("file", "content\n")

    def write(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        """A file of the tree."""
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def git(self, *arguments: str, within: str = ".") -> None:
        """Run git in the tree."""
        subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments],
            cwd=self.tree / within,
            check=True,
            capture_output=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.top)},
        )

    def packed(self, name: str = "tree.tar") -> PackedTree:
        """The tree, packed."""
        return pack(self.tree, self.top / name)

    def members(self) -> dict[str, tarfile.TarInfo]:
        """What is in the archive."""
        with tarfile.open(self.packed().archive) as tar:
            return {member.name: member for member in tar}

    def test_the_hash_is_that_of_the_archive(self) -> None:
        packed = self.packed()
        content = packed.archive.read_bytes()
        self.assertEqual(packed.sha256, hashlib.sha256(content).hexdigest())
        self.assertEqual(packed.size, len(content))

    def test_equal_trees_have_equal_hashes(self) -> None:
        """Whenever and in whatever order their files were written."""
        self.write("another")
        first = self.packed("first.tar").sha256
        (self.tree / "file").unlink()
        self.write("file", "content\n", mode=0o600)
        os.utime(self.tree / "file", (1, 1))
        self.assertEqual(self.packed("second.tar").sha256, first)

    def test_a_changed_file_changes_the_hash(self) -> None:
        first = self.packed("first.tar").sha256
        self.write("file", "content!\n")
        self.assertNotEqual(self.packed("second.tar").sha256, first)

    def test_nothing_of_who_packed_it_is_in_it(self) -> None:
        member = self.members()["file"]
        self.assertEqual(
            (member.uid, member.gid, member.uname, member.gname, member.mtime),
            (0, 0, "", "", 0),
        )

    def test_what_can_be_run_can_be_run_there(self) -> None:
        self.write("script", mode=0o700)
        members = self.members()
        self.assertEqual((members["script"].mode, members["file"].mode), (0o755, 0o644))

    def test_symbolic_links_stay_links(self) -> None:
        (self.tree / "link").symlink_to("/etc/passwd")
        (self.tree / "folder").symlink_to(".")
        members = self.members()
        self.assertEqual(members["link"].linkname, "/etc/passwd")
        self.assertEqual(members["folder"].linkname, ".")
        self.assertEqual(set(members), {"file", "folder", "link"})

    def test_what_is_no_file_is_left_out_and_named(self) -> None:
        os.mkfifo(self.tree / "fifo")
        self.assertEqual(self.packed().left_out, ("fifo",))

    def test_names_that_are_no_text_are_kept(self) -> None:
        name = os.fsdecode(b"caf\xe9")
        (self.tree / name).touch()
        self.assertIn(name, self.members())

    def test_git_decides_what_is_sent(self) -> None:
        """Uncommitted changes and new files are, ignored and removed files are not."""
        self.git("init", "-q")
        self.write(".gitignore", "*.o\n")
        self.write("gone")
        self.git("add", "-A")
        self.git("commit", "-qm", "all")
        (self.tree / "gone").unlink()
        self.write("file", "changed\n")
        self.write("made.o")
        self.write("new/one")
        with tarfile.open(self.packed().archive) as tar:
            self.assertEqual(sorted(tar.getnames()), [".gitignore", "file", "new/one"])
            content = tar.extractfile("file")
            assert content is not None
            self.assertEqual(content.read(), b"changed\n")

    def test_a_folder_of_a_repository_is_sent_alone(self) -> None:
        self.git("init", "-q")
        self.write("part/of/it")
        packed = pack(self.tree / "part", self.top / "part.tar")
        with tarfile.open(packed.archive) as tar:
            self.assertEqual(tar.getnames(), ["of/it"])

    def test_repositories_within_are_sent_too(self) -> None:
        """As submodules are, and what git would not look into."""
        self.git("init", "-q")
        self.write("inner/.gitignore", "ignored\n")
        self.write("inner/ignored")
        self.write("inner/kept")
        self.git("init", "-q", within="inner")
        self.assertEqual(set(self.members()), {"file", "inner/.gitignore", "inner/kept"})

    def test_a_submodule_that_is_not_there_is_passed_over(self) -> None:
        self.git("init", "-q")
        self.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
        (self.tree / "module").mkdir()
        self.assertEqual(set(self.members()), {"file"})

    def test_settings_of_the_repository_start_no_program(self) -> None:
        """A downloaded tree may bring a .git of its own."""
        self.git("init", "-q")
        ran = self.top / "ran"
        script = self.top / "monitor"
        script.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(ran))}\n")
        script.chmod(0o755)
        self.git("config", "core.fsmonitor", str(script))
        self.git("add", "file")
        self.git("update-index", "--fsmonitor")
        self.git("status")
        self.assertTrue(ran.exists(), "else this test shows nothing")
        ran.unlink()
        self.packed()
        self.assertFalse(ran.exists())

    def test_a_repository_of_another_account_can_be_sent(self) -> None:
        require(self, os.geteuid() == 0, "only root can give files away")
        self.git("init", "-q")
        for folder, _, files in os.walk(self.tree):
            for name in (".", *files):
                os.chown(os.path.join(folder, name), 12345, 12345)
        self.assertEqual(set(self.members()), {"file"})

    def test_a_broken_repository_is_a_sentence(self) -> None:
        self.git("init", "-q")
        (self.tree / ".git" / "index").write_text("nonsense")
        with self.assertRaisesRegex(TreeProblem, "git cannot list the files"):
            self.packed()

    def test_an_empty_tree_is_a_sentence(self) -> None:
        (self.tree / "file").unlink()
        with self.assertRaisesRegex(TreeProblem, "no file to send"):
            self.packed()

    def test_a_missing_tree_is_a_sentence(self) -> None:
        with self.assertRaisesRegex(TreeProblem, "is not a folder"):
            pack(self.top / "nowhere", self.top / "tree.tar")

    def test_a_file_that_cannot_be_read_is_a_sentence(self) -> None:
        if os.geteuid() == 0:
            raise SkipTest("root can read everything")
        self.write("secret", mode=0)
        with self.assertRaisesRegex(
            TreeProblem, "secret cannot be sent: Permission denied"
        ):
            self.packed()
