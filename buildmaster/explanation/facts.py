"""What is known of one job to somebody who asks why it waits, or why it ended.

Pure. ``buildmaster/store/facts.py`` looks it up.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class EdgeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A dependency that is not resolved."""

    job: int
    title: str
    state: str
    stage: int | None
    require: str


class LinkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A job somewhere upstream that has not ended."""

    job: int
    title: str
    state: str
    wanted_by: int  #: the job nearer to the one that is explained
    worker: str | None
    since: str | None


class HolderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A job that has a semaphore."""

    job: int
    title: str
    worker: str | None


class SemaphoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A semaphore that the job needs."""

    name: str
    capacity: int
    held: int
    holders: tuple[HolderFacts, ...]
    before: int  #: jobs that stand aside for it, in front of this one


class RefusalFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is passed over for the job."""

    worker: str
    reason: str
    until: str


class OtherFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Another job that is spoken of."""

    job: int
    title: str
    result: str | None
    reason: str


class LeaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who has the job."""

    worker: str
    worker_state: str
    assigned_at: str
    accepted_at: str | None
    elapsed: float


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One job, and what stands in its way."""

    cursor: str = "0-0"  #: the event that this knows of, and all before
    id: int
    kind: str
    name: str
    title: str
    state: str
    result: str | None
    reason: str
    attempt: int
    class_id: int
    owner: str
    requester: str
    repository: str | None
    errors: int
    error_limit: int
    failures: int
    lost_workers: int
    parked_for: str
    cancel_reason: str
    is_cancelling: bool
    concurrency_group: str | None
    not_before: str | None  #: a time that has not come
    delay: float  #: seconds until then
    queue_limit: float | None
    deadline: str | None
    ready_at: str | None
    started_at: str | None
    finished_at: str | None
    worker: str | None  #: of the attempt that ended last, if it is over
    position: int  #: in the line, or where it will stand
    aside: str | None  #: the semaphore for which it stepped out of the line
    edges: tuple[EdgeFacts, ...]
    open_edges: int
    chain: tuple[LinkFacts, ...]
    semaphores: tuple[SemaphoreFacts, ...]
    refusals: tuple[RefusalFacts, ...]
    last_reason: str | None  #: why the attempt before this one ended
    root: OtherFacts | None
    superseded_by: OtherFacts | None
    lease: LeaseFacts | None


@dataclass(frozen=True)
class Place:
    """How many jobs stand before one in the line."""

    before: int
    is_exact: bool  #: else it is about so many
