"""Reads one job of ``.headrace.yaml``: what it runs, and how it stands to others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from buildmaster.references import axes, needs_keys
from buildmaster.references.model import (
    ARCHITECTURE,
    OPEN,
    SERIES,
    CollectionNeed,
    Concurrency,
    Job,
    Limits,
    Need,
    Retry,
    Variant,
)
from buildmaster.references.package_keys import is_placeholder
from buildmaster.references.spans import span
from protocol.pipeline import document, plugins, values
from protocol.pipeline.document import Entry, Node, Scalar, Sequence
from protocol.pipeline.job import KEYS as RUN_KEYS
from protocol.pipeline.job import JobReader
from protocol.pipeline.model import PipelineJob
from protocol.pipeline.paths import inside
from protocol.pipeline.problems import Spot, listed, quoted
from protocol.pipeline.values import below, described

SCOPES = ("each", "top", "component", "run")
REUSES = ("never", "inputs", "outputs")
ISOLATIONS = ("native", "chroot", "vm")
POLICIES = ("queue", "replace_pending", "replace_all")
#: Keys that say who a job is; they cannot stand among the defaults.
IDENTITY_KEYS = ("identifier", "job", "type", "matrix", "lpci", *needs_keys.KEYS)
STANDING_KEYS = (
    "trigger",
    "per_package",
    "scope",
    "install",
    "reuse",
    "cutoff",
    "paths",
    "retry",
    "limits",
    "isolation",
    "concurrency",
    "manual",
    "allow_failure",
    "interruptible",
    "provides",
    "actions",
)
OWN_KEYS = frozenset({*IDENTITY_KEYS, *STANDING_KEYS})
_PLUGIN_KEYS = frozenset(
    key for plugin in plugins.PLUGINS for key in plugins.keys_of(plugin)
)
ALL_KEYS = frozenset({*OWN_KEYS, *RUN_KEYS, *_PLUGIN_KEYS})
_WITH_LPCI = frozenset({*OWN_KEYS, "architectures"}) - {"matrix", "actions", "per_package"}
RETRY_LIMIT = 20
#: The name that builds of a plain pipeline have.
RESERVED = "pipeline"


class JobKeys:
    """Reads the jobs of one file."""

    def __init__(self, has_packages: bool) -> None:
        self._reader = JobReader(lenient=False)
        self._has_packages = has_packages
        self._budget = axes.Budget()

    def job(self, name: str, entries: Mapping[str, Entry], spot: Spot) -> Job | None:
        """The job with these entries, or None with the errors at ``spot``."""
        before = spot.report.serious
        entries = _with_actions(entries, spot)
        known = self._without_strays(entries, spot)
        own = {key: entry for key, entry in known.items() if key in OWN_KEYS}
        lpci = below(own, "lpci", spot, inside)
        needs = needs_keys.needs(own, spot)
        settings = self._settings(name, own, spot)
        collections = tuple(need for need in needs if isinstance(need, CollectionNeed))
        if collections and settings["manual"]:
            spot.at("manual", own["manual"].key.line).error(
                "a job that waits for a collection goes when that is complete, and cannot"
                " be manual: let another job, which needs it, be manual"
            )
        if "lpci" in own:
            variants = self._of_pipeline(known, spot)
        else:
            variants = self._variants(known, spot)
        if spot.report.serious > before or not variants:
            return None
        return Job(
            name=name,
            line=spot.line or 0,
            variants=tuple(variants),
            needs=tuple(need for need in needs if isinstance(need, Need)),
            collections=collections,
            lpci=lpci,
            **settings,
        )

    def _without_strays(self, entries: Mapping[str, Entry], spot: Spot) -> dict[str, Entry]:
        known = {}
        for key, entry in entries.items():
            # Of a plugin's keys the other reader says whose they are.
            if key in ALL_KEYS or plugins.owners_of(key):
                known[key] = entry
            else:
                values.unknown(entry, spot, ALL_KEYS)
        return known

    # What it runs.

    def _variants(self, known: Mapping[str, Entry], spot: Spot) -> list[Variant]:
        variants = []
        read: dict[tuple[object, ...], PipelineJob | None] = {}
        base = {key: entry for key, entry in known.items() if key not in OWN_KEYS}
        for choice in axes.choices(known, ALL_KEYS, spot, self._budget):
            found = {**base, **choice.instead}
            stray = [key for key in choice.instead if key in OWN_KEYS]
            if stray:
                entry = choice.instead[stray[0]]
                spot.at(f"matrix.{stray[0]}", entry.key.line).error(
                    f"{stray[0]} is the same for all cells of a job: move it out of the"
                    " matrix"
                )
                return []
            cell = dict(choice.cell)
            series = cell.get(SERIES, OPEN)
            key = (
                *sorted((name, id(entry)) for name, entry in choice.instead.items()),
                # What archives are added depends on the series.
                series if "package-repositories" in found else "",
            )
            if key not in read:
                found["series"] = _entry("series", series, choice.line)
                architecture = cell.get(ARCHITECTURE, OPEN)
                found["architectures"] = _entry("architectures", architecture, choice.line)
                read[key] = self._reader.job(found, _with_line(spot, choice.line))
            runs = read[key]
            if runs is None:
                return []
            architectures = (cell.get(ARCHITECTURE, OPEN),)
            runs = msgspec.structs.replace(runs, series=series, architectures=architectures)
            variants.append(Variant(cell=choice.cell, runs=runs))
        return variants

    def _of_pipeline(self, known: Mapping[str, Entry], spot: Spot) -> list[Variant]:
        for key, entry in known.items():
            if key not in _WITH_LPCI:
                spot.at(key, entry.key.line).error(
                    f"a job that includes a pipeline (lpci) has no {key}: the pipeline's"
                    " own file says what is run, and where"
                )
        if "architectures" not in known:
            return [Variant(cell=(), runs=None)]
        found = {"architectures": known["architectures"]}
        return [
            Variant(cell=choice.cell, runs=None)
            for choice in axes.choices(found, frozenset(), spot, self._budget)
        ]

    # How it stands to others.

    def _settings(self, name: str, own: Mapping[str, Entry], spot: Spot) -> dict[str, Any]:
        word = below(own, "job", spot, values.identifier)
        kind = below(own, "type", spot, values.identifier) or word or ""
        provides = below(own, "provides", spot, _provides)
        settings: dict[str, Any] = {
            "kind": kind,
            "trigger": below(own, "trigger", spot, values.optional(values.identifier)),
            "paths": below(own, "paths", spot, values.optional(values.each(inside))),
            "retry": below(own, "retry", spot, _retry) or (),
            "limits": below(own, "limits", spot, _limits) or Limits(),
            "isolation": below(
                own, "isolation", spot, values.optional(values.choice(ISOLATIONS))
            ),
            "concurrency": below(own, "concurrency", spot, _concurrency),
            "manual": bool(below(own, "manual", spot, values.boolean)),
            "allow_failure": bool(below(own, "allow_failure", spot, values.boolean)),
            "interruptible": _or_true(below(own, "interruptible", spot, values.boolean)),
            "provides": provides[0] if provides else None,
            "member": provides[1] if provides else None,
        }
        scope = self._scope(name, kind, own, spot)
        settings["scope"] = scope
        settings["install"] = below(own, "install", spot, values.choice(("own", "closure")))
        if settings["install"] is None:
            settings["install"] = "own"
        elif scope not in ("each", "top"):
            spot.at("install", own["install"].key.line).error(
                "install says which packages' files each package's job gets: it goes with"
                " per_package: true"
            )
        settings["reuse"] = self._reuse(scope, own, spot)
        return settings

    def _scope(self, name: str, kind: str, own: Mapping[str, Entry], spot: Spot) -> str:
        scope = below(own, "scope", spot, values.choice(SCOPES))
        per_package = below(own, "per_package", spot, values.boolean)
        if (scope is not None or per_package) and not self._has_packages:
            key = "scope" if scope is not None else "per_package"
            if scope not in (None, "run") or per_package:
                spot.at(key, own[key].key.line).error(
                    f"{key} goes with packages, and this file has none: add packages, or"
                    " leave it out"
                )
        if scope is None:
            if per_package:
                return "each"
            publishes = "publish" in (kind, name) and per_package is None
            return "component" if publishes and self._has_packages else "run"
        if per_package is not None and per_package != (scope in ("each", "top")):
            spot.at("scope", own["scope"].key.line).error(
                f"scope: {scope} and per_package: {str(per_package).lower()} contradict"
                " each other; leave per_package out"
            )
        return scope

    def _reuse(self, scope: str, own: Mapping[str, Entry], spot: Spot) -> str:
        reuse = below(own, "reuse", spot, values.choice(REUSES))
        cutoff = below(own, "cutoff", spot, values.boolean)
        if cutoff is not None:
            if reuse is not None and cutoff != (reuse == "outputs"):
                spot.at("cutoff", own["cutoff"].key.line).error(
                    f"cutoff: {str(cutoff).lower()} and reuse: {reuse} contradict each"
                    " other; leave one out"
                )
            if cutoff:
                return "outputs"
        if reuse is not None:
            return reuse
        return "never" if scope == "run" else "inputs"


def _with_line(spot: Spot, line: int) -> Spot:
    return Spot(spot.report, spot.where, line)


def _or_true(value: bool | None) -> bool:
    return value is None or value


def _entry(key: str, value: str, line: int) -> Entry:
    return Entry(
        Scalar(key, key, line, 0, plain=False), Scalar(value, value, line, 0, plain=False)
    )


def _with_actions(entries: Mapping[str, Entry], spot: Spot) -> dict[str, Entry]:
    """``actions`` in the place of ``run``: one script, or several, named or not."""
    entries = dict(entries)
    entry = entries.pop("actions", None)
    if entry is None:
        return entries
    here = spot.at("actions", entry.key.line)
    if is_placeholder(entry.value):
        here.warning("... stands for nothing: write what is to be run")
        return entries
    if "run" in entries:
        here.error("actions and run are the same: leave one out")
        return entries
    scripts = _scripts(entry.value, here)
    if scripts:
        text = "\n".join(scripts)
        run = Scalar(text, text, entry.value.line, len(text), plain=False)
        key = Scalar("run", "run", entry.key.line, 0, plain=False)
        entries["run"] = Entry(key, run)
    return entries


def _scripts(node: Node, spot: Spot) -> list[str]:
    if isinstance(node, document.Mapping):
        return [
            script
            for entry in node.entries
            for script in _scripts(
                entry.value, spot.at(entry.key.text[:200], entry.key.line)
            )
        ]
    if isinstance(node, Sequence):
        read = values.each(values.text)(node, spot)
        return list(read or ())
    script = values.text(node, spot)
    return [] if script is None else [script]


def _retry(node: Node, spot: Spot) -> tuple[Retry, ...] | None:
    if isinstance(node, Scalar):
        limit = _count(node, spot)
        return None if limit is None else (Retry(limit=limit),) if limit else ()
    rules = values.each(_retry_rule)(node, spot)
    if rules is not None and len(rules) > RETRY_LIMIT:
        spot.error(f"more than {RETRY_LIMIT} rules")
    return rules


def _retry_rule(node: Node, spot: Spot) -> Retry | None:
    found = values.fields(node, spot, ("limit", "exit"))
    if found is None:
        return None
    limit = below(found, "limit", spot, _count, "it says how often to try again")
    status = below(found, "exit", spot, _exit_status)
    return None if limit is None else Retry(limit=max(1, limit), exit=status)


def _count(node: Node, spot: Spot) -> int | None:
    return _integer(node, spot, 0, 100)


def _exit_status(node: Node, spot: Spot) -> int | None:
    return _integer(node, spot, 0, 255)


def _integer(node: Node, spot: Spot, least: int, most: int) -> int | None:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    spot.error(f"this must be a number from {least} to {most}, and is {described(node)}")
    return None


def _limits(node: Node, spot: Spot) -> Limits | None:
    found = values.fields(node, spot, ("run", "idle", "queue", "total"))
    if found is None:
        return None
    return Limits(
        run=below(found, "run", spot, span),
        idle=below(found, "idle", spot, span),
        queue=below(found, "queue", spot, span),
        total=below(found, "total", spot, span),
    )


_FIELDS = ("project", "ref", "package", "job")


def _group(node: Node, spot: Spot) -> str | None:
    group = values.text(node, spot)
    if group is None:
        return None
    if not (0 < len(group) <= 150 and group.isprintable()):
        spot.error("a group's name has one to 150 printable characters")
        return None
    rest = group
    for field in _FIELDS:
        rest = rest.replace(f"{{{field}}}", "")
    if "{" in rest or "}" in rest:
        braced = listed([f"{{{field}}}" for field in _FIELDS])
        spot.error(f"in braces a group's name may have {braced}; {quoted(group)} has more")
        return None
    return group


def _concurrency(node: Node, spot: Spot) -> Concurrency | None:
    if isinstance(node, Scalar):
        group = _group(node, spot)
        return None if group is None else Concurrency(group=group)
    found = values.fields(node, spot, ("group", "policy"))
    if found is None:
        return None
    group = below(found, "group", spot, _group, "of its jobs one is at work at a time")
    policy = below(found, "policy", spot, values.choice(POLICIES)) or "queue"
    if group is None:
        return None
    return Concurrency(group=group, policy=policy)  # type: ignore[arg-type]


def _provides(node: Node, spot: Spot) -> tuple[str, str | None] | None:
    found = values.fields(node, spot, ("collection", "as"))
    if found is None:
        return None
    name = below(
        found, "collection", spot, needs_keys.collection_name, "where its files go"
    )
    member = below(found, "as", spot, needs_keys.member_name)
    return None if name is None else (name, member)
