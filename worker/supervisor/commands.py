"""What one concrete job of a pipeline comes down to: commands, packages, variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.pipeline.model import PipelineJob
from protocol.stages import Cell, title
from worker.supervisor.endings import Malformed


@dataclass(frozen=True)
class Plugin:
    """What a plugin adds to a job that does not say it itself."""

    packages: tuple[str, ...]
    environment: Mapping[str, str]
    run: str


#: Debian's own Python refuses pip's installations unless told; others ignore this.
_PIP = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}

_PLUGINS = {
    "tox": Plugin(
        packages=("python3-pip",),
        environment={"TOX_TESTENV_PASSENV": "http_proxy https_proxy", **_PIP},
        run="python3 -m pip install tox==3.24.5\ntox",
    ),
    "pyproject-build": Plugin(
        packages=("python3-pip", "python3-venv"),
        environment=_PIP,
        run="python3 -m pip install build==0.7.0\npython3 -m build",
    ),
}


@dataclass(frozen=True)
class Script:
    """What is run for a job, in order, and with what."""

    steps: tuple[tuple[str, str], ...]  #: (key, text) of run-before, run, run-after
    packages: tuple[str, ...]
    sources: tuple[str, ...]  #: lines for apt's sources.list
    environment: Mapping[str, str | None]  #: None unsets


def script(cell: Cell, job: PipelineJob, architecture: str) -> Script:
    """What ``job`` comes down to; `Malformed` says what of it cannot be done, and why."""
    who = title(*cell)
    if architecture not in job.architectures:
        raise Malformed(
            f"{who} is not for {architecture}: `architectures` says "
            f"{', '.join(job.architectures)}"
        )
    if job.snaps:
        raise Malformed(
            f"`snaps` of {who} asks for {job.snaps[0].name}, but no worker of this farm "
            "can install snaps; use `packages`"
        )
    plugin = _plugin(who, job)
    run = job.run or (plugin.run if plugin else None)
    if not run:
        raise Malformed(f"{who} does not set `run`, so there is nothing to do")
    steps = (("run-before", job.run_before), ("run", run), ("run-after", job.run_after))
    return Script(
        steps=tuple((key, text) for key, text in steps if text),
        packages=(*(plugin.packages if plugin else ()), *(job.packages or ())),
        sources=tuple(
            line for each in job.package_repositories for line in each.sources_list_lines
        ),
        environment={**(plugin.environment if plugin else {}), **(job.environment or {})},
    )


def _plugin(who: str, job: PipelineJob) -> Plugin | None:
    if job.plugin is None:
        return None
    if job.plugin not in _PLUGINS:
        raise Malformed(
            f"`plugin` of {who} is {job.plugin}, which this farm does not know; it knows "
            f"{', '.join(sorted(_PLUGINS))}"
        )
    return _PLUGINS[job.plugin]


def environment(*layers: Mapping[str, str | None]) -> dict[str, str]:
    """The variables of ``layers``, later ones winning; None takes a variable away."""
    merged: dict[str, str | None] = {}
    for layer in layers:
        merged.update(layer)
    return {name: value for name, value in merged.items() if value is not None}
