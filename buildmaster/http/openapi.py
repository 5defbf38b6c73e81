"""The OpenAPI document of what can be read, made from the table of `IStatus`."""

from __future__ import annotations

from typing import Any

import msgspec

from buildmaster.grants import Scope
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.status.asking import entry_fields
from buildmaster.status.methods import METHODS, Method
from buildmaster.status.problems import ProblemDocument

#: The path of the document itself.
PATH = "/api/v1/openapi.json"

_REF = "#/components/schemas/{name}"
_PROBLEM = {
    "content": {
        "application/problem+json": {
            "schema": {"$ref": _REF.format(name="ProblemDocument")}
        }
    }
}
#: What may come instead of the document, at every address.
_REFUSALS = {
    "400": "A parameter makes no sense, or the Host header is not one.",
    "401": "Reading needs a token here, or the token that was sent is not known.",
    "403": "The token does not reach so far, or the Host header names another farm.",
    "404": "There is no such thing.",
    "405": "This address does not take the method.",
    "503": "The farm cannot now: its database is away, or took too long. Come again.",
}


def openapi() -> dict[str, Any]:
    """The document, as JSON-like values."""
    types = [method.document for method in METHODS.values()]
    _, schemas = msgspec.json.schema_components(
        [*types, ProblemDocument], ref_template=_REF
    )
    for method in METHODS.values():
        if any(field.name == "fields" for field in method.fields):
            _loosen(schemas, method.document.__name__)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The status of a Headrace farm",
            "version": "1",
            "description": "What can be read of a farm. Errors are problem documents.",
        },
        "paths": {method.path: {"get": _operation(method)} for method in METHODS.values()},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _loosen(schemas: dict[str, Any], page: str) -> None:
    """Let the entries of a page lack fields, which its reader may have left out."""
    for schema in schemas[page]["properties"].values():
        entry = schema.get("items", {}).get("$ref", "").rpartition("/")[2]
        if entry:
            some = f"Some{entry}"
            loose = {**schemas[entry], "title": some}
            loose["description"] += " Without the fields that were not asked for."
            del loose["required"]
            schemas[some] = loose
            schema["items"] = {"$ref": _REF.format(name=some)}


class OpenApi:
    """Answers GET /api/v1/openapi.json."""

    def __init__(self) -> None:
        self._document = msgspec.json.encode(openapi())

    async def get(self, call: Call) -> Answer:
        """The document."""
        call.query.allow()
        return Answer(body=self._document, has_etag=True)


def _operation(method: Method) -> dict[str, Any]:
    anybody: list[dict[str, list[str]]] = [{}] if method.scope is Scope.READ else []
    return {
        "operationId": method.name,
        "summary": method.summary,
        "description": method.meaning,
        "parameters": _parameters(method),
        "security": [*anybody, {"token": []}],
        "responses": {
            "200": {
                "description": method.summary,
                "headers": {"ETag": {"schema": {"type": "string"}}},
                "content": {
                    "application/json": {
                        "schema": {"$ref": _REF.format(name=method.document.__name__)}
                    }
                },
            },
            "304": {"description": "Nothing changed since the ETag in If-None-Match."},
            **{
                status: {"description": what, **_PROBLEM}
                for status, what in _REFUSALS.items()
            },
        },
    }


def _parameters(method: Method) -> list[dict[str, Any]]:
    _, schemas = msgspec.json.schema_components([method.question], ref_template=_REF)
    properties = schemas[method.question.__name__]["properties"]
    return [_parameter(name, schema, method) for name, schema in properties.items()]


def _parameter(name: str, schema: dict[str, Any], method: Method) -> dict[str, Any]:
    schema = _without_null(dict(schema))
    is_part = name in method.in_path
    told: dict[str, Any] = {
        "name": name,
        "in": "path" if is_part else "query",
        "required": is_part,
        "schema": schema,
    }
    if "description" in schema:
        told["description"] = schema.pop("description")
    if schema.get("type") == "array":
        # Written with commas: state=ready,running
        told |= {"style": "form", "explode": False}
        if name == "fields":
            schema["items"] = {"enum": list(entry_fields(method.document))}
    return told


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is left out is not given as null."""
    if schema.get("default", 0) is None:
        del schema["default"]
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) == 1:
        del schema["anyOf"]
        schema |= choices[0]
    return schema
