"""Plans a pipeline: which builds there will be, and what each waits for.

Pure: the same pipeline, series and mode always give the same plan.
"""

from __future__ import annotations

from collections.abc import Sequence

from buildmaster.planning.advice import partial_publishing
from buildmaster.planning.inputs import late_inputs
from buildmaster.planning.model import (
    CrossArchitecture,
    Plan,
    PlannedBuild,
    SkippedBuild,
    Wait,
)
from buildmaster.planning.parts import Part, parts_of, refusals
from buildmaster.planning.stages import job_of, sorted_stages, unplannable
from buildmaster.series import Series, newest
from protocol.pipeline.model import Pipeline
from protocol.pipeline.problems import Problem
from protocol.stages import title

__all__ = [
    "CrossArchitecture",
    "Plan",
    "PlannedBuild",
    "Series",
    "SkippedBuild",
    "Wait",
    "plan",
]

#: Edges of one plan; with more of them a pipeline is no longer one.
WAIT_LIMIT = 20_000


def plan(pipeline: Pipeline, series: Sequence[Series], mode: CrossArchitecture) -> Plan:
    """The builds of ``pipeline`` on a farm that has ``series``.

    Every pipeline job is in a build of each of its architectures, or among the skipped
    with the reason. With errors nothing is planned at all.
    """
    errors = unplannable(pipeline)
    if errors:
        return Plan(errors=tuple(errors))
    stages = sorted_stages(pipeline)
    errors = refusals(stages) if mode == "refuse" else []
    errors += late_inputs(pipeline, stages, mode)
    if errors:
        return Plan(errors=tuple(errors))
    architectures = sorted({one for stage in stages for one in stage.cells})
    parts = [
        part
        for architecture in architectures
        for part in parts_of(stages, architecture, mode)
    ]
    if sum(len(part.waits) for part in parts) > WAIT_LIMIT:
        return Plan(errors=(_too_many_waits(),))
    skipped, builds = _sorted_out(pipeline, parts, {one.name: one for one in series})
    return Plan(
        builds=tuple(builds),
        skipped=tuple(skipped),
        warnings=tuple(partial_publishing(pipeline, stages, mode)),
    )


def _too_many_waits() -> Problem:
    return Problem(
        "pipeline",
        None,
        f"more than {WAIT_LIMIT} waits between builds; use fewer stages or architectures",
    )


def _sorted_out(
    pipeline: Pipeline, parts: list[Part], known: dict[str, Series]
) -> tuple[list[SkippedBuild], list[PlannedBuild]]:
    fallback = _usable_series(pipeline, parts, known)
    reasons = _skip_reasons(parts, fallback)
    skipped, builds = [], []
    for part in parts:
        own = _newest_of(pipeline, part, known) or fallback.get(part.architecture)
        reason = reasons.get((part.architecture, part.number))
        if own is not None and reason is None:
            builds.append(_build(part, own))
        elif own is not None and reason is not None:
            skipped.append(_skipped(part, own.name, reason))
        elif part.number == 0:
            whole = [other for other in parts if other.architecture == part.architecture]
            skipped.append(_without_image(pipeline, whole))
    return skipped, builds


def _usable_series(
    pipeline: Pipeline, parts: list[Part], known: dict[str, Series]
) -> dict[str, Series]:
    """For each architecture that can be built at all, the newest series of its jobs."""
    usable: dict[str, list[Series]] = {}
    for part in parts:
        own = _newest_of(pipeline, part, known)
        if own is not None:
            usable.setdefault(part.architecture, []).append(own)
    return {one: best for one, all_ in usable.items() if (best := newest(all_))}


def _newest_of(pipeline: Pipeline, part: Part, known: dict[str, Series]) -> Series | None:
    names = dict.fromkeys(job_of(pipeline, cell).series for cell in part.cells)
    had = [known[name] for name in names if name in known]
    return newest([series for series in had if series.has(part.architecture)])


def _skip_reasons(
    parts: list[Part], usable: dict[str, Series]
) -> dict[tuple[str, int], str]:
    """Why parts are skipped that wait, however indirectly, for what is skipped."""
    home = {
        (part.architecture, stage.number): part for part in parts for stage in part.stages
    }
    reasons: dict[tuple[str, int], str] = {}
    # A part waits only for parts that begin with an earlier stage of the file.
    for part in sorted(parts, key=lambda part: part.stages[0].number):
        for wait in part.waits:
            awaited = home[wait.architecture, wait.stage]
            is_skipped = (awaited.architecture, awaited.number) in reasons
            if is_skipped or wait.architecture not in usable:
                reasons[part.architecture, part.number] = (
                    f"waits for stage {wait.stage} on {wait.architecture}, which is skipped"
                )
                break
    return reasons


def _build(part: Part, series: Series) -> PlannedBuild:
    return PlannedBuild(
        architecture=part.architecture,
        part=part.number,
        series=series.name,
        stages=tuple(stage.cells[part.architecture] for stage in part.stages),
        stage_numbers=tuple(stage.number for stage in part.stages),
        waits=part.waits,
    )


def _skipped(part: Part, series: str, reason: str) -> SkippedBuild:
    return SkippedBuild(
        architecture=part.architecture,
        series=series,
        jobs=tuple(title(*cell) for cell in part.cells),
        reason=reason,
    )


def _without_image(pipeline: Pipeline, parts: list[Part]) -> SkippedBuild:
    cells = [cell for part in parts for cell in part.cells]
    architecture = parts[0].architecture
    wanted = sorted({job_of(pipeline, cell).series for cell in cells})
    names = ", ".join(wanted[:5]) + (" ..." if len(wanted) > 5 else "")
    return SkippedBuild(
        architecture=architecture,
        series=None,
        jobs=tuple(title(*cell) for cell in cells),
        reason=f"no usable series for {architecture}: the farm has no image of {names}",
    )
