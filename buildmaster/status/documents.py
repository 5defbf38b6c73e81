"""The documents of the status, described once.

PostgreSQL makes them (`buildmaster.store.documents`); readers pass over fields that they
do not know. Times are ISO 8601 in UTC with microseconds and ``Z``. Files have addresses
relative to the farm's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from buildmaster.explanation.telling import Explanation
from buildmaster.status.questions import (
    Classification,
    Cursor,
    JobResult,
    JobState,
    RunState,
)

__all__ = ["Explanation"]

Moment = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
        description="ISO 8601, UTC, microseconds",
    ),
]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
PipelineJobState = Literal["waiting", "running", "done"]
Require = Literal["good", "finished", "bad", "always"]
Isolation = Literal["native", "chroot", "vm"]
WorkerState = Literal["connected", "unreachable", "offline"]
Duty = Literal["active", "paused", "draining", "retired"]


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    pass


class JobInList(_Document, frozen=True, kw_only=True):
    """A job, as lists show it."""

    id: int
    kind: str
    name: str
    cell: str  #: axis=value,axis=value of a matrix; may be empty
    part: int
    state: JobState
    result: JobResult | None
    reason: str  #: a sentence: whose fault, what to do
    classification: Classification | None  #: of a failure: why it is no news
    root_cause: int | None  #: of a job that never ran: the job that made it so
    attempt: int  #: the current one, from 1
    architecture: str  #: empty: any
    performs: str | None  #: what a native job calls
    isolation: Isolation
    series: str
    repository: str | None
    source_digest: str | None
    refs: tuple[str, ...]
    runs: tuple[int, ...]
    owner: str
    requester: str
    worker: str | None  #: of the current attempt
    score: int
    manual_score: int | None
    parked_for: str
    created_at: Moment
    ready_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    superseded_by: int | None
    group: str | None
    cancel_asked_at: Moment | None


class File(_Document, frozen=True, kw_only=True):
    """A file that a pipeline job made."""

    path: str
    sha256: Sha256
    size: int  #: bytes
    url: str


class PipelineJob(_Document, frozen=True, kw_only=True):
    """One pipeline job of the current attempt."""

    name: str
    index: int
    title: str  #: name:index
    stage: int
    state: PipelineJobState
    result: JobResult | None
    reason: str
    exit_status: int | None
    series: str
    properties: dict[str, Any] | None
    started_at: Moment | None
    finished_at: Moment | None
    kept_from: int | None  #: the earlier attempt that passed it
    image: str | None  #: key of the image of its environment
    lingers_until: Moment | None  #: until when its environment is held
    artifacts: tuple[File, ...]  #: 1000 at most


class Attempt(_Document, frozen=True, kw_only=True):
    """One try of a job."""

    number: int
    worker: str | None
    result: JobResult | None
    reason: str
    exit_status: int | None
    output: Any  #: what a native job returned
    queued_at: Moment
    assigned_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    log_length: int  #: bytes recorded so far


class Edge(_Document, frozen=True, kw_only=True):
    """A dependency, as the other end sees it."""

    job: int  #: the other end
    stage: int | None  #: of the job that is waited for; None: all of it
    require: Require
    handed: Any  #: which files are handed over, and where they are found
    resolved_at: Moment | None


class Requirements(_Document, frozen=True, kw_only=True):
    """What a worker must have."""

    architecture: str
    isolation: Isolation
    tags: tuple[str, ...]
    slots: int
    cpu: float
    memory: int
    disk: int
    worker: str | None


class TimeLimits(_Document, frozen=True, kw_only=True):
    """Seconds; None: none."""

    run: float | None  #: of one attempt
    idle: float | None  #: without output
    queue: float | None  #: in the line
    total: float | None  #: with retries


class Classified(_Document, frozen=True, kw_only=True):
    """What a failure is, as somebody says, or a rule."""

    classification: Classification
    note: str
    link: str  #: an address with https:// or http://, or empty
    by: str
    at: Moment
    rule: int | None  #: None: by hand


class JobNode(_Document, frozen=True, kw_only=True):
    """What only the nodes of a file of references have."""

    job: str  #: its identifier in the file
    package: str | None  #: or a component of packages
    covers: tuple[str, ...]  #: packages whose changes are its own
    scope: Literal["each", "top", "component", "run"]
    reuse: Literal["never", "inputs", "outputs"]
    inputs: str  #: its key, as far as it was known from the start
    key: str | None  #: its key, where that depends on what others make
    reused_from: int | None  #: the job whose result stands for its own
    reused_attempt: int | None
    verifies: int | None  #: the job whose result could have stood for it
    is_same: bool | None  #: whether it made the same files
    changed: tuple[str, ...] | None  #: packages that are not as they were published
    gate: str | None  #: why somebody has to let it go
    allow_failure: bool


class Job(JobInList, frozen=True, kw_only=True):
    """Everything about one job."""

    classified: Classified | None  #: of the current attempt
    details: Any  #: what its kind adds
    stages: tuple[tuple[tuple[str, int], ...], ...]
    stage_numbers: tuple[int, ...] | None
    arguments: dict[str, Any] | None  #: of a native job
    requirements: Requirements
    limits: TimeLimits
    semaphores: tuple[str, ...]
    retry: tuple[Any, ...]
    not_before: Moment | None
    deadline: Moment | None
    node: JobNode | None  #: of one that stands in a .headrace.yaml
    pipeline_jobs: tuple[PipelineJob, ...]
    attempts: tuple[Attempt, ...]  #: the newest 1000
    needs: tuple[Edge, ...]
    wanted_by: tuple[Edge, ...]
    cursor: Cursor  #: whatever this does not show yet is told after it


class JobPage(_Document, frozen=True, kw_only=True):
    """A page of jobs."""

    jobs: tuple[JobInList, ...]
    next: int | None  #: what ``after`` of the next page is; None: there is none
    cursor: Cursor


class JobOfRun(_Document, frozen=True, kw_only=True):
    """A job, as a list of runs names it."""

    id: int
    name: str
    state: JobState
    result: JobResult | None
    architecture: str
    series: str


class _RunFacts(_Document, frozen=True, kw_only=True):
    id: int
    kind: Literal["run"]
    state: RunState
    result: JobResult | None
    attempt: None
    name: str
    repository: str | None
    source_digest: str | None
    refs: tuple[str, ...]
    trust_domain: str
    requester: str
    owner: str
    cross_architecture: Literal["orchestrate", "refuse", "barrier"]
    created_at: Moment
    finished_at: Moment | None
    job_count: int


class RunInList(_RunFacts, frozen=True, kw_only=True):
    """A run, as lists show it."""

    jobs: tuple[JobOfRun, ...]  #: the first 20


class Skipped(_Document, frozen=True, kw_only=True):
    """What a submission left out."""

    architecture: str | None = None
    series: str | None = None
    jobs: tuple[str, ...] = ()
    reason: str = ""


class Run(_RunFacts, frozen=True, kw_only=True):
    """Everything about one run."""

    skipped: tuple[Skipped, ...]
    notes: tuple[Any, ...]
    jobs: tuple[JobInList, ...]  #: the first 1000
    cursor: Cursor


class RunPage(_Document, frozen=True, kw_only=True):
    """A page of runs."""

    runs: tuple[RunInList, ...]
    next: int | None
    cursor: Cursor


class Offered(_Document, frozen=True, kw_only=True):
    """One kind of environment that a worker can make."""

    isolation: Isolation
    architecture: str
    series: tuple[str, ...]  #: "*" is any


class Lease(_Document, frozen=True, kw_only=True):
    """An attempt that a worker has."""

    job: int
    attempt: int


class WorkerInList(_Document, frozen=True, kw_only=True):
    """A worker."""

    id: str
    kind: Literal["worker"]
    name: str
    state: WorkerState
    session: str | None
    master: str | None
    offers: tuple[Offered, ...]
    tags: tuple[str, ...]
    slots: int
    running: tuple[Lease, ...]
    may_join: bool
    duty: Duty
    duty_reason: str
    duty_by: str
    duty_until: Moment | None
    quarantined_at: Moment | None
    quarantine_reason: str
    software: str
    connected_at: Moment | None
    last_heard_at: Moment | None


class Worker(WorkerInList, frozen=True, kw_only=True):
    """One worker, with the place in the log at which it was so."""

    cursor: Cursor


class WorkerPage(_Document, frozen=True, kw_only=True):
    """A page of workers."""

    workers: tuple[WorkerInList, ...]
    next: str | None
    cursor: Cursor


class Semaphore(_Document, frozen=True, kw_only=True):
    """How many of the jobs that name it may be at work."""

    id: str
    kind: Literal["semaphore"]
    name: str
    capacity: int
    held_by: tuple[int, ...]  #: the first 100 jobs
    aside: int  #: jobs that wait for it


class SemaphorePage(_Document, frozen=True, kw_only=True):
    """A page of semaphores."""

    semaphores: tuple[Semaphore, ...]
    next: str | None
    cursor: Cursor


class FailureRule(_Document, frozen=True, kw_only=True):
    """What failures are in whose logs a pattern is found."""

    id: int
    kind: Literal["rule"]
    pattern: str  #: of RE2, for one line
    classification: Classification
    note: str
    link: str
    project: str | None  #: repositories below this address; None: all
    name: str | None  #: of the job; None: any
    by: str
    created_at: Moment
    failures: int  #: that it has found, 1000 at most


class RulePage(_Document, frozen=True, kw_only=True):
    """A page of rules."""

    rules: tuple[FailureRule, ...]
    next: int | None
    cursor: Cursor


class Hold(_Document, frozen=True, kw_only=True):
    """What an operator keeps from starting."""

    id: str
    kind: Literal["hold"]
    scope: Literal["farm", "architecture", "project"]
    name: str
    reason: str
    by: str
    from_: str = msgspec.field(name="from")  #: the address of who asked
    created_at: Moment
    until: Moment | None


class HoldList(_Document, frozen=True, kw_only=True):
    """All holds, 1000 at most."""

    holds: tuple[Hold, ...]
    next: None
    cursor: Cursor


class Token(_Document, frozen=True, kw_only=True):
    """What is known of a client's token; never the token."""

    id: str
    kind: Literal["token"]
    name: str
    scopes: tuple[Literal["read", "submit", "cancel", "admin"], ...]
    project: str | None
    state: Literal["good", "revoked"]
    created_by: str
    created_at: Moment
    last_used_at: Moment | None
    revoked_at: Moment | None


