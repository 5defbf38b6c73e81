"""What one concrete job of a pipeline comes down to: commands, packages, variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.pipeline.model import PipelineJob
from protocol.stages import Cell, title
from worker.supervisor.endings import Malformed
from worker.supervisor.plugins import Named, addition


@dataclass(frozen=True)
class Script:
    """What is run for a job, in order, and with what."""

    steps: tuple[tuple[str, str], ...]  #: (key, text) of run-before, run, run-after
    packages: tuple[str, ...]
    environment: Mapping[str, str | None]  #: None unsets


def script(
    cell: Cell,
    job: PipelineJob,
    architecture: str,
    source: Path,
    plugin_settings: Mapping[str, str],
) -> Script:
    """What ``job`` comes down to; `Malformed` says what of it cannot be done, and why.

    ``source`` is the project as it was fetched; plugins look at it.
    """
    who = title(*cell)
    if architecture not in job.architectures:
        raise Malformed(
            f"{who} is not for {architecture}: `architectures` says "
            f"{', '.join(job.architectures)}"
        )
    added = addition(Named(who=who, job=job, source=source, settings=plugin_settings))
    if not (job.run or added.run or added.is_complete):
        raise Malformed(f"{who} does not set `run`, so there is nothing to do")
    return Script(
        steps=added.steps(job),
        packages=(*added.packages, *(job.packages or ())),
        environment={**added.environment, **(job.environment or {})},
    )


def environment(*layers: Mapping[str, str | None]) -> dict[str, str]:
    """The variables of ``layers``, later ones winning; None takes a variable away."""
    merged: dict[str, str | None] = {}
    for layer in layers:
        merged.update(layer)
    return {name: value for name, value in merged.items() if value is not None}
