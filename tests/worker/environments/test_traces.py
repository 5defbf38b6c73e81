from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from shutil import which
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from worker.environments import traces


class SweepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(mkdtemp(dir="/tmp"))
        self.addCleanup(traces.remove, self.base)
        self.folder = self.base / "e"
        self.folder.mkdir()

    def sleeper(self, **variables: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "600"], env={**os.environ, **variables})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_the_noted_init_is_killed(self) -> None:
        process = self.sleeper()
        traces.note(self.folder, init=process.pid)
        traces.sweep(self.folder)
        self.assertEqual(process.wait(), -signal.SIGKILL)
        self.assertFalse(self.folder.exists())

    def test_a_process_that_took_over_the_number_lives(self) -> None:
        """Process ids come again; the one who has it now is somebody else."""
        process = self.sleeper()
        traces.note(self.folder, init=process.pid)
        note = self.folder / "processes"
        note.write_text(note.read_text().replace(f"{process.pid} ", f"{process.pid} 1"))
        traces.sweep(self.folder)
        self.assertIsNone(process.poll())

    def test_a_note_from_before_the_boot_kills_nobody(self) -> None:
        process = self.sleeper()
        traces.note(self.folder, init=process.pid)
        note = self.folder / "processes"
        note.write_text("another-boot\n" + note.read_text().partition("\n")[2])
        traces.sweep(self.folder)
        self.assertIsNone(process.poll())

    def test_all_who_carry_the_mark_are_killed_and_nobody_else(self) -> None:
        marked = [self.sleeper(**{traces.MARK: "abc"}) for _ in range(3)]
        other = self.sleeper(**{traces.MARK: "abcd"})
        traces.note(self.folder, mark="abc")
        traces.sweep(self.folder)
        self.assertEqual([each.wait() for each in marked], [-signal.SIGKILL] * 3)
        self.assertIsNone(other.poll())

    def test_half_a_note_and_none_are_swept_too(self) -> None:
        for content in (None, b"", b"x", b"\xff\n\n", b"1\n2\n3\n4\n"):
            self.folder.mkdir(exist_ok=True)
            if content is not None:
                (self.folder / "processes").write_bytes(content)
            traces.sweep(self.folder)
            self.assertFalse(self.folder.exists())
        traces.sweep(self.folder)
        traces.sweep(self.folder / "below")


class RemoveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(mkdtemp(dir="/tmp"))
        self.addCleanup(traces.remove, self.base)

    def test_links_are_not_followed(self) -> None:
        (self.base / "kept").mkdir()
        (self.base / "kept" / "f").touch()
        (self.base / "d").mkdir()
        (self.base / "d" / "l").symlink_to(self.base / "kept")
        traces.remove(self.base / "d")
        (self.base / "l").symlink_to(self.base / "kept")
        traces.remove(self.base / "l")
        self.assertEqual(os.listdir(self.base), ["kept"])
        self.assertTrue((self.base / "kept" / "f").exists())

    def test_what_was_made_unchangeable_goes_too(self) -> None:
        require(self, os.geteuid() == 0, "only root can make files unchangeable")
        require(self, which("chattr") is not None, "this machine has no chattr")
        (self.base / "d").mkdir()
        (self.base / "d" / "f").touch()
        done = subprocess.run(["chattr", "+i", self.base / "d" / "f"], capture_output=True)
        require(self, done.returncode == 0, "this file system has no such attribute")
        traces.remove(self.base / "d")
        self.assertFalse((self.base / "d").exists())

    def test_a_name_that_looks_like_an_option_is_a_name(self) -> None:
        (self.base / "-rf").mkdir()
        (self.base / "f").touch()
        traces.remove(self.base / "-rf")
        self.assertEqual(os.listdir(self.base), ["f"])
