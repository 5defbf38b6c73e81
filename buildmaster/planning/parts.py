"""Cuts each architecture's stages into builds, and finds what each must wait for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from buildmaster.planning.model import CrossArchitecture, Wait
from buildmaster.planning.stages import Stage
from protocol.pipeline.problems import Problem, listed
from protocol.stages import Cell, title


class Part(msgspec.Struct, frozen=True):
    """A run of stages of one architecture that needs nothing from others in between."""

    architecture: str
    number: int
    stages: tuple[Stage, ...]
    waits: tuple[Wait, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Everything that it runs, in order."""
        return tuple(
            cell for stage in self.stages for cell in stage.cells[self.architecture]
        )


def foreign_waits(
    stages: Sequence[Stage], position: int, architecture: str, mode: CrossArchitecture
) -> list[Wait]:
    """What of other architectures must pass before a stage of ``architecture``."""
    if position == 0 or mode == "refuse":
        return []
    before = stages[position - 1]
    if mode == "orchestrate" and architecture in before.cells:
        return []
    return [Wait(other, before.number) for other in before.cells if other != architecture]


def parts_of(
    stages: Sequence[Stage], architecture: str, mode: CrossArchitecture
) -> list[Part]:
    """The builds of ``architecture``: one, unless it must wait for others in the middle."""
    parts: list[Part] = []
    own: list[Stage] = []
    waits: list[Wait] = []
    for position, stage in enumerate(stages):
        if architecture not in stage.cells:
            continue
        foreign = foreign_waits(stages, position, architecture, mode)
        if foreign and own:
            parts.append(_part(architecture, len(parts), own, waits))
            # What the earlier part left undone must not be overtaken.
            waits = [*foreign, Wait(architecture, own[-1].number)]
            own = []
        elif foreign:
            waits = foreign
        own.append(stage)
    parts.append(_part(architecture, len(parts), own, waits))
    return parts


def _part(architecture: str, number: int, own: list[Stage], waits: list[Wait]) -> Part:
    return Part(architecture, number, tuple(own), tuple(sorted(waits)))


def refusals(stages: Sequence[Stage]) -> list[Problem]:
    """Each stage that would have to wait for another architecture, as an error."""
    problems = []
    for before, stage in pairwise(stages):
        for architecture, cells in stage.cells.items():
            if architecture in before.cells:
                continue
            jobs = ", ".join(title(*cell) for cell in cells[:5])
            problems.append(
                Problem(
                    f"pipeline.{stage.number}",
                    None,
                    f"{architecture} runs in stage {stage.number} ({jobs}) but not in"
                    f" stage {before.number}, which runs on {listed(before.cells)} only;"
                    " it would have to wait for another architecture, and that is refused",
                )
            )
    return problems
