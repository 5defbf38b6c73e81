"""Sorts a pipeline's stages by architecture."""

from __future__ import annotations

import msgspec

from protocol.pipeline.model import Pipeline, PipelineJob
from protocol.pipeline.problems import Problem, quoted
from protocol.stages import Cell


class Stage(msgspec.Struct, frozen=True):
    """A stage in which something runs."""

    number: int  #: index in the file's pipeline
    cells: dict[str, tuple[Cell, ...]]  #: what runs, by architecture; never empty


def sorted_stages(pipeline: Pipeline) -> list[Stage]:
    """The stages in which something runs, in order."""
    stages = []
    for number, names in enumerate(pipeline.stages):
        cells: dict[str, list[Cell]] = {}
        for name in names:
            for index, job in enumerate(pipeline.jobs[name]):
                for architecture in dict.fromkeys(job.architectures):
                    cells.setdefault(architecture, []).append((name, index))
        if cells:
            frozen = {architecture: tuple(own) for architecture, own in cells.items()}
            stages.append(Stage(number, frozen))
    return stages


def unplannable(pipeline: Pipeline) -> list[Problem]:
    """Why ``pipeline`` cannot be planned on any farm."""
    if not any(pipeline.stages):
        return [Problem("pipeline", None, "no stages: the pipeline is empty")]
    problems = []
    for number, names in enumerate(pipeline.stages):
        for place, name in enumerate(names):
            if not pipeline.jobs.get(name):
                wrong = "undefined" if name not in pipeline.jobs else "empty matrix of"
                problems.append(
                    Problem(
                        f"pipeline.{number}.{place}", None, f"{wrong} job {quoted(name)}"
                    )
                )
    return problems


def job_of(pipeline: Pipeline, cell: Cell) -> PipelineJob:
    """The concrete job that ``cell`` names."""
    name, index = cell
    return pipeline.jobs[name][index]
