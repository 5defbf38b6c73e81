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
    WorkflowState,
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


class AttemptOfWorker(_Document, frozen=True, kw_only=True):
    """An attempt that a worker has or had."""

    job: int
    attempt: int
    name: str
    architecture: str
    result: JobResult | None  #: None: it goes on
    started_at: Moment | None
    finished_at: Moment | None


class Fault(_Document, frozen=True, kw_only=True):
    """An attempt that the farm could not run, of the last day."""

    at: Moment
    job: int
    attempt: int
    reason: str
    is_forgiven: bool  #: an outage's: the worker is not to blame


class Worker(WorkerInList, frozen=True, kw_only=True):
    """One worker and what it did lately, with the place in the log at which it was so."""

    attempts: tuple[AttemptOfWorker, ...]  #: the last 50, newest first
    results_24h: dict[str, int]  #: ends by result, of what was assigned in the last day
    busy_24h: float  #: seconds of all its attempts within the last day, together
    faults: tuple[Fault, ...]  #: the last 50
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


class WorkflowWait(_Document, frozen=True, kw_only=True):
    """One thing that a workflow waits for."""

    what: Literal[
        "condition", "sleep", "local", "job", "build", "ensure", "collection", "child"
    ]
    name: str
    since: Moment
    until: Moment | None
    seq: int | None
    job: int | None
    run: int | None
    workflow: str | None  #: the child
    missing: tuple[str, ...] | None = None  #: of a collection: who is not there yet


class WorkflowInList(_Document, frozen=True, kw_only=True):
    """A workflow in a list."""

    id: int
    kind: Literal["workflow"]
    name: str
    workflow_class: str
    version: int
    state: WorkflowState
    result: JobResult | None
    reason: str  #: of one that is parked: what to mend
    owner: str
    requester: str
    generation: int
    events: int  #: of this generation
    waits: tuple[WorkflowWait, ...]
    parent: str | None
    created_at: Moment
    changed_at: Moment
    finished_at: Moment | None
    deadline: Moment | None
    next_try: Moment | None  #: of one that is parked


class WorkflowPage(_Document, frozen=True, kw_only=True):
    """A page of workflows."""

    workflows: tuple[WorkflowInList, ...]
    next: int | None
    cursor: Cursor


class Workflow(WorkflowInList, frozen=True, kw_only=True):
    """Everything about one workflow but its history."""

    arguments: Any
    value: Any  #: what it returned
    cause: str  #: of one that is parked: the whole trace
    jobs: tuple[int, ...]  #: that it started, 1000 at most
    runs: tuple[int, ...]
    children: tuple[str, ...]
    cursor: Cursor


class WorkflowMoment(_Document, frozen=True, kw_only=True):
    """An event that reached a workflow, or a command that it gave after it."""

    n: int  #: the place of the event
    at: Moment
    what: str  #: started, signal, completed, failed, fired, cancel, timeout; or asked
    kind: str | None  #: of a command: local, job, build, child, timer, patch
    seq: int | None
    name: str | None
    by: str | None
    job: int | None
    run: int | None
    workflow: str | None
    until: Moment | None  #: of a timer
    payload: Any  #: what it brought, or was given; null where it is larger than 2000 bytes


class WorkflowHistory(_Document, frozen=True, kw_only=True):
    """A page of a workflow's history."""

    history: tuple[WorkflowMoment, ...]
    removed_at: Moment | None = None  #: when it was: long after the end
    generation: int
    next: int | None
    cursor: Cursor


class ScheduleTime(_Document, frozen=True, kw_only=True):
    """One time of a schedule."""

    at: Moment
    state: Literal["waiting", "started", "skipped", "failed"]
    reason: str
    workflow: str | None
    run: int | None


class Schedule(_Document, frozen=True, kw_only=True):
    """What begins at times of a calendar."""

    id: str
    kind: Literal["schedule"]
    name: str
    cron: str
    zone: str
    starts: dict[str, Any]
    overlap: Literal["skip", "queue", "replace"]
    catch_up: Literal["none", "last", "all"]
    catch_up_limit: int
    owner: str
    by: str
    state: Literal["active", "paused"]
    next_at: Moment | None
    times: tuple[ScheduleTime, ...]  #: the last 10
    created_at: Moment


class SchedulePage(_Document, frozen=True, kw_only=True):
    """A page of schedules."""

    schedules: tuple[Schedule, ...]
    next: str | None
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
    scopes: tuple[Literal["read", "submit", "cancel", "operate", "admin"], ...]
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


