"""Attempts on a disk that is really full: a small file system of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.results import Result
from tests.requirements import require
from tests.worker.supervisor.attempts import (
    HANGS,
    ROOT,
    Told,
    folder,
    job,
    order,
    repository,
    told,
)
from worker.supervisor import attach
from worker.supervisor.settings import Settings

#: Runs "$@" on a small file system at $1, and saves the spool before that goes away.
_SMALL = """
set -e
place=$1 size=$2 saved=$3; shift 3
mount -t tmpfs -o size=$size,mode=0700 none "$place"
cp order.json worker.json "$place"
status=0; "$@" || status=$?
cp "$place/reports" "$place/supervisor.pid" "$saved"
exit $status
"""


class FullDiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.own_mounts = ["unshare", "--user", "--map-root-user", "--mount"]
        works = subprocess.run(
            [*self.own_mounts, "mount", "-t", "tmpfs", "none", "/mnt"],
            stderr=subprocess.DEVNULL,
        )
        require(
            self, works.returncode == 0, "this user cannot mount in a namespace of its own"
        )

    def run_on(self, size: str, *jobs: Any, **settings: Any) -> tuple[Told, str]:
        top = folder(self)
        place, saved = top / "small", top / "saved"
        place.mkdir()
        asked = order(repository(self, {"x": "x" * 1000}), [[each] for each in jobs])
        chosen = Settings(**{"cache": str(top / "cache"), "grace": 0.5, **settings})
        attach.write_order(saved, asked, chosen)
        supervisor = [sys.executable, "-m", "worker.supervisor", str(place)]
        paths = ":".join([str(ROOT), *filter(None, sys.path)])
        command = [*self.own_mounts, "bash", "-c", _SMALL, "bash"]
        done = subprocess.run(
            [*command, str(place), size, str(saved), *supervisor],
            cwd=saved,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": paths},
            timeout=HANGS,
            stderr=subprocess.PIPE,
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return told(saved), str(place)

    def test_a_log_that_fills_the_disk_ends_the_attempt_with_a_sentence(self) -> None:
        noisy = job("head -c 100000000 /dev/urandom")
        ended, place = self.run_on("4m", ("unit", noisy), ("pack", job("true")))
        self.assertEqual(
            ended.results, {"unit:0": "error", "pack:0": "unrun"}, ended.end.reason
        )
        self.assertEqual(ended.end.result, Result.ERROR)
        self.assertIn(f"disk is full: no room is left in {place}", ended.end.reason)

    def test_a_job_that_fills_the_disk_is_not_blamed_for_a_small_disk(self) -> None:
        filling = job("head -c 100000000 /dev/urandom > big")
        ended, place = self.run_on("4m", ("unit", filling), ("pack", job("true")))
        self.assertEqual(
            ended.results, {"unit:0": "error", "pack:0": "unrun"}, ended.end.reason
        )
        self.assertIn(f"disk is full: no room is left in {place}", ended.end.reason)

    def test_the_end_fits_though_nothing_becomes_free(self) -> None:
        # Beside the environments: nobody removes it before the end is reported.
        filling = job("head -c 100000000 /dev/urandom > ../../../filling")
        jobs = [("unit", filling), *[("pack", job("true"))] * 150]
        ended, place = self.run_on("8m", *jobs)
        self.assertEqual(ended.end.result, Result.ERROR)
        self.assertIn(f"disk is full: no room is left in {place}", ended.end.reason)
        self.assertEqual(len(ended.results), 151)

    def test_a_source_that_does_not_fit_ends_the_attempt_with_a_sentence(self) -> None:
        ended, _ = self.run_on("120k", ("unit", job("true")))
        self.assertEqual(ended.results, {"unit:0": "unrun"})
        self.assertEqual(ended.end.result, Result.ERROR)
        self.assertIn("disk is full", ended.end.reason)


class NoDiskTests(SynchronousTestCase):
    def test_an_order_that_cannot_be_written_is_an_error_of_the_daemons(self) -> None:
        require(self, Path("/dev/full").exists(), "this machine has no /dev/full")
        asked = order(None, [[("unit", job("true"))]])
        top = folder(self)
        (top / "7-2").write_text("not a folder")
        self.assertRaises(
            OSError, attach.write_order, top / "7-2", asked, Settings(cache="/x")
        )
        shutil.rmtree(top)
