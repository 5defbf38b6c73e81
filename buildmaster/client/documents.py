"""The documents of a farm, as frozen types that hold what programs ask for most.

Whoever wants all of a document takes its JSON. Fields that a farm adds later are passed
over, and ones that it leaves out have a default; words such as a state may be any.

They are not the types of `buildmaster.status.documents`, which say what this release's
master answers, word for word, so that tests can compare: a command that read with those
would fail at a master that is a little older, and lacks a field, or a little newer, and
has one more state.
"""

from __future__ import annotations

from typing import Any

import msgspec


class RunJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as a list of runs names it."""

    id: int
    name: str
    state: str
    result: str | None = None
    attempt: int = 1
    architecture: str | None = None
    series: str | None = None
    part: int = 0


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    id: int
    state: str
    result: str | None = None
    name: str = ""
    repository: str | None = None
    source_digest: str | None = None
    refs: tuple[str, ...] = ()
    requester: str = ""
    created_at: str | None = None
    finished_at: str | None = None
    jobs: tuple[RunJob, ...] = ()


class PipelineJobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline job of a job's current attempt."""

    name: str
    index: int
    stage: int | None = None
    state: str | None = None
    result: str | None = None
    reason: str | None = ""
    exit_status: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    kept_from: int | None = None  #: the earlier attempt that passed it
    image: str | None = None  #: key of the image of its environment
    lingers_until: str | None = None  #: until when its environment is held


class AttemptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a job."""

    number: int
    worker: str | None = None
    result: str | None = None
    reason: str | None = ""
    started_at: str | None = None
    finished_at: str | None = None
    exit_status: int | None = None
    output: dict[str, Any] | None = None  #: what a native job returned
    log_length: int | None = 0  #: bytes recorded so far


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A job."""

    id: int
    kind: str
    name: str
    state: str
    attempt: int
    result: str | None = None
    reason: str | None = ""
    root_cause: int | None = None
    architecture: str | None = None
    series: str | None = None
    isolation: str | None = None
    performs: str | None = None
    arguments: dict[str, Any] | None = None
    repository: str | None = None
    source_digest: str | None = None
    worker: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    stages: tuple[tuple[tuple[str, int], ...], ...] = ()
    pipeline_jobs: tuple[PipelineJobDocument, ...] = ()
    attempts: tuple[AttemptDocument, ...] = ()


class WorkerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A worker."""

    name: str
    state: str
    slots: int = 0


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt that a retry queued."""

    id: int
    attempt: int
    state: str
