from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import parse
from tests.protocol.pipeline.texts import error_of, only, parsed_unit, unit, valid_unit


class EnvironmentTests(SynchronousTestCase):
    def test_numbers_and_truth_values_become_text(self) -> None:
        job = valid_unit('environment: {A: 1, B: 0.5, C: true, D: "on", E: }')
        self.assertEqual(
            job.environment, {"A": "1", "B": "0.5", "C": "True", "D": "on", "E": None}
        )

    def test_what_changes_on_the_way_is_warned_of(self) -> None:
        for entry in ("A: 3.10", "A: on", "A: 0777", "A: 1_000", "ON: x"):
            parsed = parsed_unit("run: x", f"environment: {{{entry}}}")
            self.assertIn("unquoted", only(parsed.warnings).message, entry)
        self.assertEqual(parsed_unit("run: x", "environment: {A: 1}").warnings, ())

    def test_lists_mappings_and_dates_are_refused(self) -> None:
        for value in ("[a]", "{a: b}", "2024-01-01"):
            error = error_of(f"environment: {{A: {value}}}")
            self.assertEqual(error.where, "jobs.unit.0.environment.A")
        for value in ("[a]", "A=x"):
            error = error_of(f"environment: {value}")
            self.assertEqual(error.where, "jobs.unit.0.environment")

    def test_names_that_no_variable_can_have_are_refused(self) -> None:
        for name in ('"A=B"', '""'):
            text = unit("run: x", f"environment: {{{name}: x}}")
            error = only(parse(text).errors)
            self.assertEqual(only(parse(text, lpci_compatible=True).warnings), error)
        self.assertEqual(
            error_of("environment: {~: x}").where, "jobs.unit.0.environment.__key__"
        )

    def test_two_keys_that_become_one_variable_are_refused(self) -> None:
        error = error_of('environment: {1: a, "1": b}')
        self.assertIn("twice", error.message)
