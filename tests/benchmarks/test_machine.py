from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import machine

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"


class ProcessorSecondsTests(SynchronousTestCase):
    """Whose processor time it was."""

    def test_a_tree_counts_children_that_have_ended_and_those_that_live(self) -> None:
        before = machine.tree_seconds(os.getpid())
        subprocess.run([sys.executable, "-c", BURN.format(seconds=0.3)], check=True)
        ended = machine.tree_seconds(os.getpid()) - before
        self.assertGreaterEqual(ended, 0.25)
        code = BURN.format(seconds=0.3) + "print('burnt', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            both = machine.tree_seconds(os.getpid()) - before
            child.communicate(b"\n")
        self.assertGreaterEqual(both, ended + 0.25)

    def test_another_tree_is_not_counted(self) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as child:
            before = machine.tree_seconds(child.pid)
            subprocess.run([sys.executable, "-c", BURN.format(seconds=0.3)], check=True)
            self.assertLess(machine.tree_seconds(child.pid) - before, 0.25)
            child.communicate(b"\n")


class DescriptionTests(SynchronousTestCase):
    """What a report says of the machine."""

    def test_it_names_the_file_system_of_the_folder(self) -> None:
        self.assertEqual(machine.describe(Path("/proc"))["file_system"], "proc")
        folder = Path(tempfile.gettempdir())
        self.assertNotEqual(machine.describe(folder)["file_system"], "unknown")
