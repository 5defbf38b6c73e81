from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import parse
from protocol.pipeline.references import STAGE_LIMIT
from tests.protocol.pipeline.texts import only, unit, valid


def wheel_and_test(
    pipeline: str, wheel: str, test: str = "{architectures: amd64}"
) -> bytes:
    """A job that takes the output of another."""
    return f"""\
pipeline: {pipeline}
jobs:
  wheel: &job
    series: jammy
    run: x
    <<: {wheel}
  test:
    <<: {test}
    series: jammy
    run: y
    input:
      job-name: wheel
      target-directory: in
  other: {{series: jammy, architectures: amd64, run: z}}
""".encode()


class ReferenceTests(SynchronousTestCase):
    def test_an_undefined_name_is_an_error_and_compatibly_a_warning(self) -> None:
        text = unit("run: x").replace(b"[unit]", b"[unit, ghost]")
        error = only(parse(text).errors)
        self.assertEqual((error.where, error.line), ("pipeline.1.0", 1))
        self.assertIn("undefined job ghost", error.message)
        self.assertEqual(only(parse(text, lpci_compatible=True).warnings), error)

    def test_a_name_that_is_there_twice_is_warned_of(self) -> None:
        text = unit("run: x").replace(b"[unit]", b"[unit, unit]")
        self.assertEqual(only(parse(text).warnings).where, "pipeline.1.0")

    def test_a_job_that_no_stage_names_is_warned_of(self) -> None:
        text = unit("run: x") + b"  spare: {series: jammy, architectures: amd64, run: x}\n"
        warning = only(parse(text).warnings)
        self.assertEqual((warning.where, warning.line), ("jobs.spare", 7))

    def test_an_input_of_an_earlier_job_is_fine(self) -> None:
        text = wheel_and_test("[wheel, test, other]", "{architectures: amd64}")
        self.assertEqual(parse(text).errors, ())
        self.assertEqual(parse(text).warnings, ())

    def test_an_input_that_is_not_there_in_time_is_an_error(self) -> None:
        for pipeline in ("[test, wheel, other]", "[test, other]", "[[test, wheel], other]"):
            text = wheel_and_test(pipeline, "{architectures: amd64}")
            error = only(parse(text).errors)
            self.assertEqual((error.where, error.line), ("jobs.test.0.input.job-name", 12))
            self.assertIn(error, parse(text, lpci_compatible=True).warnings)

    def test_an_input_of_itself_is_an_error(self) -> None:
        text = unit("run: x", "input: {job-name: unit, target-directory: in}")
        self.assertIn("before this job", only(parse(text).errors).message)

    def test_an_input_from_the_same_stage_is_warned_of(self) -> None:
        text = wheel_and_test("[[wheel, test], other]", "{architectures: amd64}")
        self.assertIn("same stage", only(parse(text).warnings).message)

    def test_an_input_is_ambiguous_where_its_source_runs_twice_on_one_architecture(
        self,
    ) -> None:
        twice = "{architectures: amd64, matrix: [{}, {run: z}]}"
        error = only(parse(wheel_and_test("[wheel, test, other]", twice)).errors)
        self.assertIn("ambiguous", error.message)
        self.assertIn("wheel:0, wheel:1", error.message)

    def test_an_input_of_a_matrix_with_one_job_for_each_architecture_is_fine(self) -> None:
        wheel = "{matrix: [{architectures: amd64}, {architectures: arm64}]}"
        text = wheel_and_test(
            "[wheel, test, other]", wheel, "{architectures: [amd64, arm64]}"
        )
        self.assertEqual(parse(text).errors, ())

    def test_an_input_from_one_other_architecture_is_fine_and_from_two_ambiguous(
        self,
    ) -> None:
        test = "{architectures: s390x}"
        for wheel, good in (
            ("{architectures: amd64}", True),
            ("{architectures: [amd64, arm64]}", False),
            ("{matrix: [{architectures: amd64}, {architectures: arm64}]}", False),
            ("{architectures: []}", False),
        ):
            parsed = parse(wheel_and_test("[wheel, test, other]", wheel, test))
            self.assertEqual(parsed.errors == (), good, wheel)

    def test_stages_without_end_are_refused(self) -> None:
        names = ", ".join(["unit"] * (STAGE_LIMIT + 1))
        text = unit("run: x").replace(b"[unit]", f"[{names}]".encode())
        self.assertIn("stages", only(parse(text).errors).message)

    def test_a_pipeline_that_runs_too_many_jobs_is_refused(self) -> None:
        names = ", ".join(["unit"] * 200)
        text = unit("run: x", "matrix: [" + "{}, " * 100 + "]")
        parsed = parse(text.replace(b"[unit]", f"[{names}]".encode()))
        self.assertIn("runs 20000 jobs", only(parsed.errors).message)

    def test_a_pipeline_on_too_many_architectures_is_refused(self) -> None:
        items = ", ".join(f"{{architectures: arch{n}}}" for n in range(50))
        parsed = parse(unit("run: x", f"matrix: [{items}]"))
        self.assertIn("architectures", only(parsed.errors).message)

    def test_a_large_file_that_fits_is_valid(self) -> None:
        text = unit("run: |", *["  " + "x" * 900] * 450)
        self.assertGreater(len(text), 400_000)
        self.assertEqual(len(valid(text).jobs["unit"]), 1)