class TokenPage(_Document, frozen=True, kw_only=True):
    """A page of tokens."""

    tokens: tuple[Token, ...]
    next: str | None
    cursor: Cursor


class ForecastScore(_Document, frozen=True, kw_only=True):
    """How many forecasts for a class of jobs came true."""

    id: int
    kind: Literal["forecast"]
    class_: int | None = msgspec.field(name="class")  #: None: all classes
    architecture: str | None
    isolation: Isolation | None
    performs: str | None
    forecasts: int
    early: int
    within: int
    late: int
    share: float  #: within, of all
    nominal: float  #: what it should be


class ForecastPage(_Document, frozen=True, kw_only=True):
    """A page of scores."""

    forecast: tuple[ForecastScore, ...]
    next: int | None
    cursor: Cursor


class Event(_Document, frozen=True, kw_only=True):
    """Something that happened."""

    id: Cursor
    kind: str  #: job.ready, job.done, run.created, worker.connected ...
    at: Moment
    run: int | None
    job: int | None
    worker: str | None
    payload: dict[str, Any]


class EventPage(_Document, frozen=True, kw_only=True):
    """Events in the order in which all readers get them."""

    events: tuple[Event, ...]
    cursor: Cursor  #: the next page begins ``since`` here


class JobCount(_Document, frozen=True, kw_only=True):
    """How many jobs there are of one sort."""

    architecture: str  #: empty: any
    kind: str
    state: JobState
    result: JobResult | None
    jobs: int


class WorkerCount(_Document, frozen=True, kw_only=True):
    """How many workers there are of one sort."""

    state: WorkerState
    duty: Duty
    workers: int
    slots: int
    quarantined: int


class OldestReady(_Document, frozen=True, kw_only=True):
    """The job that has stood in the line for longest, by its number."""

    job: int
    ready_at: Moment | None


class Overview(_Document, frozen=True, kw_only=True):
    """The whole farm in a few numbers, from counters."""

    at: Moment
    jobs: tuple[JobCount, ...]  #: 1000 at most
    oldest_ready: OldestReady | None
    workers: tuple[WorkerCount, ...]
    running: int  #: leases there are
    held: int  #: holds of operators
    cursor: Cursor
