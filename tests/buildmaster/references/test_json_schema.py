from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.references import json_schema
from buildmaster.references.job_keys import ALL_KEYS, OWN_KEYS
from buildmaster.references.reading import parse
from protocol.pipeline.job import KEYS
from tests.buildmaster.references.files import MONOREPO, NOTE, NOTE_PACKAGES
from tests.buildmaster.references.test_laws import files
from tests.laws import law

SCHEMA = json_schema.schema()


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether ``value`` is as ``schema`` says, as far as ours go."""
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]])
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, one) for one in types):
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, int) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            return False
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            return False
        return all(fits(one, schema.get("items", {})) for one in value)
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        if any(key not in value for key in schema.get("required", ())):
            return False
        return all(
            fits(one, known[key])
            if key in known
            else more is not False
            and fits(key, schema.get("propertyNames", {}))
            and fits(one, more)
            for key, one in value.items()
        )
    return True


def _is(value: Any, name: str) -> bool:
    kinds: dict[str, Any] = {
        "string": str, "boolean": bool, "object": dict, "array": list, "integer": int,
        "number": (int, float), "null": type(None),
    }  # fmt: skip
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, kinds[name])


class SchemaTests(SynchronousTestCase):
    def test_it_has_every_key_that_the_reader_has_and_no_other(self) -> None:
        self.assertEqual(set(SCHEMA["$defs"]["job"]["properties"]), ALL_KEYS)
        self.assertEqual(set(json_schema.OWN), OWN_KEYS)
        self.assertEqual(set(json_schema.RUNS), KEYS)

    def test_the_files_of_the_note_fit(self) -> None:
        for text in (NOTE, NOTE_PACKAGES, MONOREPO):
            self.assertTrue(fits(yaml.safe_load(text), SCHEMA), text)

    def test_slips_do_not(self) -> None:
        for text in (
            "jobs: {aa: {need: [x]}}",
            "jobs: {aa: {scope: toop}}",
            "jobs: {aa: {needs: [{require: good}]}}",
            "jobs: {aa: {retry: 1000}}",
            "packages: {A: {path: []}}",
            "defaults: {identifier: x}\njobs: {}",
            "pipeline: []",
        ):
            self.assertFalse(fits(yaml.safe_load(text), SCHEMA), text)
            self.assertIsNone(parse(text.encode()).references, text)

    @law
    @given(files())
    def test_what_the_reader_takes_fits(self, file: dict[str, Any]) -> None:
        self.assertTrue(fits(file, SCHEMA))

    @law
    @given(st.sampled_from(sorted(ALL_KEYS)), st.sampled_from([None, True, 5, "x", [], {}]))
    def test_a_value_that_the_reader_takes_fits(self, key: str, value: Any) -> None:
        file = {"jobs": {"aa": {"run": "x", key: value}}}
        if (
            parse(yaml.safe_dump(file).encode()).references is not None
            and value is not None
        ):
            self.assertTrue(fits(file, SCHEMA), file)
