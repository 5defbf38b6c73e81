"""The reader agrees with what the reference implementation makes of the same text."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.configuration import Parsed, parse
from protocol.pipeline.expanded import expanded
from tests import vectors

#: What the reference accepts and we do not, because it cannot work.
REFUSED_BY_US = {
    "document-duplicate-keys-last-wins",  # a slip that hides half of what was written
    "pipeline-job-undefined-ok-at-parse",
    "input-undefined-job-ok-at-parse",
    "input-full",  # of a job that is not defined, either
    "pipeline-name-starts-digit",  # names a job that is not defined
    "pipeline-name-trailing-newline",  # a slip of the reference's pattern
    "plugin-config-key-direct",  # an internal field
    "output-paths-escape-ok-at-parse",  # refused when the files are collected
}
#: What both refuse, and where we name an undefined job at the same time.
UNDEFINED_AS_WELL = {"jobs-integer-key", "input-unknown-key"}


class VectorTests(SynchronousTestCase):
    def test_lpci_compatible_agrees_in_full(self) -> None:
        for case in vectors.cases(self, "lpci_config.json"):
            parsed = parse(case["config"].encode(), lpci_compatible=True)
            self.assertEqual(parsed.pipeline is not None, case["valid"], case["name"])
            self._compare(case, parsed)

    def test_else_only_what_cannot_work_is_refused_as_well(self) -> None:
        refused = set()
        for case in vectors.cases(self, "lpci_config.json"):
            parsed = parse(case["config"].encode())
            if case["valid"] and parsed.pipeline is None:
                refused.add(case["name"])
            elif case["name"] in UNDEFINED_AS_WELL:
                wheres = {error.where for error in parsed.errors}
                self.assertEqual(len(wheres), 2)
                self.assertTrue(wheres >= set(case["error"]["where"]))
            else:
                self.assertEqual(parsed.pipeline is not None, case["valid"], case["name"])
                self._compare(case, parsed)
        self.assertEqual(refused, REFUSED_BY_US)

    def test_what_it_refuses_in_addition_it_warns_of_when_compatible(self) -> None:
        for case in vectors.cases(self, "lpci_config.json"):
            if case["name"] in REFUSED_BY_US - {"plugin-config-key-direct"}:
                strict = parse(case["config"].encode())
                lenient = parse(case["config"].encode(), lpci_compatible=True)
                self.assertTrue(set(strict.errors) <= set(lenient.warnings), case["name"])

    def test_every_error_has_a_line_and_a_sentence(self) -> None:
        for case in vectors.cases(self, "lpci_config.json"):
            for error in parse(case["config"].encode()).errors:
                self.assertIsNotNone(error.line, case["name"])
                self.assertGreater(len(error.message.split()), 2, case["name"])

    def test_configurations_of_real_projects_are_valid(self) -> None:
        for name, text in vectors.real_configurations(self).items():
            self.assertEqual(parse(text).errors, (), name)

    def _compare(self, case: dict[str, Any], parsed: Parsed) -> None:
        if parsed.pipeline is not None:
            document = json.loads(json.dumps(expanded(parsed.pipeline)))
            self.assertEqual(document, case["expected"], case["name"])
        elif case["error"]["where"]:
            self.assertEqual(
                sorted(error.where for error in parsed.errors),
                sorted(case["error"]["where"]),
                case["name"],
            )
