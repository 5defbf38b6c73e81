"""Whole attempts in virtual machines."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.model import Input, Output
from tests.worker.environments.shared_image import (
    own_series,
    shared_image,
    shared_images_folder,
)
from tests.worker.environments.test_vm import require_machines
from tests.worker.supervisor.attempts import Told, job, order, passed, repository, run
from tests.worker.supervisor.blob_server import BlobServer


class MachineTests(SynchronousTestCase):
    def setUp(self) -> None:
        require_machines(self)
        shared_image(self)
        self.server = BlobServer(self)
        self.source = repository(self, {"greeting": "hello\n"})

    def run_jobs(self, *stages: Any, isolation: str = "vm", **settings: Any) -> Told:
        asked = order(
            self.source,
            [[stage] for stage in stages],
            isolation=isolation,
            artifacts=self.server.artifacts,
        )
        chosen = {
            "images": str(shared_images_folder()),
            "series_images": {"jammy": own_series()},
            "disk_limit": 1 << 30,
        }
        return run(self, asked, **{**chosen, **settings})

    def test_packages_files_results_and_failures_are_as_in_a_chroot(self) -> None:
        """The same pipeline in both; what differs is printed by the comparison."""
        stages = (
            (
                "pack",
                job(
                    "hello; id -un; mkdir d; cp greeting d/x; touch /opt/kept",
                    packages=("hello",),
                    output=Output(paths=("d/*",), properties={"a": "b"}),
                ),
            ),
            (
                "test",
                job(
                    "cat in/files/d/x in/properties; ls /opt; id -un; exit 3",
                    input=Input(job_name="pack", target_directory="in"),
                    root=False,
                ),
            ),
        )
        seen = []
        for isolation in ("chroot", "vm"):
            told = self.run_jobs(*stages, isolation=isolation)
            self.assertEqual(
                told.results, {"pack:0": "success", "test:0": "failure"}, told.log()
            )
            seen.append(
                (
                    told.jobs["pack:0"].files,
                    told.jobs["pack:0"].properties,
                    told.jobs["test:0"].exit_status,
                    told.jobs["test:0"].reason,
                    [line for line in told.log("test").splitlines() if line[:2] != "=="],
                )
            )
        self.assertEqual(seen[0], seen[1])

    def test_one_job_of_a_build_in_chroots_can_have_a_machine(self) -> None:
        told = self.run_jobs(
            ("plain", job("uname -r > v", output=Output(paths=("v",)))),
            (
                "risky",
                job(
                    "test $(uname -r) != $(cat in/files/v)",
                    input=Input(job_name="plain", target_directory="in"),
                ),
            ),
            isolation="chroot",
            vm_jobs=("risk*",),
        )
        passed(self, told)
