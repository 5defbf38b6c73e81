from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import parse
from protocol.pipeline.model import License
from protocol.pipeline.problems import PROBLEM_LIMIT
from tests.protocol.pipeline.texts import FIRST_LINE, error_of, only, unit, valid

MANY_SLIPS = b"""\
pipeline:
  - [lint, unit]
  - publsh
jobs:
  lint:
    series: 22.04
    architectures: amd64
    run: [a]
  unit:
    architectures: amd64
    pakages: [git]
  publish:
    series: jammy
    architectures: amd64
    output:
      paths: [/etc/passwd]
stages: []
"""


class ConfigurationTests(SynchronousTestCase):
    def test_all_errors_are_told_at_once_with_place_and_line(self) -> None:
        errors = {(error.where, error.line) for error in parse(MANY_SLIPS).errors}
        self.assertEqual(
            errors,
            {
                ("pipeline.1.0", 3),
                ("jobs.lint.0.series", 6),
                ("jobs.lint.0.run", 8),
                ("jobs.unit.0.series", 9),
                ("jobs.unit.0.pakages", 11),
                ("jobs.publish.0.output.paths.0", 16),
                ("stages", 17),
            },
        )

    def test_errors_are_in_the_order_of_the_file(self) -> None:
        lines = [error.line or 0 for error in parse(MANY_SLIPS).errors]
        self.assertEqual(lines, sorted(lines))

    def test_a_slip_is_answered_with_what_was_probably_meant(self) -> None:
        messages = {error.where: error.message for error in parse(MANY_SLIPS).errors}
        self.assertIn("did you mean publish?", messages["pipeline.1.0"])
        self.assertIn("did you mean packages?", messages["jobs.unit.0.pakages"])
        self.assertIn('quote it: "22.04"', messages["jobs.lint.0.series"])
        self.assertIn("did you mean run-before?", error_of("run_before: x").message)

    def test_a_file_that_is_no_mapping_is_refused(self) -> None:
        for text in (b"", b"[]", b"just text", b"- pipeline\n- jobs", b"5", b"\x00"):
            error = only(parse(text).errors)
            self.assertEqual(error.where, "")
            self.assertIsNone(parse(text).pipeline)

    def test_both_required_keys_are_missed(self) -> None:
        wheres = {error.where for error in parse(b"license: {}").errors}
        self.assertEqual(wheres, {"pipeline", "jobs"})

    def test_jobs_must_be_a_mapping_of_mappings(self) -> None:
        for value in ("", "[]", "x"):
            error = only(parse(f"pipeline: [unit]\njobs: {value}\n".encode()).errors)
            self.assertEqual((error.where, error.line), ("jobs", 2))
        for value in ("", "[]", "x"):
            text = f"pipeline: [unit]\njobs:\n  unit: {value}\n".encode()
            error = only(parse(text).errors)
            self.assertEqual((error.where, error.line), ("__root__", 3))
            self.assertIn("unit", error.message)

    def test_a_pipeline_as_text_is_an_error_for_each_character(self) -> None:
        errors = parse(b"pipeline: unit\njobs: {}\n").errors
        self.assertEqual([e.where for e in errors], [f"pipeline.{n}.0" for n in range(4)])

    def test_a_stage_is_a_name_or_a_list_of_names(self) -> None:
        for value in ("{a: b}", "[[lint]]", "1", "[1]", "[~]", "[{a: b}]"):
            text = f"pipeline: [{value}]\njobs: {{}}\n".encode()
            self.assertTrue(parse(text).errors[0].where.startswith("pipeline.0"), value)

    def test_names_are_identifiers(self) -> None:
        long = parse(f"pipeline: [{'a' * 201}]\njobs: {{}}\n".encode())
        self.assertIn("200 characters", long.errors[0].message)
        for name in ("a", "Unit", "-unit", "un it", "un/it", "..", "ünit", "a" * 201):
            text = f'pipeline: ["{name}"]\njobs: {{}}\n'.encode()
            self.assertEqual(parse(text).errors[0].where, "pipeline.0.0", name)
        self.assertEqual(valid(unit().replace(b"unit", b"0a+._-")).stages, (("0a+._-",),))

    def test_a_key_given_twice_is_an_error_with_its_place(self) -> None:
        error = error_of("run: one", "run: two")
        self.assertEqual((error.where, error.line), ("jobs.unit.0.run", FIRST_LINE + 1))
        self.assertIn(f"line {FIRST_LINE}", error.message)
        inside = error_of("run: x", "matrix:", "- {}", "- {root: true, root: false}")
        self.assertEqual(inside.where, "jobs.unit.1.root")

    def test_a_job_given_twice_is_an_error(self) -> None:
        text = unit("run: x") + b"  unit: {series: jammy, architectures: amd64, run: y}\n"
        self.assertEqual(only(parse(text).errors).where, "jobs.unit")
        jobs = valid(text, lpci_compatible=True).jobs
        self.assertEqual(jobs["unit"][0].run, "y")

    def test_a_license_names_its_identifier_or_its_text(self) -> None:
        self.assertEqual(
            valid(unit() + b"license: {spdx: MIT}\n").license, License(spdx="MIT")
        )
        self.assertEqual(valid(unit() + b"license:\n").license, None)
        self.assertEqual(valid(unit() + b"license: {}\n").license, License())
        for value, where in (
            ("{spdx: MIT, path: COPYING}", "license.__root__"),
            ("{spdx: 5}", "license.spdx"),
            ("{name: MIT}", "license.name"),
            ("MIT", "license"),
        ):
            text = unit() + f"license: {value}\n".encode()
            self.assertEqual(only(parse(text).errors).where, where)

    def test_errors_without_end_are_cut_off(self) -> None:
        text = unit("packages: [" + "1, " * (PROBLEM_LIMIT * 2) + "]")
        errors = parse(text).errors
        self.assertEqual(len(errors), PROBLEM_LIMIT + 1)
        self.assertIn("more than", errors[-1].message)

    def test_a_file_whose_only_slips_are_unknown_keys_still_has_a_draft(self) -> None:
        parsed = parse(unit("run: x", "bogus: 1", "output: {bogus: 2}"))
        self.assertIsNone(parsed.pipeline)
        self.assertEqual(len(parsed.errors), 2)
        assert parsed.draft is not None
        self.assertEqual(parsed.draft.jobs["unit"][0].run, "x")
        self.assertIsNone(parse(unit("run: 5", "bogus: 1")).draft)

    def test_the_lines_of_what_a_plan_speaks_of_are_known(self) -> None:
        lines = parse(MANY_SLIPS).lines
        self.assertEqual((lines["pipeline"], lines["pipeline.0"]), (1, 2))
        self.assertEqual((lines["pipeline.1"], lines["pipeline.1.0"]), (3, 3))
        text = unit("run: x", "input:", "  job-name: unit", "  target-directory: in")
        line = text.decode().splitlines().index("      job-name: unit") + 1
        self.assertEqual(parse(text).lines["jobs.unit.0.input.job-name"], line)

    def test_inputs_are_judged_beside_other_errors(self) -> None:
        text = unit("run: 5", "input: {job-name: nowhere, target-directory: in}")
        other = b"  other: {series: jammy, architectures: amd64, run: x,"
        other += b" input: {job-name: unitt, target-directory: in}}\n"
        wheres = [error.where for error in parse(text + other).errors]
        self.assertEqual(wheres, ["jobs.unit.0.run", "jobs.other.0.input.job-name"])

    def test_messages_and_places_of_hostile_names_are_short_and_printable(self) -> None:
        text = unit('"\\e[2J' + "x" * 5000 + '": 1')
        error = only(parse(text).errors)
        self.assertTrue(error.message.isprintable())
        self.assertLess(len(error.message) + len(error.where), 500)
