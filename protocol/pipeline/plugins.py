"""The plugins a pipeline job may name, and the keys that each brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from protocol.pipeline import values
from protocol.pipeline.document import Entry, Node, Scalar
from protocol.pipeline.problems import Spot, listed
from protocol.pipeline.values import below, described, optional


def _number_as_text(node: Node, spot: Spot) -> str | None:
    if isinstance(node, Scalar) and not isinstance(node.value, bool):
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, (int, float)):
            word = str(node.value)
            if word != node.text:
                spot.warning(f'unquoted, this is read as {word}; write "{node.text}"')
            return word
    spot.error(f"this must be a version, and is {described(node)}")
    return None


#: Key, its reader, the value when it is not given.
_Keys = tuple[tuple[str, Callable[[Node, Spot], Any], Any], ...]

_MINICONDA: _Keys = (
    ("conda-packages", optional(values.texts), None),
    ("conda-python", optional(_number_as_text), None),
    ("conda-channels", optional(values.texts), None),
)
_PLUGINS: dict[str, _Keys] = {
    "tox": (),
    "pyproject-build": (),
    "miniconda": _MINICONDA,
    "conda-build": (
        *_MINICONDA,
        ("build-target", optional(values.text), None),
        ("recipe-folder", optional(values.text), "./info"),
    ),
    "golang": (("golang-version", values.text, None),),
}
#: All plugins that there are.
PLUGINS = tuple(_PLUGINS)
_REQUIRED = {"golang-version": 'the Go release to use, quoted, like "1.21"'}
#: Plugins that bring a command of their own; with the others the job must have one.
WITH_COMMAND = frozenset({"tox", "pyproject-build", "conda-build"})


def plugin(node: Node, spot: Spot) -> str | None:
    """The name of a plugin that exists."""
    if isinstance(node, Scalar) and node.value in _PLUGINS:
        return str(node.value)
    hint = spot.report.suggestion(node.text, _PLUGINS) if isinstance(node, Scalar) else ""
    spot.error(f"the plugin must be {listed(_PLUGINS)}, and is {described(node)}{hint}")
    return None


def keys_of(name: str | None) -> frozenset[str]:
    """The keys that a job may have because it names this plugin."""
    return frozenset(key for key, _, _ in _PLUGINS.get(name or "", ()))


def owners_of(key: str) -> list[str]:
    """The plugins that a key belongs to."""
    return [name for name, keys in _PLUGINS.items() if key in {k for k, _, _ in keys}]


def configuration(name: str, found: Mapping[str, Entry], spot: Spot) -> dict[str, Any]:
    """The plugin's settings, out of the entries of a job that names it."""
    settings = {}
    for key, reader, default in _PLUGINS[name]:
        value = below(found, key, spot.at("__root__"), reader, _REQUIRED.get(key, ""))
        # A list, as it will be once it has been JSON.
        value = list(value) if isinstance(value, tuple) else value
        settings[key] = default if value is None else value
    return settings
