from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import parse
from protocol.pipeline.job import ARCHITECTURE_LIMIT
from tests.protocol.pipeline.texts import (
    FIRST_LINE,
    error_of,
    only,
    parsed_unit,
    unit,
    valid_unit,
)


class JobTests(SynchronousTestCase):
    def test_every_key_is_read(self) -> None:
        job = valid_unit(
            "run-before: a",
            "run: b",
            "run-after: c",
            "environment: {A: x, B: }",
            "packages: [git]",
            "root: false",
        )
        self.assertEqual((job.series, job.architectures), ("jammy", ("amd64",)))
        self.assertEqual((job.run_before, job.run, job.run_after), ("a", "b", "c"))
        self.assertEqual(job.environment, {"A": "x", "B": None})
        self.assertEqual((job.packages, job.root), (("git",), False))

    def test_text_is_never_made_of_something_else(self) -> None:
        for key in ("run", "run-before", "run-after"):
            for value in ("5", "true", "1.5", "[a]", "{a: b}", "2024-01-01"):
                error = error_of(f"{key}: {value}")
                self.assertEqual((error.where, error.line), (f"jobs.unit.0.{key}", 6))

    def test_nothing_is_as_good_as_no_key_where_the_reference_says_so(self) -> None:
        job = valid_unit("run:", "environment:", "packages:", "output:", "input:")
        self.assertEqual(
            (job.run, job.environment, job.packages, job.output, job.input), (None,) * 5
        )
        for key in ("root", "snaps", "package-repositories", "plugin", "matrix"):
            self.assertEqual(len(parsed_unit(f"{key}:").errors), 1, key)

    def test_a_list_of_architectures_makes_one_job(self) -> None:
        text = unit().replace(b"architectures: amd64", b"architectures: [amd64, arm64]")
        parsed = parse(text)
        assert parsed.pipeline is not None
        [job] = parsed.pipeline.jobs["unit"]
        self.assertEqual(job.architectures, ("amd64", "arm64"))

    def test_architectures_without_end_are_refused(self) -> None:
        names = ", ".join(f"arch{n}" for n in range(ARCHITECTURE_LIMIT + 1))
        text = unit("run: x").replace(b"amd64", f"[{names}]".encode())
        self.assertEqual(only(parse(text).errors).where, "jobs.unit.0.architectures")

    def test_a_job_on_no_architecture_is_warned_of(self) -> None:
        parsed = parse(unit("run: x").replace(b"amd64", b"[]"))
        self.assertEqual(only(parsed.warnings).where, "jobs.unit.0.architectures")

    def test_a_missing_key_is_told_at_the_line_of_the_job(self) -> None:
        text = b"pipeline: [unit]\njobs:\n  unit:\n    run: x\n    architectures: amd64\n"
        error = only(parse(text).errors)
        self.assertEqual((error.where, error.line), ("jobs.unit.0.series", 3))

    def test_a_job_without_a_command_is_warned_of(self) -> None:
        for lines, warned in (
            ((), True),
            (("run: x",), False),
            (("plugin: tox",), False),
            (("plugin: conda-build",), False),
            (("plugin: miniconda",), True),
            (("plugin: golang", 'golang-version: "1.21"'), True),
        ):
            self.assertEqual(bool(parsed_unit(*lines).warnings), warned, lines)

    def test_repositories_of_a_job_that_installs_nothing_are_warned_of(self) -> None:
        lines = ("run: x", "package-repositories: [{type: apt, ppa: alice/tools}]")
        warning = only(parsed_unit(*lines).warnings)
        self.assertEqual(warning.where, "jobs.unit.0.package-repositories")
        self.assertEqual(parsed_unit(*lines, "packages: [git]").warnings, ())

    def test_what_a_matrix_shares_is_told_for_each_of_its_jobs(self) -> None:
        parsed = parsed_unit("run: 5", "matrix:", "- {}", "- {}")
        self.assertEqual(
            [(error.where, error.line) for error in parsed.errors],
            [("jobs.unit.0.run", FIRST_LINE), ("jobs.unit.1.run", FIRST_LINE)],
        )
