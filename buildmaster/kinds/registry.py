"""Finds kinds of jobs, and knows what is the same for all jobs of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from twisted.logger import Logger
from twisted.plugin import getPlugins
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from buildmaster.graph import KindRules
from buildmaster.kinds.builtin import BUILT_IN
from buildmaster.kinds.interface import IJobKind
from buildmaster.requests import Requirements

_NAME = re.compile(r"[a-z][a-z0-9-]{0,99}\Z")
_FUNCTION = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")

log = Logger()


class BadKind(Exception):
    """A plug-in is not what a kind has to be: its author's to mend."""


class Kinds:
    """The kinds of a farm, by name."""

    def __init__(
        self,
        plugins: Iterable[Any] = (),
        chosen: Mapping[str, Requirements] | None = None,
    ) -> None:
        """``chosen``: what the operator wants jobs of a kind to need.

        Raises `BadKind` where two have one name. A single plug-in that is none is logged
        and passed over.
        """
        self._kinds: dict[str, Any] = {kind.name: kind for kind in BUILT_IN}
        self._chosen = dict(chosen or {})
        for kind in plugins:
            problem = problem_of(kind)
            if problem is not None:
                log.error(
                    "{kind!r} is no kind of job: {problem}", kind=kind, problem=problem
                )
                continue
            if kind.name in self._kinds:
                raise BadKind(
                    f"two plug-ins, or one and Headrace itself, have a kind of job named"
                    f" {kind.name}: remove one of them"
                )
            self._kinds[kind.name] = kind

    @classmethod
    def found(cls, chosen: Mapping[str, Requirements] | None = None) -> Kinds:
        """Those of all packages that are installed; blocks while they are imported."""
        return cls(getPlugins(IJobKind), chosen)

    @property
    def plugged(self) -> list[Any]:
        """Those that are not our own."""
        return [kind for kind in self._kinds.values() if kind not in BUILT_IN]

    def get(self, name: str) -> Any | None:
        """The kind of that name, an `IJobKind`."""
        return self._kinds.get(name)

    def without(self, name: str) -> None:
        """Forget a kind that cannot be had."""
        self._kinds.pop(name, None)

    def unknown_choices(self) -> list[str]:
        """Names for which the operator chose something, and that no kind has."""
        return sorted(set(self._chosen) - set(self._kinds))

    def rules_of(self, name: str) -> KindRules | None:
        """What a graph has to know of a kind; None if there is no such kind."""
        kind = self._kinds.get(name)
        if kind is None:
            return None
        return KindRules(
            overlaid(self._chosen.get(name, Requirements()), kind.requirements),
            kind.performs,
        )


def overlaid(above: Requirements, below: Requirements) -> Requirements:
    """``above``, and what it leaves open as in ``below``."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(above).items()
        if value is not None
    }
    return msgspec.structs.replace(below, **fields)


def problem_of(kind: Any) -> str | None:
    """Why ``kind`` is not what it should be, in half a sentence; None if it is."""
    try:
        verifyObject(IJobKind, kind)
    except Invalid as error:
        return str(error).replace("\n", " ")
    checks = {
        "name": isinstance(kind.name, str) and _NAME.match(kind.name),
        "description": isinstance(kind.description, str) and kind.description,
        "performs": kind.performs is None or _is_performable(kind.performs),
        "requirements": isinstance(kind.requirements, Requirements),
        "sql_folder": kind.sql_folder is None or isinstance(kind.sql_folder, Path),
        "document": kind.document is None
        or (isinstance(kind.document, str) and _FUNCTION.match(kind.document)),
        "hears_ends": isinstance(kind.hears_ends, bool),
    }
    for name, holds in checks.items():
        if not holds:
            return f"its {name} is {getattr(kind, name)!r}, which cannot be"
    return None


def _is_performable(performs: object) -> bool:
    return isinstance(performs, str) and 0 < len(performs) <= 200
