"""The expanded configuration as JSON, key by key as the reference implementation has it.

Optional keys of a job are left out when they were not given; ``output``, ``license`` and
a package repository always have all of their keys.
"""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.pipeline.model import (
    License,
    Output,
    PackageRepository,
    Pipeline,
    PipelineJob,
)


def expanded(pipeline: Pipeline) -> dict[str, Any]:
    """``{"pipeline": [[name]], "jobs": {name: [{...}]}, "license": ...}``."""
    return {
        "pipeline": [list(stage) for stage in pipeline.stages],
        "jobs": {name: [_job(job) for job in jobs] for name, jobs in pipeline.jobs.items()},
        "license": _license(pipeline.license),
    }


def _license(terms: License | None) -> dict[str, Any] | None:
    return None if terms is None else {"spdx": terms.spdx, "path": terms.path}


def _job(job: PipelineJob) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(job)
    document["root"] = job.root
    if job.output is not None:
        document["output"] = _output(job.output)
    if job.package_repositories:
        document["package-repositories"] = list(map(_repository, job.package_repositories))
        document["sources-list-lines"] = [
            line
            for repository in job.package_repositories
            for line in repository.sources_list_lines
        ]
    return document


def _output(output: Output) -> dict[str, Any]:
    keys = (
        "paths",
        "distribute",
        "channels",
        "properties",
        "dynamic-properties",
        "expires",
    )
    given: dict[str, Any] = msgspec.to_builtins(output)
    return dict.fromkeys(keys) | given


def _repository(repository: PackageRepository) -> dict[str, Any]:
    return {
        "type": repository.type,
        "ppa": repository.ppa,
        "formats": list(repository.formats),
        "components": list(repository.components),
        "suites": list(repository.suites),
        "url": repository.url,
        "trusted": repository.trusted if repository.trusted is not None else False,
    }
