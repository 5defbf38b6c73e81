"""The kinds of jobs that every farm has."""

from __future__ import annotations

from pathlib import Path

from zope.interface import implementer

from buildmaster.kinds.interface import After, EndedJob, IJobKind
from buildmaster.requests import Requirements


@implementer(IJobKind)
class Native:
    """A job that says by itself what is to be performed."""

    name = "native"
    description = "runs a registered callable or command on a worker, without isolation"
    performs: str | None = None
    requirements = Requirements()
    sql_folder: Path | None = None
    document: str | None = None
    hears_ends = False

    def ended(self, job: EndedJob) -> After | None:
        """Nothing follows but what its edges say."""


@implementer(IJobKind)
class Build(Native):
    """A stage list of a pipeline; planned and ordered by the farm itself."""

    name = "build"
    description = "runs a stage list of a pipeline in environments on a worker"


BUILT_IN = (Native(), Build())
