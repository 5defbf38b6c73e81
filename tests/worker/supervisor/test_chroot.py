"""Whole attempts in a chroot; skipped where there is no root or no image."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.model import Input, Output
from tests.requirements import require
from tests.worker.supervisor.attempts import Told, job, order, passed, repository, run
from tests.worker.supervisor.blob_server import BlobServer
from worker.environments import traces

IMAGES = Path(os.environ.get("HEADRACE_TEST_IMAGES", "/var/cache/headrace-test-images"))


class ChrootTests(SynchronousTestCase):
    def setUp(self) -> None:
        require(self, os.geteuid() == 0, "chroots need root")
        require(self, (IMAGES / "bookworm").exists(), f"no image of bookworm in {IMAGES}")
        self.server = BlobServer(self)
        self.source = repository(self, {"greeting": "hello\n"})

    def run_jobs(self, *stages: Any, **settings: Any) -> Told:
        asked = order(
            self.source,
            [[stage] for stage in stages],
            isolation="chroot",
            artifacts=self.server.artifacts,
        )
        chosen = {"images": str(IMAGES), "series_images": {"jammy": "bookworm"}}
        return run(self, asked, **{**chosen, **settings})

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

    def own_images(self) -> str:
        """A folder with the same image, but without the layers of others."""
        place = Path(mkdtemp(prefix="headrace-images-", dir="/var/tmp"))
        self.addCleanup(traces.remove, place)
        (place / "by-digest").symlink_to(IMAGES / "by-digest")
        (place / "bookworm").symlink_to((IMAGES / "bookworm").readlink())
        return str(place)

    def test_packages_seen_before_are_not_installed_again(self) -> None:
        images = self.own_images()
        first = ("one", job("hello; touch /opt/x", packages=("hello",)))
        second = ("two", job("hello", packages=("hello",)))
        third = ("three", job("hello; ed --version", packages=("hello", "ed")))
        told = self.run_jobs(first, second, images=images)
        passed(self, told)
        self.assertIn("apt-get --quiet --yes install -- hello", told.log("one"))
        self.assertNotIn("apt-get", told.log("two"))
        told = self.run_jobs(first, second, third, images=images)
        passed(self, told)
        self.assertNotIn("apt-get", told.log("one"))
        # Only the difference.
        self.assertIn("apt-get --quiet --yes install -- ed", told.log("three"))

    def test_a_layer_holds_nothing_of_the_job_that_caused_it(self) -> None:
        images = self.own_images()
        hostile = job(
            "false",
            packages=("hello",),
            environment={"BASH_ENV": "./evil", "LD_PRELOAD": "/build/lpci/project/x"},
        )
        told = self.run_jobs(("one", hostile), images=images)
        self.assertEqual(told.results, {"one:0": "failure"})
        [layer] = Path(images, "layers").glob("[0-9a-f]*/")
        self.assertEqual(list((layer / "build").glob("lpci")), [])
        self.assertTrue((layer / "usr/bin/hello").exists())
        self.assertNotIn("evil", told.log("one").partition("apt-get clean")[0])

    def test_what_a_job_says_of_installing_is_done_in_its_own_environment(self) -> None:
        images = self.own_images()
        own = job("true", packages=("hello",), environment={"APT_CONFIG": "/no/such"})
        told = self.run_jobs(("one", own), images=images)
        passed(self, told)
        self.assertIn("apt-get --quiet --yes install -- hello", told.log("one"))
        self.assertFalse(Path(images, "layers").exists())

    def test_a_package_that_is_not_there_fails_the_job(self) -> None:
        images = self.own_images()
        told = self.run_jobs(("one", job("true", packages=("no-such",))), images=images)
        self.assertEqual(told.results, {"one:0": "failure"})
        self.assertIn("exit status 100", told.jobs["one:0"].reason)
        self.assertEqual(list(Path(images, "layers").glob("[0-9a-f]*/")), [])

    def test_what_a_job_ran_out_of_is_its_reason_and_the_next_one_passes(self) -> None:
        hostile = {
            "process_limit": "for i in {1..400}; do sleep 600 & done",
            "memory_limit": "x=$(head -c 400m /dev/zero | tr '\\0' x)",
            "disk_limit": "head -c 400m /dev/zero > f",
        }
        bounds = {
            "process_limit": 100,
            "memory_limit": 200 << 20,
            "disk_limit": 100 << 20,
        }
        attacks = [(key, job(script)) for key, script in hostile.items()]
        for attack in attacks:
            told = self.run_jobs(attack, **bounds)
            key = attack[0]
            self.assertEqual(told.results, {f"{key}:0": "failure"}, told.log())
            self.assertIn(key, told.jobs[f"{key}:0"].reason)
            passed(self, self.run_jobs(("next", job("true")), **bounds))
