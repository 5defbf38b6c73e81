"""Which cells of an upstream job each cell of a job waits for: the rules of ``map``."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.references.listing import listed
from buildmaster.references.model import Cell, Need, cell_text
from protocol.pipeline.problems import quoted, suggestion

_SHOWN = 10


class NoCellError(Exception):
    """The file's fault: a cell needs one that its upstream does not have."""


def matched(need: Need, downs: Sequence[Cell], ups: Sequence[Cell]) -> list[list[int]]:
    """For each of ``downs`` the places in ``ups`` of what it waits for.

    All cells of a job have the same axes. `NoCellError` says which cells there are.
    """
    _check_fixed(need, ups)
    if need.map == "all":
        chosen = [place for place, up in enumerate(ups) if _agrees(dict(up), need.cell)]
        return [chosen for _ in downs]
    return _Matcher(need, downs, ups).all()


def _check_fixed(need: Need, ups: Sequence[Cell]) -> None:
    """The cell that a need fixes must be one that there is."""
    axes = {axis for up in ups for axis, _ in up}
    for axis in need.cell:
        if axis not in axes:
            named = ", ".join(sorted(axes)) or "none"
            hint = suggestion(axis, axes)
            raise NoCellError(
                f"{need.job} has no axis {quoted(axis)}{hint}; it has {named}"
            )
    if need.cell and not any(_agrees(dict(up), need.cell) for up in ups):
        wanted = cell_text(tuple(sorted(need.cell.items())))
        raise NoCellError(f"{need.job} has no cell with {wanted}; {_possible(ups)}")


class _Matcher:
    """Finds what cells have in common; axes are looked at once for all of them."""

    def __init__(self, need: Need, downs: Sequence[Cell], ups: Sequence[Cell]) -> None:
        self._need = need
        self._downs = downs
        self._ups = ups
        up_axes = [axis for axis, _ in ups[0]] if ups else []
        down_axes = {axis for axis, _ in downs[0]} if downs else set()
        fixed = set(need.cell)
        self._shared = [axis for axis in up_axes if axis in down_axes - fixed]
        candidates = [place for place, up in enumerate(ups) if _agrees(dict(up), need.cell)]
        # Where the upstream has one value on an axis, that one stands for all.
        single = {
            axis
            for axis in self._shared
            if len({dict(ups[place])[axis] for place in candidates}) == 1
        }
        self._loose = [axis for axis in self._shared if axis not in single]
        self._exact = self._index(candidates, self._shared)
        self._by_rest = self._index(candidates, self._loose)

    def all(self) -> list[list[int]]:
        return [self._of(down) for down in self._downs]

    def _index(
        self, places: Sequence[int], axes: Sequence[str]
    ) -> dict[tuple[str, ...], list[int]]:
        found: dict[tuple[str, ...], list[int]] = {}
        for place in places:
            cell = dict(self._ups[place])
            found.setdefault(tuple(cell[axis] for axis in axes), []).append(place)
        return found

    def _of(self, down: Cell) -> list[int]:
        cell = dict(down)
        found = self._exact.get(tuple(cell[axis] for axis in self._shared))
        if found is None:
            found = self._by_rest.get(tuple(cell[axis] for axis in self._loose))
        if found is None:
            wanted = ", ".join(f"{axis}={cell[axis]}" for axis in self._shared)
            raise NoCellError(
                f"its cell {cell_text(down) or 'without axes'} needs {self._need.job} with"
                f" {wanted}, and there is none; {_possible(self._ups)}. Add the cell, or"
                " say which one is meant with cell, or map: all"
            )
        return found


def _agrees(cell: dict[str, str], fixed: dict[str, str]) -> bool:
    return all(cell.get(axis) == value for axis, value in fixed.items())


def _possible(ups: Sequence[Cell]) -> str:
    texts = sorted({cell_text(up) or "one without axes" for up in ups})
    return f"it has {listed(texts, _SHOWN, '; ')}"
