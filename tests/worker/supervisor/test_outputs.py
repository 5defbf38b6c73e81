"""Outputs and inputs of real jobs, with a real blob server."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from protocol.order import KeptFile, KeptJob, TreeSource
from protocol.pipeline.model import Input, License, Output
from protocol.results import Result
from tests.worker.supervisor.attempts import Told, job, order, passed, repository, run
from tests.worker.supervisor.blob_server import BlobServer


class OutputCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = BlobServer(self)
        self.source = repository(self, {"greeting": "hello\n"})

    def run_jobs(self, *stages: Any, **changes: Any) -> Told:
        asked = order(
            self.source,
            [[stage] for stage in stages],
            artifacts=self.server.artifacts,
            **changes,
        )
        return run(self, asked)

    def files(self, told: Told, name: str = "pack:0") -> dict[str, bytes]:
        return {file.path: self.server.blobs[file.sha256] for file in told.jobs[name].files}


class OutputTests(OutputCase):
    def failure(self, run: str, **keys: Any) -> str:
        told = self.run_jobs(("pack", job(run, output=Output(**keys))))
        self.assertEqual(told.results, {"pack:0": "failure"}, told.log())
        self.assertEqual(self.server.blobs, {})
        return told.jobs["pack:0"].reason

    def test_files_that_match_are_kept_by_their_path(self) -> None:
        makes = job(
            "mkdir -p dist/deep; echo 1 > dist/a.whl; echo 2 > dist/deep/b.whl; echo 3 > c",
            output=Output(paths=("dist/*.whl", "dist/a*")),
        )
        told = self.run_jobs(("pack", makes))
        passed(self, told)
        self.assertEqual(
            self.files(told), {"dist/a.whl": b"1\n", "dist/deep/b.whl": b"2\n"}
        )
        self.assertEqual(told.jobs["pack:0"].properties, {})
        self.assertEqual(told.jobs["pack:0"].files[0].size, 2)

    def test_files_beside_the_project_can_be_kept(self) -> None:
        makes = job("echo 1 > ../x.deb", output=Output(paths=("../*.deb",)))
        told = self.run_jobs(("pack", makes))
        passed(self, told)
        self.assertEqual(self.files(told), {"x.deb": b"1\n"})

    def test_a_pattern_without_dots_stays_in_the_project(self) -> None:
        makes = job("echo 1 > ../x; echo 2 > ~/y", output=Output(paths=("*",)))
        told = self.run_jobs(("pack", makes))
        passed(self, told)
        self.assertFalse({"x", "y", "home/y"} & set(self.files(told)))
        self.assertIn("greeting", self.files(told))

    def test_a_link_is_kept_as_the_file_it_leads_to(self) -> None:
        makes = job("ln -s greeting latest", output=Output(paths=("latest",)))
        self.assertEqual(
            self.files(self.run_jobs(("pack", makes))), {"greeting": b"hello\n"}
        )

    def test_a_pattern_that_matches_nothing_is_a_failure(self) -> None:
        self.assertIn("dist/*.whl", self.failure("true", paths=("dist/*.whl",)))

    def test_patterns_that_lead_out_are_refused(self) -> None:
        for pattern in ("../../x", "/etc/passwd", "a/../../../*"):
            self.assertIn("leads out", self.failure("true", paths=(pattern,)))

    def test_links_that_lead_out_are_refused(self) -> None:
        for target in ("/etc/passwd", "../../../../../../../../../../etc/passwd"):
            reason = self.failure(f"ln -s {target} x", paths=("x",))
            self.assertIn("x", reason)
            self.assertNotIn("root:", reason)

    def test_pipes_and_folders_behind_links_are_refused(self) -> None:
        self.failure("mkfifo x", paths=("x",))
        self.failure("mkdir d; ln -s d x", paths=("x",))
        self.failure("ln -s nowhere x", paths=("x",))

    def test_a_name_that_is_not_text_is_refused(self) -> None:
        self.assertIn("not UTF-8", self.failure("touch $'caf\\xe9'", paths=("caf*",)))

    def test_a_name_with_a_newline_is_kept(self) -> None:
        makes = job("echo 1 > $'a\\nb'", output=Output(paths=("a*",)))
        self.assertEqual(self.files(self.run_jobs(("pack", makes))), {"a\nb": b"1\n"})

    def test_two_files_that_would_be_kept_under_one_name_are_refused(self) -> None:
        makes = job("echo 1 > x; echo 2 > ../x", output=Output(paths=("x", "../x")))
        told = self.run_jobs(("pack", makes))
        self.assertIn("two outputs", told.jobs["pack:0"].reason)
        self.assertEqual(self.files(told), {"x": b"1\n"})

    def test_too_many_files_are_refused(self) -> None:
        makes = job("mkdir d; touch d/{1..5001}", output=Output(paths=("d/*",)))
        told = self.run_jobs(("pack", makes))
        self.assertEqual(told.results, {"pack:0": "failure"}, told.log())
        self.assertIn("more than 5000 files", told.jobs["pack:0"].reason)
        self.assertGreater(len(told.jobs["pack:0"].files), 1000)

    def test_files_of_one_name_in_different_folders_are_both_kept(self) -> None:
        makes = job("mkdir a b; echo 1 > a/x; echo 2 > b/x", output=Output(paths=("*/x",)))
        self.assertEqual(
            self.files(self.run_jobs(("pack", makes))), {"a/x": b"1\n", "b/x": b"2\n"}
        )

    def test_of_a_job_that_failed_there_is_kept_what_it_made(self) -> None:
        makes = job(
            "mkdir d; echo 1 > d/x; ln -s /etc/passwd d/out; ln -s d e; echo 2 > ../y\n"
            "exit 3",
            output=Output(
                paths=("*.xml", "../../*", "d/*", "e", "../y"), properties={"a": 1}
            ),
        )
        told = self.run_jobs(("pack", makes), license=License(spdx="MIT"))
        self.assertEqual(self.files(told), {"d/x": b"1\n", "y": b"2\n"})
        ended = told.jobs["pack:0"]
        self.assertIsNone(ended.properties)
        self.assertEqual(
            (ended.result, ended.exit_status, ended.reason),
            (Result.FAILURE, 3, "`run` ended with exit status 3"),
        )

    def test_a_job_whose_output_is_incomplete_leaves_the_rest(self) -> None:
        makes = job("echo 1 > x", output=Output(paths=("x", "y")))
        told = self.run_jobs(("pack", makes))
        self.assertEqual(told.results, {"pack:0": "failure"})
        self.assertEqual(self.files(told), {"x": b"1\n"})

    def test_what_a_failed_job_made_is_no_input(self) -> None:
        makes = job("echo 1 > x; exit 1", output=Output(paths=("x",)))
        wants = job("true", input=Input(job_name="pack", target_directory="in"))
        asked = order(
            self.source,
            [[("pack", makes), ("test", wants)]],
            artifacts=self.server.artifacts,
        )
        told = run(self, asked)
        self.assertEqual(told.results, {"pack:0": "failure", "test:0": "malformed"})

    def test_a_failure_stays_one_though_nothing_of_it_can_be_kept(self) -> None:
        self.server.failures = [403]
        makes = job("echo 1 > x; exit 1", output=Output(paths=("x",)))
        told = self.run_jobs(("pack", makes))
        self.assertEqual(told.results, {"pack:0": "failure"})
        self.assertIn("could not be kept", told.log())

    def test_properties_are_static_then_dynamic_then_the_licence(self) -> None:
        makes = job(
            "echo version=2 > facts; echo gone >> facts",
            output=Output(
                properties={"version": 1, "gone": True, "x": [1]},
                dynamic_properties="facts",
            ),
        )
        told = self.run_jobs(("pack", makes), license=License(path="COPYING"))
        self.assertEqual(
            told.jobs["pack:0"].properties,
            {"version": "2", "x": [1], "license": {"spdx": None, "path": "COPYING"}},
        )

    def test_dynamic_properties_must_be_in_the_project(self) -> None:
        for path in ("../x", "/etc/hostname", "link", "gone"):
            reason = self.failure("touch ../x; ln -s ../x link", dynamic_properties=path)
            self.assertIn(f"names {path}, but the project has no such file", reason)

    def test_a_master_that_is_down_for_good_is_no_failure_of_the_job(self) -> None:
        self.server.failures = [403]
        makes = job("echo 1 > x", output=Output(paths=("x",)))
        told = self.run_jobs(("pack", makes))
        self.assertEqual(told.results, {"pack:0": "error"})


MAKES = job(
    "mkdir d; echo wheel > d/x.whl",
    output=Output(paths=("d/*",), properties={"version": "3"}),
)


class InputTests(OutputCase):
    def wants(self, target: str = "in", run: str = "find in -type f | sort") -> Any:
        return job(run, input=Input(job_name="pack", target_directory=target))

    def test_an_earlier_jobs_output_lies_in_the_target(self) -> None:
        told = self.run_jobs(
            ("pack", MAKES),
            ("test", self.wants(run="cat in/files/d/x.whl; cat in/properties")),
        )
        passed(self, told)
        self.assertIn('\nwheel\n{"version":"3"}', told.log("test"))

    def test_output_of_an_earlier_attempt_is_fetched(self) -> None:
        digest = self.server.keep(b"wheel\n")
        kept = KeptJob(
            name="pack",
            index=0,
            properties={"version": "3"},
            files=(KeptFile(path="d/x.whl", sha256=digest, size=6),),
        )
        told = self.run_jobs(
            ("pack", MAKES), ("test", self.wants(run="cat in/files/d/x.whl")), kept=(kept,)
        )
        passed(self, told)
        self.assertIn("\nwheel\n", told.log("test"))
        self.assertEqual(list(told.jobs), ["test:0"])

    def test_a_kept_file_with_an_impossible_path_is_refused(self) -> None:
        digest = self.server.keep(b"x")
        for path in ("../../x", "/tmp/x"):
            kept = KeptJob(
                name="pack",
                index=0,
                properties={},
                files=(KeptFile(path=path, sha256=digest, size=1),),
            )
            told = self.run_jobs(("pack", MAKES), ("test", self.wants()), kept=(kept,))
            self.assertEqual(told.results, {"test:0": "error"})

    def test_an_output_that_is_not_there_is_malformed(self) -> None:
        told = self.run_jobs(("pack", job("true")), ("test", self.wants()))
        self.assertEqual(told.results["test:0"], "malformed")
        self.assertIn("`input` names pack", told.jobs["test:0"].reason)

    def test_an_output_of_several_jobs_is_malformed(self) -> None:
        told = self.run_jobs(("pack", MAKES), ("pack", MAKES), ("test", self.wants()))
        self.assertEqual(told.results["test:0"], "malformed")
        self.assertIn("not clear which", told.jobs["test:0"].reason)

    def test_a_target_outside_the_project_is_malformed(self) -> None:
        for target in ("../out", "/tmp/out", "a/../../out"):
            told = self.run_jobs(("pack", MAKES), ("test", self.wants(target)))
            self.assertEqual(told.results["test:0"], "malformed", target)

    def test_a_target_behind_a_link_of_the_source_is_malformed(self) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            link = tarfile.TarInfo("way")
            link.type = tarfile.SYMTYPE
            link.linkname = "/tmp"
            tar.addfile(link)
        content = archive.getvalue()
        digest = self.server.keep(content)
        self.source = TreeSource(  # type: ignore[assignment]
            url=f"{self.server.url}/{digest}", sha256=digest, size=len(content)
        )
        told = self.run_jobs(("pack", MAKES), ("test", self.wants("way/x")))
        self.assertEqual(told.results["test:0"], "malformed", told.log())


class TreeTests(OutputCase):
    def tree(self, content: bytes, **changes: Any) -> Told:
        digest = self.server.keep(content)
        fields = {"url": f"{self.server.url}/{digest}", "sha256": digest}
        source = TreeSource(**{**fields, "size": len(content), **changes})
        asked = order(
            source, [[("unit", job("cat greeting"))]], artifacts=self.server.artifacts
        )
        return run(self, asked)

    def test_a_tree_that_was_sent_is_the_project(self) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            info = tarfile.TarInfo("greeting")
            info.size = 6
            tar.addfile(info, io.BytesIO(b"hello\n"))
        told = self.tree(out.getvalue())
        passed(self, told)
        self.assertIn("\nhello\n", told.log("unit"))

    def test_a_tree_that_the_farm_lost_is_an_error_for_good(self) -> None:
        told = self.tree(b"x", url=f"{self.server.url}/{'0' * 64}", sha256="0" * 64)
        self.assertEqual((told.end.result, told.end.final), (Result.ERROR, True))
        self.assertEqual(told.results, {"unit:0": "unrun"})

    def test_a_tree_that_is_no_archive_is_malformed(self) -> None:
        told = self.tree(b"rubbish")
        self.assertEqual(told.end.result, Result.MALFORMED)

    def test_the_token_stands_in_no_log(self) -> None:
        told = self.tree(b"rubbish")
        text = msgspec.json.encode([told.end.reason, told.log()])
        self.assertNotIn(self.server.artifacts.token.encode(), text)
