"""The JSON Schema of ``.headrace.yaml``, for editors: what they complete and underline.

It says what the shape of a file is; what refers to what only the reader knows.
"""

from __future__ import annotations

from typing import Any

from buildmaster.references import job_keys, needs_keys, package_keys, reading
from protocol.pipeline import plugins

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_ONE_OR_MORE: dict[str, Any] = {"anyOf": [_TEXT, _TEXTS]}
_TRUTH: dict[str, Any] = {"type": "boolean"}
_ANY: dict[str, Any] = {}
_SPAN: dict[str, Any] = {
    "description": "how long: seconds, 15m, 7d, H:MM:SS or ISO 8601",
    "type": ["number", "string"],
}
_NAME: dict[str, Any] = {"type": "string", "pattern": "^[a-z0-9][a-z0-9+._-]+$"}


def _enum(words: tuple[str, ...]) -> dict[str, Any]:
    return {"enum": list(words)}


def _object(
    properties: dict[str, Any], required: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, **({"required": list(required)} if required else {}), **more}


def _said(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}


def _either(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(schemas)}


_NEED = _object(
    {
        "job": _said(_TEXT, "the identifier of the job that must end first"),
        "require": _said(_enum(needs_keys.REQUIRES), "how it must end"),
        "map": _said(_enum(needs_keys.MAPS), "which of its cells: the same, all, or any"),
        "cell": {"type": "object", "additionalProperties": _TEXT},
        "artifacts": _said(_TEXTS, "patterns of the files that are handed over"),
        "weak": _said(_TRUTH, "nothing to wait for if the job is not in the run"),
    },
    ("job",),
)
_COLLECTION = _object(
    {
        "collection": _TEXT,
        "contains": _TEXTS,
        "same": _said(_TEXT, "the axis on which the members must agree with this job"),
        "timeout": _SPAN,
    },
    ("collection", "contains"),
)
_NEEDS = _either(
    _TEXT,
    {"type": "array", "items": _either(_TEXT, _NEED, _COLLECTION)},
    _NEED,
    _COLLECTION,
)
_VALUES = _either(_TEXT, {"type": "array", "items": _TEXT, "minItems": 1})
_MATRIX = _either(
    {"type": "object", "additionalProperties": _VALUES},
    {"type": "array", "items": {"type": "object"}, "minItems": 1},
)
_RETRY = _either(
    {"type": "integer", "minimum": 0, "maximum": 100},
    {
        "type": "array",
        "items": _object(
            {
                "limit": {"type": "integer", "minimum": 0, "maximum": 100},
                "exit": {"type": "integer", "minimum": 0, "maximum": 255},
            },
            ("limit",),
        ),
    },
)

#: How jobs stand to each other.
OWN: dict[str, dict[str, Any]] = {
    "identifier": _said(_NAME, "what other jobs call it"),
    "job": _said(_NAME, "what kind of job it is; the identifier, where there is no other"),
    "type": _said(_NAME, "what kind of job it is"),
    "matrix": _MATRIX,
    "lpci": _said(_TEXT, "the file of a whole pipeline that is this job"),
    **dict.fromkeys(needs_keys.KEYS, _NEEDS),
    "trigger": _said(_NAME, "the only event whose runs have it"),
    "per_package": _said(_TRUTH, "whether each package has its own"),
    "scope": _said(_enum(job_keys.SCOPES), "what there is one of it for"),
    "install": _said(
        _enum(("own", "closure")),
        "whose files it gets: its package's, or also its depends'",
    ),
    "reuse": _said(_enum(job_keys.REUSES), "when an earlier result stands for it"),
    "cutoff": _said(_TRUTH, "the same as reuse: outputs"),
    "paths": _said(_TEXTS, "the part of the source that it looks at"),
    "retry": _RETRY,
    "limits": _object(dict.fromkeys(("run", "idle", "queue", "total"), _SPAN)),
    "isolation": _enum(job_keys.ISOLATIONS),
    "concurrency": _either(
        _TEXT, _object({"group": _TEXT, "policy": _enum(job_keys.POLICIES)}, ("group",))
    ),
    "manual": _said(_TRUTH, "whether it waits until somebody lets it go"),
    "allow_failure": _said(_TRUTH, "whether its failure counts as a pass for others"),
    "interruptible": _TRUTH,
    "provides": _object({"collection": _TEXT, "as": _TEXT}, ("collection",)),
    "actions": _either(_TEXT, _TEXTS, {"type": "object", "additionalProperties": _ANY}),
}
#: What runs; the keys of an lpci job, whose values its reader knows better.
RUNS: dict[str, dict[str, Any]] = {
    "series": _said(_TEXT, "the release to run in"),
    "architectures": _ONE_OR_MORE,
    "run": _said(_TEXT, "a shell script"),
    "run-before": _TEXT,
    "run-after": _TEXT,
    "environment": {"type": "object"},
    "packages": _said(_TEXTS, "Debian packages to install"),
    "package-repositories": {"type": "array", "items": {"type": "object"}},
    "snaps": {"type": "array"},
    "plugin": _enum(plugins.PLUGINS),
    "root": _TRUTH,
    "output": {"type": "object"},
    "input": {"type": "object"},
}


def schema() -> dict[str, Any]:
    """The schema, as draft 2020-12 has it."""
    plugin_keys = {key for one in plugins.PLUGINS for key in plugins.keys_of(one)}
    job = {**OWN, **RUNS, **dict.fromkeys(sorted(plugin_keys), _ANY)}
    depends = {
        "type": "array",
        "items": _either(_TEXT, _object({"name": _TEXT, "rebuild": _TRUTH}, ("name",))),
    }
    package = _object({"paths": _TEXTS, "depends": depends, "depends_on": depends})
    not_defaults = {*job_keys.IDENTITY_KEYS, "actions"}
    jobs = _either(
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/job"}},
        {"type": "array", "items": {"$ref": "#/$defs/job"}},
    )
    whole = _object(
        {
            "jobs": jobs,
            "packages": {
                "type": "object",
                "propertyNames": {"pattern": f"^{package_keys.NAME}$"},
                "additionalProperties": _either(
                    {"$ref": "#/$defs/package"}, {"type": "null"}, _enum(("...",))
                ),
            },
            "defaults": _object(
                {key: one for key, one in job.items() if key not in not_defaults}
            ),
            "depends_default": _enum(("rebuild", "order")),
            "inputs": _said(_TEXTS, "paths that count for every package"),
            "license": _object({"spdx": _TEXT, "path": _TEXT}),
        }
    )
    assert set(whole["properties"]) == set(reading.KEYS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": ".headrace.yaml",
        "anyOf": [whole, {"type": "array", "items": {"$ref": "#/$defs/job"}}],
        "$defs": {"job": _object(job), "package": package},
    }
