"""The OpenAPI document: what can be read, from the table of `IStatus`; and what changes.

Logs and files, which are no JSON, are in `buildmaster.http.openapi_bytes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from buildmaster import requests
from buildmaster.grants import Scope
from buildmaster.http import (
    admission,
    changes,
    classifying,
    keys,
    limits,
    login,
    looking_into,
    operations,
    scheduling,
    workflows,
)
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.openapi_bytes import bytes_paths
from buildmaster.http.queries import LARGEST_ID
from buildmaster.http.scopes import NEEDS, SCOPES
from buildmaster.http.writing import Writing
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
#: And from one that changes something.
_WRITE_REFUSALS = {
    **_REFUSALS,
    "401": "This needs a token, or the token that was sent is not known.",
    "409": "It cannot be so now: see the code and the sentence.",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
    "422": "The farm understands, and will not: see the code, the sentence, ``problems``.",
    "502": "Something that the farm asked for this did not answer as it should.",
    "504": "Something that the farm asked for this did not answer in time.",
    "507": "The disk is full, or what a project may take of it.",
}
#: Everything that can be changed.
WRITINGS: tuple[Writing, ...] = (
    *changes.WRITINGS,
    *operations.WRITINGS,
    *limits.WRITINGS,
    *admission.WRITINGS,
    *looking_into.WRITINGS,
    *classifying.WRITINGS,
    *workflows.WRITINGS,
    *scheduling.WRITINGS,
    *login.WRITINGS,
    *keys.WRITINGS,
)


def openapi() -> dict[str, Any]:
    """The document, as JSON-like values."""
    types = [method.document for method in METHODS.values()]
    written = [kind for each in WRITINGS for kind in each.bodies]
    answered = [kind for each in WRITINGS for kind in each.answers.values()]
    _, schemas = msgspec.json.schema_components(
        [*types, *written, *answered, ProblemDocument], ref_template=_REF
    )
    schemas["ProblemDocument"]["properties"]["problems"] = _PROBLEMS
    for method in METHODS.values():
        if any(field.name == "fields" for field in method.fields):
            _loosen(schemas, method.document.__name__)
    paths: dict[str, dict[str, Any]] = {}
    for method in METHODS.values():
        paths.setdefault(method.path, {})["get"] = _operation(method)
    for writing in WRITINGS:
        paths.setdefault(writing.path, {})["post"] = _change(writing)
    for path, operations_ in bytes_paths(_refused(_REFUSALS), _refused(_WRITE_REFUSALS)):
        paths.setdefault(path, {}).update(operations_)
    told = {
        "openapi": "3.1.0",
        "info": {
            "title": "A Headrace farm",
            "version": "1",
            "description": "What can be read of a farm, and asked of it. Errors are"
            " problem documents.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return dict(_plain(told))


#: What is wrong with a configuration or a graph, one by one.
_PROBLEMS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "where": {"type": "string"},
            "line": {"type": ["integer", "null"]},
            "message": {"type": "string"},
        },
    },
}


def _plain(told: Any) -> Any:
    """The document in words that are not only Python's: names and patterns."""
    if isinstance(told, dict):
        return {_public(key): _plain(value) for key, value in told.items()}
    if isinstance(told, list):
        return [_plain(each) for each in told]
    if isinstance(told, str):
        if told.startswith(_REF.format(name="")):
            return _REF.format(name=_public(told.rpartition("/")[2]))
        return told.removesuffix("\\Z") + "$" if told.endswith("\\Z") else told
    return told


def _public(name: str) -> str:
    """What a type is called there: ours say whose they are where two have one name."""
    if name.startswith("_"):
        return f"{name[1:]}Body"
    module, _, plain = name.rpartition(".")
    return f"Request{plain}" if module == requests.__name__ else plain


def _change(writing: Writing) -> dict[str, Any]:
    need = NEEDS["POST", writing.path]
    told: dict[str, Any] = {
        "operationId": writing.name,
        "summary": writing.summary,
        "description": f"Needs a token with the scope {SCOPES[need].value}.",
        "parameters": [_part(name) for name in writing.in_path],
        "security": [{"token": []}],
        "responses": {
            **{
                str(status): {
                    "description": writing.summary,
                    "content": {"application/json": {"schema": _schema(kind)}},
                }
                for status, kind in writing.answers.items()
            },
            **_refused(_WRITE_REFUSALS),
        },
    }
    if writing.bodies:
        schemas = [_schema(kind) for kind in writing.bodies]
        told["requestBody"] = {
            "required": not writing.may_be_empty,
            "content": {
                "application/json": {
                    "schema": {"anyOf": schemas} if len(schemas) > 1 else schemas[0]
                }
            },
        }
    return told


def _schema(kind: Any) -> Any:
    [schema], _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema


def _part(name: str) -> dict[str, Any]:
    """A part of a path, as the routes check it."""
    is_id = name in ("job", "run", "rule")
    schema = (
        {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
        if is_id
        else {"type": "string", "minLength": 1, "maxLength": 200}
    )
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _refused(refusals: Mapping[str, str]) -> dict[str, Any]:
    return {status: {"description": what, **_PROBLEM} for status, what in refusals.items()}


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
            **_refused(_REFUSALS),
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
