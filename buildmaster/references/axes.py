"""The cells of one job: its matrix, its architectures and its series, multiplied."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping

import msgspec

from buildmaster.references.model import ARCHITECTURE, SERIES, Cell
from protocol.pipeline import document, values
from protocol.pipeline.document import Entry, Node, Scalar, Sequence
from protocol.pipeline.problems import Spot, quoted
from protocol.pipeline.values import described

#: Cells of all jobs of a file, and axes of one job.
CELL_LIMIT = 20_000
AXIS_LIMIT = 10
_AXIS = re.compile(r"[a-z][a-z0-9_]{0,49}")
_VALUE = re.compile(r"[A-Za-z0-9+._~-]{1,100}")
_OWN = {"arch": ARCHITECTURE, "architectures": ARCHITECTURE, "series": SERIES}


class Choice(msgspec.Struct, frozen=True):
    """One cell, and what its item of the matrix puts in the place of the job's keys."""

    cell: Cell
    instead: dict[str, Entry]
    line: int


class Budget:
    """How many cells the jobs of a file may still have."""

    def __init__(self) -> None:
        self.left = CELL_LIMIT

    def spend(self, cells: int) -> bool:
        """Take them off; False if there are not so many left."""
        self.left -= cells
        return self.left >= 0


def choices(
    found: Mapping[str, Entry],
    job_keys: frozenset[str],
    spot: Spot,
    budget: Budget,
) -> list[Choice]:
    """The cells of the job with these entries; none where something is wrong with them."""
    before = spot.report.serious
    own: dict[str, tuple[str, ...]] = {}
    for key, axis in (("architectures", ARCHITECTURE), ("series", SERIES)):
        entry = found.get(key)
        if entry is not None:
            chosen = _values(entry.value, spot.at(key, entry.key.line), names=True)
            own[axis] = chosen or ()
    matrix = found.get("matrix")
    if matrix is None:
        made = _product(own, {}, spot.line or 1, spot, budget)
    elif isinstance(matrix.value, Sequence):
        made = _items(
            matrix.value, own, job_keys, spot.at("matrix", matrix.key.line), budget
        )
    else:
        here = spot.at("matrix", matrix.key.line)
        axes = _axes(matrix.value, here)
        made = _product({**own, **axes}, {}, matrix.key.line, here, budget)
    return made if spot.report.serious == before else []


def _axes(node: Node, spot: Spot) -> dict[str, tuple[str, ...]]:
    if not isinstance(node, document.Mapping):
        spot.error(
            "the matrix must be a mapping of axes to their values, or a list of mappings,"
            f" and is {described(node)}"
        )
        return {}
    axes: dict[str, tuple[str, ...]] = {}
    for entry in node.entries:
        axis = axis_of(entry, spot)
        here = spot.at(entry.key.text[:200], entry.key.line)
        if axis is not None:
            if axis in axes:
                here.error(f"the axis {axis} is given twice")
            chosen = _values(entry.value, here, names=axis in (ARCHITECTURE, SERIES))
            axes[axis] = chosen or ()
    if len(axes) > AXIS_LIMIT:
        spot.error(f"more than {AXIS_LIMIT} axes")
        return {}
    return axes


def axis_of(entry: Entry, spot: Spot) -> str | None:
    """The axis that a key of a matrix stands for."""
    key = entry.key.text
    if not isinstance(entry.key.value, str) or not _AXIS.fullmatch(key):
        spot.at(key[:200], entry.key.line).error(
            f"{quoted(key)} cannot be an axis: at most 50 of a-z, 0-9 and _, a letter first"
        )
        return None
    return _OWN.get(key, key)


def _values(node: Node, spot: Spot, names: bool) -> tuple[str, ...] | None:
    reader = values.identifier if names else _value
    if isinstance(node, Scalar):
        one = reader(node, spot)
        return None if one is None else (one,)
    several = values.each(reader)(node, spot)
    if isinstance(node, Sequence) and not node.items:
        spot.error("an axis without a value makes no cell at all; leave it out")
    elif several is not None and len(set(several)) < len(several):
        twice = next(one for one in several if several.count(one) > 1)
        spot.error(f"the value {quoted(twice)} is given twice; remove one")
    return several


def _value(node: Node, spot: Spot) -> str | None:
    value = values.text(node, spot)
    if value is not None and not _VALUE.fullmatch(value):
        spot.error(
            f"{quoted(value)} cannot be the value of an axis: at most 100 of letters,"
            " digits and + . _ ~ -"
        )
        return None
    return value


def _product(
    axes: Mapping[str, tuple[str, ...]],
    instead: dict[str, Entry],
    line: int,
    spot: Spot,
    budget: Budget,
) -> list[Choice]:
    if not budget.spend(math.prod(map(len, axes.values()))):
        spot.error(f"with this job the file has more than {CELL_LIMIT} cells")
        return []
    names = sorted(axes)
    return [
        Choice(tuple(zip(names, chosen, strict=True)), instead, line)
        for chosen in itertools.product(*(axes[name] for name in names))
    ]


def _items(
    node: Sequence,
    own: Mapping[str, tuple[str, ...]],
    job_keys: frozenset[str],
    spot: Spot,
    budget: Budget,
) -> list[Choice]:
    made: list[Choice] = []
    lines: dict[Cell, int] = {}
    if not node.items:
        spot.error("a matrix without an item makes no cell at all; leave it out")
    for place, item in enumerate(node.items):
        here = spot.at(place, item.line)
        if not isinstance(item, document.Mapping):
            here.error(f"an item of a matrix must be a mapping, and is {described(item)}")
            continue
        if spot.report.full:
            break
        for choice in _item(item, own, job_keys, here, budget):
            if made and [axis for axis, _ in choice.cell] != [a for a, _ in made[0].cell]:
                here.error(
                    "the items of a matrix must have the same axes; the first has "
                    f"{_listed(made[0].cell)}, and this one {_listed(choice.cell)}"
                )
                break
            first = lines.setdefault(choice.cell, item.line)
            if first != item.line:
                here.error(
                    f"this is the same cell as the item in line {first}; add an axis that"
                    " tells them apart, such as variant: a"
                )
                break
            made.append(choice)
    return made


def _listed(cell: Cell) -> str:
    return ", ".join(axis for axis, _ in cell) or "none"


def _item(
    item: document.Mapping,
    own: Mapping[str, tuple[str, ...]],
    job_keys: frozenset[str],
    spot: Spot,
    budget: Budget,
) -> Iterator[Choice]:
    axes = dict(own)
    instead: dict[str, Entry] = {}
    for entry in item.entries:
        key = entry.key.text
        if key in job_keys and key not in _OWN:
            instead[key] = entry
            continue
        axis = axis_of(entry, spot)
        if axis is not None:
            here = spot.at(key[:200], entry.key.line)
            chosen = _values(entry.value, here, names=axis in (ARCHITECTURE, SERIES))
            axes[axis] = chosen or ()
    if len(axes) > AXIS_LIMIT:
        spot.error(f"more than {AXIS_LIMIT} axes")
        return
    yield from _product(axes, instead, item.line, spot, budget)
