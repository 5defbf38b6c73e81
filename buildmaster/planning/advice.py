"""Warns where a plan may publish something although another architecture failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from buildmaster.planning.model import CrossArchitecture
from buildmaster.planning.stages import Stage, job_of
from protocol.pipeline.model import Pipeline
from protocol.pipeline.problems import Problem, listed
from protocol.stages import Cell, title

#: Nothing in a configuration says that a job publishes; its name often does.
_PUBLISHES = re.compile("publish|release|upload|deploy|push|promote|ship")


def partial_publishing(
    pipeline: Pipeline, stages: Sequence[Stage], mode: CrossArchitecture
) -> list[Problem]:
    """Stages that would wait for every architecture in ``barrier``, and here do not.

    Only where it can matter: fewer architectures run the stage than the one before it,
    as is usual for publishing, or a job of it publishes by its output or name.
    """
    if mode == "barrier":
        return []
    warnings = []
    for before, stage in pairwise(stages):
        narrows = before.cells.keys() - stage.cells.keys()
        for architecture, cells in stage.cells.items():
            others = [other for other in before.cells if other != architecture]
            if architecture not in before.cells or not others:
                continue
            suspects = cells if narrows else _publishing(pipeline, cells)
            if suspects:
                warnings.append(_warning(before, stage, architecture, suspects, others))
    return warnings


def _publishing(pipeline: Pipeline, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if _publishes(pipeline, cell))


def _publishes(pipeline: Pipeline, cell: Cell) -> bool:
    output = job_of(pipeline, cell).output
    if output is not None and (output.distribute or output.channels):
        return True
    return _PUBLISHES.search(cell[0]) is not None


def _warning(
    before: Stage,
    stage: Stage,
    architecture: str,
    suspects: tuple[Cell, ...],
    others: list[str],
) -> Problem:
    jobs = ", ".join(title(*cell) for cell in suspects[:5])
    return Problem(
        f"pipeline.{stage.number}",
        None,
        f"{jobs} on {architecture} runs even if stage {before.number} failed on"
        f" {listed(others)}; to wait for every architecture, plan with barrier",
    )
