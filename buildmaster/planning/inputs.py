"""Makes sure that what a job takes as input is there when it starts."""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.planning.model import CrossArchitecture
from buildmaster.planning.parts import foreign_waits
from buildmaster.planning.stages import Stage, job_of
from protocol.pipeline.model import Pipeline
from protocol.pipeline.problems import Problem, listed

#: By architecture: the number of its last stage that has surely passed.
_Passed = dict[str, int]


def late_inputs(
    pipeline: Pipeline, stages: Sequence[Stage], mode: CrossArchitecture
) -> list[Problem]:
    """Jobs that take from another architecture what they do not wait for.

    Such a job would find its input or not, as chance has it.
    """
    sources = {
        job.input.job_name for jobs in pipeline.jobs.values() for job in jobs if job.input
    }
    if not sources:
        return []
    first = _first_stages(stages, sources)
    passed: dict[str, _Passed] = {}
    problems = []
    for position, stage in enumerate(stages):
        now = {
            architecture: _passed(stages, position, architecture, mode, passed)
            for architecture in stage.cells
        }
        for architecture in stage.cells:
            problems += _late(pipeline, stage, architecture, now[architecture], first)
            passed[architecture] = {**now[architecture], architecture: stage.number}
    return problems


def _first_stages(stages: Sequence[Stage], names: set[str]) -> dict[str, dict[str, int]]:
    """For each of ``names``: by architecture, the first stage it runs in."""
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for stage in stages:
        for architecture, cells in stage.cells.items():
            for name, _ in cells:
                if name in found:
                    found[name].setdefault(architecture, stage.number)
    return found


def _passed(
    stages: Sequence[Stage],
    position: int,
    architecture: str,
    mode: CrossArchitecture,
    passed: dict[str, _Passed],
) -> _Passed:
    # Passed as of the previous stage: that of a stage's own members is not yet there.
    together = dict(passed.get(architecture, {}))
    for wait in foreign_waits(stages, position, architecture, mode):
        for other, number in passed[wait.architecture].items():
            together[other] = max(number, together.get(other, -1))
    return together


def _late(
    pipeline: Pipeline,
    stage: Stage,
    architecture: str,
    passed: _Passed,
    first: dict[str, dict[str, int]],
) -> list[Problem]:
    problems = []
    for name, index in stage.cells[architecture]:
        wanted = job_of(pipeline, (name, index)).input
        if wanted is None or architecture in first[wanted.job_name]:
            continue
        makers = {
            other: number
            for other, number in first[wanted.job_name].items()
            if passed.get(other, -1) < number
        }
        if makers:
            problems.append(
                Problem(
                    f"jobs.{name}.{index}.input.job-name",
                    None,
                    f"on {architecture} the job {name}:{index} takes the output of"
                    f" {wanted.job_name}, which runs on {listed(makers)} only, and does not"
                    f" wait for it; plan with barrier, or let {architecture} make its own",
                )
            )
    return problems
