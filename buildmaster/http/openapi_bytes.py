"""The parts of the OpenAPI document about what is no JSON: logs, and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from buildmaster.http.queries import LARGEST_ID
from buildmaster.http.scopes import ARTIFACT

LOG = "/api/v1/jobs/{job}/log"

_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_LARGEST_NUMBER = 2**31 - 1


def bytes_paths(
    refused: Mapping[str, Any], write_refused: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Paths with their operations; ``refused`` are the answers that are none, anywhere."""
    no_range = {
        "416": {**refused["404"], "description": "There are no such bytes; see `Range`."}
    }
    yield LOG, {"get": _log({**refused, **no_range})}
    yield (
        ARTIFACT,
        {"get": _fetch({**refused, **no_range}), "put": _store(write_refused)},
    )


def _log(refused: Mapping[str, Any]) -> dict[str, Any]:
    number = {"type": "integer", "minimum": 1, "maximum": _LARGEST_NUMBER}
    return {
        "operationId": "log",
        "summary": "The log of an attempt, or of one of its pipeline jobs.",
        "description": "The bytes that the build wrote: nothing in them can be trusted."
        " With follow=1 the answer goes on until it has ended.",
        "parameters": [
            _parameter("job", {**number, "maximum": LARGEST_ID}, where="path"),
            _parameter("attempt", number),
            _parameter("name", {"type": "string"}),
            _parameter("index", {**number, "minimum": 0}),
            _parameter("follow", {"type": "string", "enum": ["0", "1"]}),
            _RANGE,
        ],
        "security": [{}, {"token": []}],
        "responses": {
            "200": {"description": "All of it.", "content": _TEXT},
            "206": {"description": "The bytes that were asked for.", "content": _TEXT},
            **refused,
        },
    }


def _fetch(refused: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "artifact",
        "summary": "A file, by its SHA-256.",
        "description": "Also in ranges. Who has sent only a part finds in Upload-Offset of"
        " a 404 how much.",
        "parameters": [_SHA256, _RANGE],
        "security": [{}, {"token": []}],
        "responses": {
            "200": {"description": "All of it.", "content": _BYTES},
            "206": {"description": "The bytes that were asked for.", "content": _BYTES},
            "304": {"description": "Who asks has it."},
            **refused,
        },
    }


def _store(refused: Mapping[str, Any]) -> dict[str, Any]:
    told = {"type": "object", "properties": {"sha256": {}, "size": {"type": "integer"}}}
    json = {"content": {"application/json": {"schema": told}}}
    return {
        "operationId": "store",
        "summary": "Store a file under its SHA-256.",
        "description": "Needs a token with the scope submit, or that of an attempt. With"
        " Content-Range it goes on where an earlier one broke off.",
        "parameters": [_SHA256],
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": _BYTES},
        "responses": {
            "200": {"description": "It was there already.", **json},
            "201": {"description": "It is there now.", **json},
            "411": {**refused["413"], "description": "It came without a length."},
            **refused,
        },
    }


def _parameter(
    name: str, schema: Mapping[str, Any], where: str = "query"
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": dict(schema)}


_SHA256 = _parameter("sha256", {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "path")
_RANGE = _parameter("Range", {"type": "string", "pattern": "^bytes=[0-9]{1,9}-$"}, "header")
