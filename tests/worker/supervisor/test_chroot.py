"""Whole attempts in a chroot; skipped where there is no root or no image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.model import Input, Output
from tests.requirements import require
from tests.worker.supervisor.attempts import Told, job, order, passed, repository, run
from tests.worker.supervisor.blob_server import BlobServer

IMAGES = Path(os.environ.get("HEADRACE_TEST_IMAGES", "/var/cache/headrace-test-images"))


class ChrootTests(SynchronousTestCase):
    def setUp(self) -> None:
        require(self, os.geteuid() == 0, "chroots need root")
        require(self, (IMAGES / "bookworm").exists(), f"no image of bookworm in {IMAGES}")
        self.server = BlobServer(self)
        self.source = repository(self, {"greeting": "hello\n"})

    def run_jobs(self, *stages: Any) -> Told:
        asked = order(
            self.source,
            [[stage] for stage in stages],
            isolation="chroot",
            artifacts=self.server.artifacts,
        )
        return run(self, asked, images=str(IMAGES), series_images={"jammy": "bookworm"})

    def test_a_job_runs_in_the_image_that_its_series_is_mapped_to(self) -> None:
        told = self.run_jobs(
            ("unit", job("pwd; cat greeting; . /etc/os-release; echo $ID"))
        )
        passed(self, told)
        self.assertIn("\n/build/lpci/project\nhello\ndebian\n", told.log("unit"))

    def test_a_job_need_not_be_root_and_owns_its_project(self) -> None:
        told = self.run_jobs(
            ("unit", job("id -un; touch new; echo more >> greeting", root=False))
        )
        passed(self, told)
        self.assertIn("\n_lpci\n", told.log("unit"))

    def test_files_stay_from_one_job_to_the_next_but_the_project_is_fresh(self) -> None:
        told = self.run_jobs(
            ("one", job("touch /opt/kept new ../beside")),
            ("two", job("test -e /opt/kept; test ! -e new; test ! -e ../beside")),
        )
        passed(self, told)

    def test_outputs_leave_it_and_inputs_enter_it(self) -> None:
        makes = job("mkdir d; echo wheel > d/x.whl", output=Output(paths=("d/*",)))
        wants = job(
            "cat deep/in/files/d/x.whl; touch deep/in/new deep/new",
            input=Input(job_name="pack", target_directory="deep/in"),
            root=False,
        )
        told = self.run_jobs(("pack", makes), ("test", wants))
        passed(self, told)
        self.assertIn("\nwheel\n", told.log("test"))
        self.assertEqual(list(self.server.blobs.values()), [b"wheel\n"])

    def test_links_to_files_of_the_machine_are_no_outputs(self) -> None:
        for target in ("/etc/shadow", f"{Path(self.source.repository)}/greeting"):
            makes = job(f"ln -s {target} x", output=Output(paths=("x",)))
            told = self.run_jobs(("pack", makes))
            self.assertEqual(told.results, {"pack:0": "failure"}, told.log())
        self.assertEqual(self.server.blobs, {})

    def test_a_series_without_an_image_is_an_error_that_says_so(self) -> None:
        told = self.run_jobs(
            ("first", job("true")), ("unit", job("true", series="no-such-series"))
        )
        self.assertEqual(told.results, {"first:0": "success", "unit:0": "error"})
        self.assertIn("no image for no-such-series", told.jobs["unit:0"].reason)
        self.assertTrue(told.end.final, told.end)