class Stay(_Document, frozen=True, kw_only=True):
    """A person who is logged in; nothing of their cookie."""

    id: int
    kind: Literal["stay"]
    who: str
    by: Literal["htpasswd", "proxy", "oidc"]
    display: str
    groups: tuple[str, ...]
    address: str
    created_at: Moment
    last_used_at: Moment  #: roughly
    expires_at: Moment


class StayPage(_Document, frozen=True, kw_only=True):
    """A page of people who are logged in."""

    stays: tuple[Stay, ...]
    next: int | None
    cursor: Cursor


class Act(_Document, frozen=True, kw_only=True):
    """Something that somebody did, or was refused."""

    id: int
    kind: Literal["act"]
    act: str  #: login, job.cancel, worker.duty ...
    at: Moment
    who: str  #: person ada, token ci, farm token, nobody
    address: str
    outcome: str | None  #: done, or the word of the problem; null: it is not known
    status: int | None  #: of the answer, as in HTTP
    run: int | None
    job: int | None
    worker: str | None
    facts: dict[str, Any]  #: what else it was about


class ActPage(_Document, frozen=True, kw_only=True):
    """A page of the audit."""

    audit: tuple[Act, ...]
    next: int | None
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


class OwnerCount(_Document, frozen=True, kw_only=True):
    """How many jobs an owner has in one state."""

    owner: str
    state: JobState
    jobs: int


class FailureCount(_Document, frozen=True, kw_only=True):
    """How many jobs failed of one class."""

    classification: Classification | None  #: None: of no class yet
    jobs: int


class Overview(_Document, frozen=True, kw_only=True):
    """The whole farm in a few numbers, from counters."""

    at: Moment
    jobs: tuple[JobCount, ...]  #: 1000 at most
    oldest_ready: OldestReady | None
    workers: tuple[WorkerCount, ...]
    running: int  #: leases there are
    held: int  #: holds of operators
    owners: tuple[OwnerCount, ...]  #: the 1000 largest
    #: Of the last 7 days, among the newest 500 jobs that failed.
    classifications: tuple[FailureCount, ...]
    cursor: Cursor


class Column(_Document, frozen=True, kw_only=True):
    """What stands in one column of a grid."""

    name: str  #: of the jobs, or of the pipeline jobs
    architecture: str
    series: str
    kind: str
    cell: str  #: of the jobs; empty for pipeline jobs
    part: int  #: of the jobs; 0 for pipeline jobs
    index: int | None  #: of the pipeline jobs


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """One cell of a grid, as an array, so that ten thousand are not long.

    Times are whole microseconds since 1970, UTC.
    """

    column: int  #: place in ``columns``, from 0
    job: int
    state: JobState
    result: JobResult | None
    started: int | None
    finished: int | None
    classification: Classification | None
    attempt: int
    index: int | None  #: of a pipeline job


class GridRow(_Document, frozen=True, kw_only=True):
    """One run of a grid."""

    run: int
    name: str
    repository: str | None
    source_digest: str | None
    refs: tuple[str, ...]
    owner: str
    requester: str
    state: RunState
    result: JobResult | None
    created_at: Moment
    finished_at: Moment | None
    cells: tuple[Cell, ...]
    more: bool  #: it has more than 20,000 cells: the first are shown


class Grid(_Document, frozen=True, kw_only=True):
    """Runs against what they run; 20,000 cells at most, and then fewer rows."""

    columns: tuple[Column, ...]  #: those that cells of this page stand in
    rows: tuple[GridRow, ...]  #: the newest run first
    next: int | None
    cursor: Cursor


class Node(_Document, frozen=True, kw_only=True):
    """A job of a run's graph."""

    id: int
    name: str
    kind: str
    cell: str
    part: int
    architecture: str
    series: str
    state: JobState
    result: JobResult | None
    reason: str
    root_cause: int | None
    attempt: int
    classification: Classification | None
    stages: tuple[tuple[str, ...], ...]  #: titles of its pipeline jobs, stage by stage
    created_at: Moment
    ready_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None


class GraphEdge(_Document, frozen=True, kw_only=True):
    """A dependency within a run."""

    from_: int = msgspec.field(name="from")  #: the job that is waited for
    to: int  #: the job that waits
    stage: int | None  #: of the first; None: all of it
    require: Require
    resolved_at: Moment | None


class RunGraph(_RunFacts, frozen=True, kw_only=True):
    """One run as a graph."""

    nodes: tuple[Node, ...]  #: the first 1000 jobs
    edges: tuple[GraphEdge, ...]  #: between nodes; 10,000 at most
    more: bool  #: there are more nodes, or more edges
    cursor: Cursor


