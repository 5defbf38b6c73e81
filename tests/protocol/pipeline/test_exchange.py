from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import parse
from protocol.pipeline.model import Output
from tests.protocol.pipeline.texts import error_of, only, parsed_unit, unit, valid_unit


class OutputTests(SynchronousTestCase):
    def test_all_keys_are_read(self) -> None:
        output = valid_unit(
            "output:",
            "  paths: ['*.whl', ../*.deb]",
            "  distribute: artifactory",
            "  channels: [edge]",
            "  properties: {a: {b: [1, 2.5, true, null, x]}}",
            "  dynamic-properties: out/properties",
        ).output
        self.assertEqual(
            output,
            Output(
                paths=("*.whl", "../*.deb"),
                distribute="artifactory",
                channels=("edge",),
                properties={"a": {"b": [1, 2.5, True, None, "x"]}},
                dynamic_properties="out/properties",
            ),
        )

    def test_wrong_values_are_told_where_they_are(self) -> None:
        for value, where in (
            ("[a]", ""),
            ("{path: a}", ".path"),
            ("{paths: a}", ".paths"),
            ("{paths: [1]}", ".paths.0"),
            ("{distribute: x}", ".distribute"),
            ("{channels: edge}", ".channels"),
            ("{properties: [a]}", ".properties"),
            ("{properties: {1: a}}", ".properties.__key__"),
            ("{properties: {a: {1: b}}}", ".properties.a.__key__"),
            ("{properties: {a: [b, 2024-01-01]}}", ".properties.a.1"),
            ("{properties: {a: .nan}}", ".properties.a"),
            ("{properties: {a: 0x10000000000000000}}", ".properties.a"),
            ("{expires: }", ".expires"),
        ):
            error = error_of(f"output: {value}")
            self.assertEqual(error.where, f"jobs.unit.0.output{where}")

    def test_paths_that_lead_out_are_errors_and_compatibly_warnings(self) -> None:
        for path in (
            "../../x",
            "a/../../../x",
            "/etc/passwd",
            "..",
            "../..",
            "*/../../../x",
            "",
        ):
            text = unit("run: x", f"output: {{paths: ['{path}']}}")
            error = only(parse(text).errors)
            self.assertEqual(error.where, "jobs.unit.0.output.paths.0", path)
            self.assertEqual(only(parse(text, lpci_compatible=True).warnings), error)
        for path in ("../x", "a/../../x", "*", "...", "..a", "../*.deb", "a//b"):
            parsed_ok = parsed_unit("run: x", f"output: {{paths: ['{path}']}}")
            self.assertEqual(parsed_ok.errors, (), path)

    def test_dynamic_properties_stay_in_the_project(self) -> None:
        for path in ("../x", "/x", "a/../../x"):
            error = error_of(f"output: {{dynamic-properties: {path}}}")
            self.assertEqual(error.where, "jobs.unit.0.output.dynamic-properties")


class InputTests(SynchronousTestCase):
    def test_both_keys_are_needed_and_no_others(self) -> None:
        for value, where in (
            ("{target-directory: in}", ".job-name"),
            ("{job-name: ab}", ".target-directory"),
            ("{job-name: 5, target-directory: in}", ".job-name"),
            ("{job-name: , target-directory: in}", ".job-name"),
            ("x", ""),
            ("[{job-name: ab, target-directory: in}]", ".target-directory"),
        ):
            error = error_of(f"input: {value}")
            self.assertEqual(error.where, f"jobs.unit.0.input{where}")

    def test_the_target_stays_in_the_project(self) -> None:
        for target in ("../x", "/x", "..", '""'):
            parsed = parsed_unit(f"input: {{job-name: ab, target-directory: {target}}}")
            wheres = [error.where for error in parsed.errors]
            self.assertIn("jobs.unit.0.input.target-directory", wheres)
