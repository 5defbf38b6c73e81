from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import parse
from protocol.pipeline.matrix import JOB_LIMIT
from tests.protocol.pipeline.texts import error_of, only, parsed_unit, unit, valid


class MatrixTests(SynchronousTestCase):
    def test_an_item_replaces_whole_keys(self) -> None:
        jobs = valid(
            unit("environment: {A: a, B: b}", "matrix:", "- {}", "- {environment: {A: x}}")
        ).jobs["unit"]
        self.assertEqual(
            [job.environment for job in jobs], [{"A": "a", "B": "b"}, {"A": "x"}]
        )

    def test_items_may_differ_in_anything_and_have_other_plugins(self) -> None:
        jobs = valid(
            unit("matrix:", "- {plugin: tox}", "- {series: noble, architectures: arm64}")
        ).jobs["unit"]
        self.assertEqual([job.plugin for job in jobs], ["tox", None])
        self.assertEqual([job.series for job in jobs], ["jammy", "noble"])

    def test_the_default_suite_of_a_repository_is_that_of_the_item(self) -> None:
        jobs = valid(
            unit(
                "packages: [git]",
                "package-repositories: [{type: apt, ppa: alice/tools}]",
                "matrix: [{}, {series: noble}]",
            )
        ).jobs["unit"]
        suites = [job.package_repositories[0].suites for job in jobs]
        self.assertEqual(suites, [("jammy",), ("noble",)])

    def test_an_error_in_an_item_is_at_its_index_and_line(self) -> None:
        error = error_of("matrix:", "- run: x", "- run: 5")
        self.assertEqual((error.where, error.line), ("jobs.unit.1.run", 8))
        text = unit("matrix:", "- {}", "- {}").replace(b"    series: jammy\n", b"")
        lines = [(error.where, error.line) for error in parse(text).errors]
        self.assertEqual(lines, [("jobs.unit.0.series", 6), ("jobs.unit.1.series", 7)])

    def test_a_matrix_is_a_list_of_mappings(self) -> None:
        for value in ("", "{series: jammy}", "x", "[x]", "[[]]", "[~]"):
            self.assertEqual(error_of(f"matrix: {value}").where, "__root__", value)

    def test_a_matrix_has_no_matrix(self) -> None:
        error = error_of("matrix: [{matrix: [{}]}]")
        self.assertEqual(error.where, "jobs.unit.0.matrix")

    def test_an_empty_matrix_that_the_pipeline_needs_is_refused(self) -> None:
        error = error_of("matrix: []")
        self.assertEqual(error.where, "pipeline.0.0")
        jobs = valid(unit("matrix: []"), lpci_compatible=True).jobs
        self.assertEqual(jobs, {"unit": ()})

    def test_a_matrix_of_too_many_items_is_refused(self) -> None:
        parsed = parsed_unit("run: x", "matrix: [" + "{}, " * (JOB_LIMIT + 1) + "]")
        self.assertIn("expands to more than", only(parsed.errors).message)

    def test_a_matrix_that_multiplies_a_large_job_is_refused(self) -> None:
        keys = [f"pakages{n}: v" for n in range(3000)]
        parsed = parsed_unit(*keys, "matrix: [" + "{}, " * 4000 + "]")
        self.assertIn("expands to more than", only(parsed.errors).message)
        parsed = parsed_unit("run: " + "x" * 20_000, "matrix: [" + "{}, " * 30 + "]")
        self.assertIn("expand to", only(parsed.errors).message)