class LogTail(_Document, frozen=True, kw_only=True):
    """The end of an attempt's log."""

    attempt: int
    from_: int = msgspec.field(name="from")  #: the byte of the log with which it begins
    length: int  #: bytes that there are of the whole log
    text: str  #: what is no UTF-8 is replaced; nothing in it can be trusted
    ended: bool  #: nothing comes after it


class HistoryEntry(_Document, frozen=True, kw_only=True):
    """An attempt that ended."""

    job: int
    run: int | None  #: the first that asked for the job
    attempt: int
    kind: str
    name: str
    repository: str | None
    architecture: str
    series: str
    worker: str | None
    result: JobResult
    classification: Classification | None
    queued_at: Moment
    started_at: Moment | None
    finished_at: Moment
    waited: float | None  #: seconds in the line; None: nobody took it
    ran: float | None  #: seconds


class TrendDay(_Document, frozen=True, kw_only=True):
    """The attempts that ended on one day, UTC."""

    day: Annotated[str, Meta(pattern=r"^[0-9]{4,6}-[0-9]{2}-[0-9]{2}$")]
    jobs: int
    good: int
    bad: int
    p50: float | None  #: seconds that half of those that began ran, at most
    p95: float | None


class Build(_Document, frozen=True, kw_only=True):
    """One build, or another job, whole."""

    job: Job
    explanation: Explanation
    log: LogTail
    history: tuple[TrendDay, ...]  #: of the same job, 30 days at most
    similar: tuple[HistoryEntry, ...]  #: the last 20 attempts of jobs like it
    cursor: Cursor


class QueueClass(_Document, frozen=True, kw_only=True):
    """Jobs that need the same of a worker."""

    id: int
    architecture: str
    isolation: Isolation
    series: tuple[str, ...]
    performs: str | None
    tags: tuple[str, ...]
    ready: int
    running: int  #: those that a worker has been given, too
    oldest_ready_at: Moment | None  #: of the first 100 of its line
    free_slots: int  #: of workers that suit and take work; others may want them, too


class HeldBy(_Document, frozen=True, kw_only=True):
    """What keeps a job of the line from starting."""

    what: Literal["farm", "architecture", "semaphore"]
    name: str  #: empty for the farm


class QueuedJob(_Document, frozen=True, kw_only=True):
    """A job that stands in the line."""

    place: int  #: from 1, in the line of the architecture that was asked for, or of all
    id: int
    name: str
    kind: str
    state: JobState
    architecture: str
    series: str
    owner: str
    repository: str | None
    score: int
    manual_score: int | None
    ready_at: Moment | None
    held_by: HeldBy | None
    likely_start: Moment | None  #: None: nobody knows
    earliest_start: Moment | None
    latest_start: Moment | None


class Queue(_Document, frozen=True, kw_only=True):
    """Who waits for a worker, and for how long it may be."""

    classes: tuple[QueueClass, ...]  #: with jobs that are ready or running; 1000 at most
    jobs: tuple[QueuedJob, ...]  #: a page that was filtered may be short: see ``next``
    next: str | None
    cursor: Cursor


class WorkerOfTimeline(_Document, frozen=True, kw_only=True):
    """A worker, as a timeline names it."""

    name: str
    slots: int
    state: WorkerState
    duty: Duty


class Bar(msgspec.Struct, frozen=True, array_like=True):
    """One attempt in a timeline, as an array. Times are microseconds since 1970, UTC."""

    worker: int  #: place in ``workers``, from 0
    job: int
    attempt: int
    name: int  #: place in ``names``, from 0
    started: int
    finished: int | None  #: None: it goes on
    result: JobResult | None
    state: JobState  #: of the attempt: assigned, running or done
    slots: int  #: that it takes


class Timeline(_Document, frozen=True, kw_only=True):
    """What workers did in a while."""

    since: Moment
    until: Moment
    workers: tuple[WorkerOfTimeline, ...]  #: by name; 1000 at most
    bars: tuple[Bar, ...]  #: by worker, the earlier first
    names: tuple[str, ...]  #: of jobs
    more: bool  #: there were more bars, or workers: the latest bars are shown
    cursor: Cursor


class History(_Document, frozen=True, kw_only=True):
    """Attempts that ended, and how long such ones took."""

    entries: tuple[HistoryEntry, ...]  #: a page may be short: see ``next``
    trend: tuple[TrendDay, ...]  #: with the first page only; 30 days at most
    trend_since: Moment | None  #: the trend knows all from then on
    next: str | None
    cursor: Cursor
