"""`worker.pidfile`: one daemon in a data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from worker.pidfile import FolderTaken, PidFile
from worker.supervisor.attach import child_variables

_HOLDER = """
import sys
from pathlib import Path
from worker.pidfile import PidFile
file = PidFile(Path(sys.argv[1]))
file.take()
file.note()
print("taken", flush=True)
sys.stdin.read()
"""


class PidFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.file = PidFile(self.path)
        self.addCleanup(self.file.give_up)

    def holder(self) -> subprocess.Popen[bytes]:
        """Another process that holds the file."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _HOLDER, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_variables(),
        )
        assert process.stdin is not None and process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"taken\n")
        return process

    def test_names_the_daemon_that_holds_it(self) -> None:
        self.file.take()
        self.file.note()
        self.assertEqual(self.path.read_text(), f"{os.getpid()}\n")

    def test_keeps_others_out_and_tells_them_whom_to_stop(self) -> None:
        process = self.holder()
        with self.assertRaises(FolderTaken) as caught:
            self.file.take()
        self.assertIn(f"worker process {process.pid} works in", str(caught.exception))

    def test_lets_others_in_when_its_daemon_was_killed(self) -> None:
        process = self.holder()
        process.kill()
        process.wait()
        self.file.take()

    def test_lets_others_in_when_it_was_given_up(self) -> None:
        self.file.take()
        self.file.give_up()
        self.holder()
