"""The outcome of planning: builds, what was left out, and what is wrong."""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.pipeline.problems import Problem
from protocol.stages import Stages

#: What happens where a stage must wait for another architecture.
CrossArchitecture = Literal["orchestrate", "refuse", "barrier"]
MODES: tuple[CrossArchitecture, ...] = ("orchestrate", "refuse", "barrier")


class Wait(msgspec.Struct, frozen=True, order=True):
    """That stage of the file, on that architecture, must have passed."""

    architecture: str
    stage: int  #: index in the file's ``pipeline``


class PlannedBuild(msgspec.Struct, frozen=True, kw_only=True):
    """One build: the stages of one architecture, or of a part of them."""

    architecture: str
    part: int  #: 0 unless the architecture is cut
    series: str  #: newest of its jobs' series that the farm has
    stages: Stages
    stage_numbers: tuple[int, ...]  #: of each stage, its index in the file's pipeline
    waits: tuple[Wait, ...]  #: before it starts; sorted


class SkippedBuild(msgspec.Struct, frozen=True, kw_only=True):
    """What will not be built, and why."""

    architecture: str
    series: str | None
    jobs: tuple[str, ...]  #: ``name:index``
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All builds of a pipeline, by architecture and part; none if there are errors."""

    builds: tuple[PlannedBuild, ...] = ()
    skipped: tuple[SkippedBuild, ...] = ()
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
