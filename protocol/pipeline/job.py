"""Reads one concrete pipeline job, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.pipeline import exchange, plugins, software, values
from protocol.pipeline.document import Entry, Node, Scalar
from protocol.pipeline.environment import environment
from protocol.pipeline.model import PipelineJob
from protocol.pipeline.problems import Report, Spot, quoted
from protocol.pipeline.values import Reader, optional

#: More architectures than any farm has; what waits for what grows with their square.
ARCHITECTURE_LIMIT = 40


def _architectures(node: Node, spot: Spot) -> tuple[str, ...] | None:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        name = values.identifier(node, spot.at(0, node.line))
        return None if name is None else (name,)
    names = values.each(values.identifier)(node, spot)
    if names is not None and len(names) > ARCHITECTURE_LIMIT:
        spot.error(f"more than {ARCHITECTURE_LIMIT} architectures")
        return None
    if names == ():
        spot.warning("with no architecture this job never runs")
    return names


_READERS: dict[str, Reader[Any]] = {
    "series": values.identifier,
    "architectures": _architectures,
    "run": optional(values.text),
    "run-before": optional(values.text),
    "run-after": optional(values.text),
    "environment": optional(environment),
    "packages": optional(values.texts),
    "snaps": software.snaps,
    "plugin": plugins.plugin,
    "root": values.boolean,
    "output": optional(exchange.output),
    "input": optional(exchange.input_),
}
_REPOSITORIES = "package-repositories"
#: All keys of a job but those of its plugin and the matrix.
KEYS = frozenset({*_READERS, _REPOSITORIES})
_REQUIRED = {
    "series": "it names the release to run in, like jammy",
    "architectures": "it lists where to run, like [amd64, arm64]",
}
#: An internal field of the reference that its parser lets through.
_INTERNAL = "plugin-config"


class JobReader:
    """Reads concrete jobs; what several of them share is read once.

    The jobs of a matrix share the entries of their base, so reading them costs what the
    file costs and not what it expands to.
    """

    def __init__(self, lenient: bool) -> None:
        self._lenient = lenient
        self._read: dict[tuple[int, str], tuple[Any, Report]] = {}
        # Keeps what _read is keyed on alive, so that no identity is used twice.
        self._kept: list[Entry] = []

    def job(self, found: Mapping[str, Entry], spot: Spot) -> PipelineJob | None:
        """The job that has the entries ``found``, or None with the errors at ``spot``."""
        before = spot.report.serious
        plugin = self._value(found, "plugin", spot)
        plugin_keys = plugins.keys_of(plugin)
        settings: dict[str, Any] = {}
        for key, entry in found.items():
            if key in _READERS and key != "plugin":
                settings[key.replace("-", "_")] = self._value(found, key, spot)
            elif key == _INTERNAL and self._lenient:
                settings["plugin_config"] = self._value(found, key, spot)
            elif key not in plugin_keys and key not in ("plugin", _REPOSITORIES):
                _unknown(entry, spot, plugin)
        for key, purpose in _REQUIRED.items():
            if key not in found:
                spot.at(key).error(f"the key {key} is missing: {purpose}")
        if plugin is not None:
            settings["plugin"] = plugin
            settings["plugin_config"] = plugins.configuration(plugin, found, spot)
        self._repositories(found, settings, spot)
        if spot.report.serious > before:
            return None
        job = PipelineJob(
            **{key: value for key, value in settings.items() if value is not None}
        )
        _look_over(job, found, spot)
        return job

    def _repositories(
        self, found: Mapping[str, Entry], settings: dict[str, Any], spot: Spot
    ) -> None:
        series = settings.get("series")
        if _REPOSITORIES in found and series is not None:
            settings["package_repositories"] = self._value(
                found, _REPOSITORIES, spot, series
            )

    def _value(
        self, found: Mapping[str, Entry], key: str, spot: Spot, series: str = ""
    ) -> Any:
        entry = found.get(key)
        if entry is None:
            return None
        known = self._read.get((id(entry), series))
        if known is None:
            report = Report(self._lenient)
            value = _reader(key, series)(entry.value, Spot(report, key, entry.key.line))
            known = value, report
            self._read[id(entry), series] = known
            self._kept.append(entry)
        value, report = known
        spot.report.include(f"{spot.where}.", report)
        return value


def _reader(key: str, series: str) -> Reader[Any]:
    if key == _REPOSITORIES:
        return software.repositories_for(series)
    if key == _INTERNAL:
        return values.json_mapping
    return _READERS[key]


def _unknown(entry: Entry, spot: Spot, plugin: str | None) -> None:
    key = entry.key.text
    owners = plugins.owners_of(key)
    if owners:
        message = (
            f"the key {key} belongs to the plugin {' or '.join(owners)},"
            f" and this job's plugin is {plugin or 'none'}"
        )
        spot.at(key, entry.key.line).error(message)
    elif key == "matrix":
        spot.at(key, entry.key.line).error("a matrix cannot be inside of a matrix")
    else:
        known = {*_READERS, _REPOSITORIES, *plugins.keys_of(plugin), "matrix"}
        hint = spot.report.suggestion(key, known)
        where = key if len(key) <= values.NAME_LENGTH_LIMIT else key[:200] + "..."
        spot.at(where, entry.key.line).stray(
            f"unknown key {quoted(key)}{hint or '; a job has no such key'}"
        )


def _look_over(job: PipelineJob, found: Mapping[str, Entry], spot: Spot) -> None:
    """Warn of what parses and is hardly meant."""
    if not job.run and job.plugin not in plugins.WITH_COMMAND:
        spot.warning("this job has nothing to run: it sets neither run nor a plugin with"
                     " a command, and fails when it is run")  # fmt: skip
    if job.package_repositories and not job.packages and job.plugin is None:
        spot.at(_REPOSITORIES, found[_REPOSITORIES].key.line).warning(
            "package repositories have no effect on a job that installs no packages"
        )
