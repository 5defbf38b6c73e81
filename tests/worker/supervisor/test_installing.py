"""Installing for real, out of an archive of the test's own, into chroots."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.model import Output, PackageRepository, Snap
from tests.requirements import require
from tests.worker.supervisor.archive_server import KEY, PACKAGE, PASSWORD, ArchiveServer
from tests.worker.supervisor.attempts import (
    Told,
    folder,
    job,
    order,
    passed,
    repository,
    run,
)
from tests.worker.supervisor.blob_server import BlobServer
from worker.supervisor.endings import CannotRun
from worker.supervisor.installing import snap_commands
from worker.supervisor.signing_keys import fetch_key, full_name

IMAGES = Path(os.environ.get("HEADRACE_TEST_IMAGES", "/var/cache/headrace-test-images"))


class ChrootTests(SynchronousTestCase):
    def setUp(self) -> None:
        require(self, os.geteuid() == 0, "chroots need root")
        require(self, (IMAGES / "bookworm").exists(), f"no image of bookworm in {IMAGES}")
        require(self, shutil.which("dpkg-deb") is not None, "this machine lacks dpkg-deb")
        self.archive = ArchiveServer(self)
        self.blobs = BlobServer(self)
        self.source = repository(self, {"greeting": "hello\n"})
        self.secrets = folder(self) / "secrets.yaml"
        self.secrets.touch(mode=0o600)
        self.secrets.write_text(f"token: {PASSWORD}\n")

    def run_jobs(self, *jobs: Any, **settings: Any) -> Told:
        asked = order(
            self.source,
            [[(f"job{number}", each) for number, each in enumerate(jobs)]],
            isolation="chroot",
            artifacts=self.blobs.artifacts,
        )
        chosen: dict[str, Any] = {
            "images": str(IMAGES),
            "series_images": {"jammy": "bookworm"},
            "secrets_file": str(self.secrets),
            # Whatever archive the image came from may be out of reach.
            "replace_package_repositories": ("# nothing but the job's own",),
        }
        told = run(self, asked, **{**chosen, **settings})
        self.assertNotIn(PASSWORD.encode(), msgspec.json.encode(told.bodies))
        self.assertNotIn(PASSWORD, told.log())
        return told

    def line(self, who: str = "ann:{{token}}") -> str:
        return f"deb [trusted=yes] http://{who}@{self.archive.address} jammy main"

    def wanted(self, **changes: Any) -> PackageRepository:
        fields: dict[str, Any] = {
            "type": "apt",
            "url": f"http://ann:{{{{token}}}}@{self.archive.address}",
            "components": ("main",),
            "formats": ("deb",),
            "suites": ("jammy",),
            "trusted": "yes",
        }
        return PackageRepository(**{**fields, **changes})

    def test_a_package_comes_out_of_the_jobs_own_repository_and_stays_for_the_next(
        self,
    ) -> None:
        one = job(
            "cat /etc/apt/sources.list.d/*; stat -c '%a %U %n' /etc/apt/sources.list.d/*",
            packages=(PACKAGE,),
            package_repositories=(self.wanted(),),
        )
        two = job(
            "test -e /opt/from-package; test ! -e x; cat /build/lpcraft/project/greeting"
        )
        told = self.run_jobs(one, two)
        passed(self, told)
        log = told.log("job0")
        self.assertIn(f"deb [trusted=yes] http://***@{self.archive.address}", log)
        self.assertIn("\n644 root /etc/apt/sources.list.d/", log)
        self.assertIn(
            "-- package-repositories: deb [trusted=yes] http://ann:{{token}}@", log
        )
        self.assertIn("\nhello\n", told.log("job1"))

    def test_the_operators_lines_come_before_the_jobs(self) -> None:
        shows = job(
            "cat /etc/apt/sources.list /etc/apt/sources.list.d/*",
            packages=(PACKAGE,),
            package_repositories=(self.wanted(suites=("jammy",), formats=("deb",)),),
        )
        told = self.run_jobs(
            shows,
            replace_package_repositories=("# first",),
            package_repositories=(f"# second {self.line()}", self.line()),
        )
        passed(self, told)
        address = self.archive.address
        self.assertIn(
            "-- run: cat /etc/apt/sources.list /etc/apt/sources.list.d/*\n"
            f"# first\n# second deb [trusted=yes] http://***@{address} jammy main\n"
            f"deb [trusted=yes] http://***@{address} jammy main\n"
            f"deb [trusted=yes] http://***@{address} jammy main\n",
            told.log(),
        )

    def test_a_secret_is_masked_in_logs_properties_and_pieces(self) -> None:
        half = len(PASSWORD) // 2
        shows = job(
            f"printf {PASSWORD[:half]}; sleep 0.2; echo {PASSWORD[half:]}\n"
            "echo fact=$(cat /etc/apt/sources.list.d/*) > facts",
            packages=(PACKAGE,),
            package_repositories=(self.wanted(),),
            output=Output(dynamic_properties="facts"),
        )
        told = self.run_jobs(shows)
        passed(self, told)
        self.assertIn("\n***\n", told.log())
        properties = told.jobs["job0:0"].properties
        assert properties is not None
        self.assertIn("http://***@", str(properties["fact"]))

    def test_without_packages_repositories_and_secrets_have_no_effect(self) -> None:
        self.secrets.chmod(0o644)
        told = self.run_jobs(
            job(
                "test ! -e /etc/apt/sources.list.d/headrace.list",
                package_repositories=(self.wanted(url="http://{{gone}}@x"),),
            )
        )
        passed(self, told)
        self.assertIn("-- package-repositories: no effect", told.log())
        self.assertEqual(self.archive.requests, [])

    def test_secrets_that_are_not_there_are_told_by_name(self) -> None:
        gone = job(
            "true",
            packages=(PACKAGE,),
            package_repositories=(self.wanted(url="http://{{gone}}@x"),),
        )
        told = self.run_jobs(gone)
        self.assertEqual(told.results, {"job0:0": "error"})
        self.assertIn("of job0:0 needs the secret gone, which is not set", told.end.reason)
        told = self.run_jobs(gone, secrets_file=None)
        self.assertIn("operator has set no secrets_file", told.end.reason)
        self.secrets.chmod(0o644)
        self.assertIn("chmod 600", self.run_jobs(gone).end.reason)

    def test_the_key_of_a_ppa_is_fetched(self) -> None:
        wants = job(
            "true",
            packages=(PACKAGE,),
            package_repositories=(self.wanted(ppa="ann/tools", trusted="no"),),
        )
        shows = job("cat /etc/apt/trusted.gpg.d/headrace-ann-ubuntu-tools.asc")
        told = self.run_jobs(
            wants, shows, launchpad_api=f"http://{self.archive.address}/api"
        )
        self.assertEqual(told.results, {"job0:0": "failure", "job1:0": "success"})
        self.assertIn(KEY, told.log("job1"))

    def test_a_ppa_whose_key_is_out_of_reach_must_be_trusted_by_the_operator(self) -> None:
        wants = job(
            "true",
            packages=(PACKAGE,),
            package_repositories=(self.wanted(ppa="ann/tools", trusted=None),),
        )
        nowhere = f"http://{self.archive.address}/api/nowhere"
        told = self.run_jobs(wants, launchpad_api=nowhere)
        self.assertEqual(told.results, {"job0:0": "error"})
        self.assertIn("names the PPA ann/tools", told.end.reason)
        self.assertIn(f"from {nowhere}/~ann/+archive/ubuntu/tools", told.end.reason)
        told = self.run_jobs(
            wants, launchpad_api=nowhere, trusted_ppas=("ann/ubuntu/tools",)
        )
        passed(self, told)

    def test_a_secret_is_masked_in_reasons(self) -> None:
        told = self.run_jobs(
            job("true", packages=(PASSWORD,), package_repositories=(self.wanted(),))
        )
        self.assertIn("install -- *** ended with", told.jobs["job0:0"].reason)

    def test_snaps_are_refused_before_anything_runs(self) -> None:
        told = self.run_jobs(
            job("echo ran", run_before="echo ran", snaps=(Snap(name="chromium"),))
        )
        self.assertEqual(told.results["job0:0"], "malformed")
        self.assertNotIn("\nran\n", told.log())
        self.assertIn("`snaps` of job0:0 asks for chromium", told.jobs["job0:0"].reason)


class SnapTests(SynchronousTestCase):
    def test_snaps_are_installed_one_by_one(self) -> None:
        snaps = [Snap(name="lxd"), Snap(name="go", channel="1.21/stable", classic=True)]
        self.assertEqual(
            snap_commands(snaps),
            [
                ["snap", "install", "--channel", "latest/stable", "--", "lxd"],
                ["snap", "install", "--channel", "1.21/stable", "--classic", "--", "go"],
            ],
        )


class KeyTests(SynchronousTestCase):
    def test_a_ppa_has_a_full_name(self) -> None:
        self.assertEqual(full_name("ann/tools"), "ann/ubuntu/tools")
        self.assertEqual(full_name("ann/debian/tools"), "ann/debian/tools")

    def test_the_way_to_the_key_is_named_when_it_is_closed(self) -> None:
        def fetch(interface: str) -> bytes:
            return fetch_key("ann/tools", interface, {"no_proxy": "127.0.0.1"}, "It")

        error: CannotRun = self.assertRaises(CannotRun, fetch, "http://127.0.0.1:1/api/")
        self.assertIn(
            "http://127.0.0.1:1/api/~ann/+archive/ubuntu/tools?ws.op=getSigningKeyData",
            error.reason,
        )
        self.assertIn("trusted_ppas: [ann/tools]", error.reason)
