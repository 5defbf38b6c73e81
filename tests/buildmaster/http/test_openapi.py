"""The OpenAPI document is about every address there is, and holds together."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.http.openapi import PATH, WRITINGS, openapi
from buildmaster.http.scopes import NEEDS
from buildmaster.status.methods import METHODS

#: For operators at a terminal; and itself.
_LEFT_OUT = {
    ("GET", PATH),
    ("GET", "/api/v1/books"),
    ("GET", "/api/v1/me"),
    ("GET", "/api/v1/jobs/{job}/order"),
    # For the test kit, and for services that sign what they send.
    ("GET", "/api/v1/workflows/{workflow}/export"),
    ("POST", "/api/v1/hooks/{hook}"),
}


class OpenApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.document: Any = json.loads(json.dumps(openapi()))

    def test_it_is_about_every_address_of_the_interface_and_no_other(self) -> None:
        told = {
            (method.upper(), path)
            for path, operations in self.document["paths"].items()
            for method in operations
        }
        there = {each for each in NEEDS if each[1].startswith("/api/v1/")}
        self.assertEqual(told, there - _LEFT_OUT)

    def test_no_two_operations_have_one_name(self) -> None:
        names = [
            operation["operationId"]
            for operations in self.document["paths"].values()
            for operation in operations.values()
        ]
        self.assertEqual(sorted(names), sorted(set(names)))

    def test_whatever_it_refers_to_is_in_it(self) -> None:
        text = json.dumps(self.document)
        named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
        self.assertEqual(named - set(self.document["components"]["schemas"]), set())
        for name in self.document["components"]["schemas"]:
            self.assertRegex(name, r"^[A-Z][A-Za-z]+$")

    def test_no_two_types_have_one_name(self) -> None:
        schemas = self.document["components"]["schemas"]
        for method in METHODS.values():
            _, own = msgspec.json.schema_components(
                [method.document], ref_template="#/components/schemas/{name}"
            )
            for name, schema in own.items():
                told = schemas[name].get("properties", {}).keys()
                self.assertEqual(told, schema.get("properties", {}).keys(), name)

    def test_patterns_are_those_that_other_languages_know(self) -> None:
        self.assertNotIn("\\\\Z", json.dumps(self.document))

    def test_parts_of_paths_are_parameters(self) -> None:
        for path, operations in self.document["paths"].items():
            for operation in operations.values():
                parts = {
                    each["name"] for each in operation["parameters"] if each["in"] == "path"
                }
                self.assertEqual(parts, set(re.findall(r"{(\w+)}", path)), path)

    def test_each_change_says_what_it_needs_and_how_it_may_end(self) -> None:
        for writing in WRITINGS:
            operation = self.document["paths"][writing.path]["post"]
            self.assertIn("Needs a token with the scope", operation["description"])
            self.assertEqual(operation["security"], [{"token": []}])
            self.assertLessEqual(
                {"400", "401", "403", "415", "422", "503"}, set(operation["responses"])
            )
            self.assertEqual("requestBody" in operation, bool(writing.bodies))
