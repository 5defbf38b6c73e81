"""What a run found: figures, and whether they clear the bars that were set before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

Figures = dict[str, Any]


class Status(IntEnum):
    """How a run exits."""

    HOLDS = 0  #: every bar was measured and is cleared
    FAILS = 1  #: one bar at least is not cleared
    INCOMPLETE = 3  #: none is missed, but not every one was measured


@dataclass(frozen=True)
class Bar:
    """One thing that must be shown."""

    name: str
    unit: str
    sense: Literal[">=", "<="]
    limit: float

    def judged(self, measured: Measured) -> Judged:
        """What ``measured`` says of it."""
        limit = measured.limits.get(self.name, self.limit)
        value = measured.values.get(self.name)
        if value is None:
            return Judged(self, limit, None, None, measured.why or "not measured")
        holds = value >= limit if self.sense == ">=" else value <= limit
        return Judged(self, limit, value, holds)


@dataclass(frozen=True)
class Measured:
    """What one part of a benchmark found."""

    figures: Figures = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)  #: by the name of the bar
    #: Limits that this very run gives, where the bar says "whichever is lower".
    limits: Mapping[str, float] = field(default_factory=dict)
    why: str = ""  #: why there is no value


@dataclass(frozen=True)
class Judged:
    """A bar, and how the run stands to it; ``holds`` is None where it was not measured."""

    bar: Bar
    limit: float
    value: float | None
    holds: bool | None
    why: str = ""

    @property
    def document(self) -> Figures:
        """One entry of ``must_show``."""
        entry = {
            "name": self.bar.name,
            "value": _rounded(self.value),
            "unit": self.bar.unit,
            "bar": f"{self.bar.sense} {_shown(self.limit)}",
            "holds": self.holds,
        }
        return {**entry, "why": self.why} if self.why else entry


@dataclass(frozen=True)
class Report:
    """The whole run."""

    machine: Figures
    reference: Figures
    figures: Figures
    must_show: Sequence[Judged]

    @property
    def status(self) -> Status:
        """What the process exits with."""
        holds = [each.holds for each in self.must_show]
        if False in holds:
            return Status.FAILS
        return Status.INCOMPLETE if None in holds else Status.HOLDS

    def as_json(self) -> str:
        """One object, for programs."""
        document = {
            "machine": self.machine,
            "reference": _rounded(self.reference),
            "figures": _rounded(self.figures),
            "must_show": [each.document for each in self.must_show],
        }
        return json.dumps(document, indent=1, ensure_ascii=False)

    def as_table(self) -> str:
        """The same for people."""
        lines = []
        for title in ("machine", "reference", "figures"):
            rows = list(_flat(getattr(self, title)))
            width = max((len(name) for name, _ in rows), default=0)
            lines += [title, *(f"  {name:{width}}  {value}" for name, value in rows), ""]
        lines.append("must show")
        width = max((len(each.bar.name) for each in self.must_show), default=0)
        for each in self.must_show:
            entry = each.document
            verdict = {True: "holds", False: "FAILS", None: "-----"}[each.holds]
            value = "not measured" if each.value is None else _shown(each.value)
            why = f"  ({each.why})" if each.why else ""
            line = f"  {verdict}  {each.bar.name:{width}}  {value} {entry['unit']}"
            lines.append(f"{line}  (bar: {entry['bar']}){why}")
        return "\n".join(lines)


def _flat(figures: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", _shown(value)


def _shown(value: Any) -> str:
    value = _rounded(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _rounded(value: Any) -> Any:
    """Four figures are more than any run repeats."""
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        near = float(f"{value:.4g}")
        return int(near) if abs(near) >= 1000 else near
    return value
