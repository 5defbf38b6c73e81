"""Files that other jobs hand over, in whole attempts; and all that can be wrong."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.order import HandedOver, KeptFile
from protocol.pipeline.model import Output
from tests.worker.environments.shared_image import (
    own_series,
    require_chroots,
    shared_image,
    shared_images_folder,
)
from tests.worker.environments.test_vm import require_machines
from tests.worker.supervisor.attempts import Told, job, order, passed, repository, run
from tests.worker.supervisor.blob_server import BlobServer


class HandingCase(SynchronousTestCase):
    isolation = "native"

    def setUp(self) -> None:
        self.server = BlobServer(self)
        self.source = repository(self, {"greeting": "hello\n"})

    def file(self, path: str, content: bytes = b"x") -> KeptFile:
        """A file that the farm has."""
        digest = self.server.keep(content)
        return KeptFile(path=path, sha256=digest, size=len(content))

    def run_jobs(self, handed: Any, *stages: Any, **settings: Any) -> Told:
        asked = order(
            self.source,
            [[stage] for stage in stages],
            isolation=self.isolation,
            artifacts=self.server.artifacts,
            handed=handed,
        )
        chosen = {
            "images": str(shared_images_folder()),
            "series_images": {"jammy": own_series()},
        }
        return run(self, asked, **{**chosen, **settings})


class HandingTests(HandingCase):
    def test_each_pipeline_job_finds_them_as_they_were_made(self) -> None:
        """A job that is to destroy them; then another of the same build."""
        handed = (
            HandedOver(
                job="copr-build", files=(self.file("B/f", b"one"), self.file("g", b"two"))
            ),
            HandedOver(job="empty"),
        )
        told = self.run_jobs(
            handed,
            ("one", job('cat $CI_INPUT_COPR_BUILD/B/f && rm -r "$CI_INPUT_COPR_BUILD"/*')),
            (
                "two",
                job(
                    "cd $CI_INPUT_COPR_BUILD; cat B/f g; cd -; touch made ../beside",
                    output=Output(paths=("made", "../*")),
                ),
            ),
            ("three", job("ls -A $CI_INPUT_EMPTY; test -d $CI_INPUT_EMPTY")),
        )
        passed(self, told)
        self.assertIn("\none\n== one:0: passed", told.log("one"))
        self.assertIn("\nonetwo", told.log("two"))
        # Fetched once; and no pattern reaches them, or they would be sent back.
        self.assertEqual(self.server.requests.count("GET 200"), 2)
        made = [file.path for file in told.jobs["two:0"].files]
        self.assertEqual(made, ["beside", "made"])


class InChrootTests(HandingCase):
    isolation = "chroot"
    too_large = 60 << 20

    def setUp(self) -> None:
        require_chroots(self)
        shared_image(self)
        super().setUp()

    def test_an_ordinary_user_s_job_reads_and_changes_its_own(self) -> None:
        handed = (HandedOver(job="build", files=(self.file("d/f", b"one"),)),)
        script = "cat $CI_INPUT_BUILD/d/f; rm $CI_INPUT_BUILD/d/f; id -un"
        told = self.run_jobs(
            handed, ("one", job(script, root=False)), ("two", job(script, root=False))
        )
        passed(self, told)
        for name in ("one", "two"):
            self.assertIn("\none_lpci\n", told.log(name))

    def test_what_is_too_large_for_the_environment_says_so(self) -> None:
        """The build's own disk is full, and the worker's is not."""
        handed = (HandedOver(job="build", files=(self.file("f", bytes(self.too_large)),)),)
        told = self.run_jobs(handed, ("one", job("true")), disk_limit=40 << 20)
        self.assertEqual(told.results, {"one:0": "error"})
        reason = told.jobs["one:0"].reason
        size = f"{self.too_large >> 20} MiB"
        self.assertIn(f"the files that other jobs hand over to it take {size}", reason)
        self.assertIn("disk_limit", reason)
        # Somewhere else there may be more room.
        self.assertFalse(told.end.final)


class InMachineTests(InChrootTests):
    isolation = "vm"
    too_large = 200 << 20  #: a disk of a machine has some room to spare

    def setUp(self) -> None:
        require_machines(self)
        super().setUp()


class AttackTests(HandingCase):
    """Orders, contents and names that are wrong; whose fault each is."""

    def ends(self, *files: KeptFile, **settings: Any) -> tuple[str, str, bool]:
        """How an attempt ends that is handed these: result, reason, whether for good."""
        handed = (HandedOver(job="build", files=files),)
        told = self.run_jobs(handed, ("one", job("find $CI_INPUT_BUILD")), **settings)
        return told.results["one:0"], told.jobs["one:0"].reason, told.end.final

    def test_a_path_that_leads_elsewhere_is_the_master_s_fault(self) -> None:
        bad = ("../x", "/etc/x", "a/../../../x", "", ".", "a/..", "x\0y", "/", "//x")
        for path in bad:
            result, reason, _ = self.ends(self.file(path))
            self.assertEqual(
                (result, reason),
                ("error", f"the master named an impossible file: {path!r}"),
            )

    def test_a_changed_byte_is_found(self) -> None:
        file = self.file("f", b"good")
        self.server.blobs[file.sha256] = b"evil"
        result, reason, _ = self.ends(file)
        self.assertEqual(result, "error")
        self.assertIn(f"the content {file.sha256} is something else", reason)
        self.assertIn("its blob folder is damaged", reason)

    def test_more_bytes_than_were_told_are_not_taken(self) -> None:
        file = self.file("f", b"good")
        self.server.blobs[file.sha256] = b"good" * (16 << 20)
        result, reason, _ = self.ends(file)
        self.assertEqual(result, "error")
        self.assertIn("is something else", reason)

    def test_a_file_that_has_vanished_is_named_and_asked_for_again(self) -> None:
        file = self.file("d/f")
        del self.server.blobs[file.sha256]
        self.assertEqual(
            self.ends(file),
            ("error", "the file d/f of build is gone; run that job again", True),
        )

    def test_files_in_each_others_way_are_told(self) -> None:
        for one, other in (("b", "b/c"), ("b/c", "b"), ("b", "b")):
            result, reason, final = self.ends(self.file(one), self.file(other, b"y"))
            self.assertEqual((result, final), ("error", True))
            self.assertIn(f"the file {other} of build is in the way of another", reason)

    def test_two_jobs_with_one_variable_are_told(self) -> None:
        handed = (HandedOver(job="a-b"), HandedOver(job="a.b"))
        told = self.run_jobs(handed, ("one", job("true")))
        self.assertEqual(told.results, {"one:0": "error"})
        self.assertIn("$CI_INPUT_A_B; rename one", told.jobs["one:0"].reason)

    def test_a_name_that_is_too_long_is_told_in_one_line(self) -> None:
        result, reason, final = self.ends(self.file("two\nlines/" + "n" * 256))
        self.assertEqual((result, final), ("error", True))
        self.assertRegex(
            reason, r"^the name of the file two\\nlines/n+\.\.\.n+ of build is"
        )
        self.assertLess(len(reason), 400)

    def test_folders_too_deep_are_told(self) -> None:
        result, reason, final = self.ends(self.file("d/" * 250 + "f"))
        self.assertEqual((result, final), ("error", True))
        self.assertIn("nested deeper than", reason)

    def test_what_the_worker_s_disk_cannot_hold_is_not_begun(self) -> None:
        huge = KeptFile(path="f", sha256="a" * 64, size=1 << 60)
        result, reason, final = self.ends(huge)
        # Somewhere else there may be room.
        self.assertEqual((result, final), ("error", False))
        self.assertRegex(
            reason,
            "^the files that other jobs hand over to it take [0-9.e+]+ GiB, and the"
            " worker's disk has .* left in .*; its operator must free some",
        )
        self.assertEqual(self.server.requests, [])
