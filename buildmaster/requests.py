"""What may be asked of the farm, and how it answers: the types of the write path.

HTTP, the command line and tests make these; `buildmaster.submission` and
`buildmaster.intervention` act on them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

Word = Annotated[str, Meta(min_length=1, max_length=1000)]
IsolationName = Literal["native", "chroot", "vm"]

#: Text without control characters: it stands in lists, sentences and rows.
Text = Annotated[
    str, Meta(min_length=1, max_length=200, pattern="^[^\\x00-\\x1f\\x7f]+\\Z")
]
JobId = Annotated[int, Meta(ge=1, le=2**62)]
Amount = Annotated[int, Meta(ge=0, le=2**30)]
Score = Annotated[int, Meta(ge=0, le=1_000_000)]
#: A hundred years is as good as no limit, and a number that PostgreSQL can add to a time.
Seconds = Annotated[float, Meta(gt=0, le=100 * 366 * 86400.0)]
Moment = Annotated[datetime, Meta(tz=True)]
#: Jobs of one graph, and needs of one job.
GRAPH_LIMIT = 20_000
NEEDS_LIMIT = 20_000


class GitRequest(msgspec.Struct, frozen=True, kw_only=True, tag="git", tag_field="kind"):
    """Build a revision of a git repository; the master finds out which commit that is."""

    repository: Word  #: URL, or an absolute path where the farm allows local ones
    revision: Word = "HEAD"  #: commit, branch or tag


class TreeRequest(msgspec.Struct, frozen=True, kw_only=True, tag="tree", tag_field="kind"):
    """Build a work tree whose tar archive was stored with PUT /artifacts/SHA256."""

    name: Word  #: private name of the tree, as in worktree/USER/FOLDER
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]


class MadeRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="made",
    tag_field="kind",
):
    """Build the tree that a native job makes first, in the same run: a recipe.

    The pipeline is planned at once, so it stands here and not in the tree.
    """

    name: Text  #: of the run; builds call their project so
    by: JobRequest  #: must return ``{"tree": {"sha256": ..., "size": ...}}``
    pipeline: Annotated[str, Meta(min_length=1, max_length=512 * 1024)]  #: the file's text


class SubmissionRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Run the pipeline of a source. The body of POST /api/v1/runs."""

    source: GitRequest | TreeRequest | MadeRequest
    refs: Annotated[tuple[Word, ...], Meta(max_length=100)] = ()
    #: Path of the file in the source; None: .headrace.yaml, or else .launchpad.yaml.
    configuration: Word | None = None
    trigger: Word | None = None  #: the event that starts it; jobs for others are left out
    isolation: IsolationName | None = None  #: None: what the farm does by default
    cross_architecture: Literal["orchestrate", "refuse", "barrier"] = "orchestrate"
    force: bool = False  #: add an attempt to jobs that exist and are done
    wait_for_worker: bool = False  #: queue also what no known worker can run
    owner: Word | None = None  #: whose share; None: the requester's


class Need(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """One dependency of a new job; just the name or the id stands for the usual kind."""

    job: Text | JobId  #: a name of the same graph, or the id of a job that exists
    require: Literal["good", "finished", "bad", "always"] = "good"
    weak: bool = False  #: it vanishes if there is no such job


class Requirements(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """What a job needs of its worker, and takes of it; None is what its kind does."""

    architecture: Annotated[str, Meta(max_length=100)] | None = None  #: "" is any
    isolation: IsolationName | None = None
    tags: Annotated[tuple[Text, ...], Meta(max_length=50)] | None = None  #: all of them
    slots: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    cpu: Annotated[float, Meta(ge=0, le=10_000)] | None = None  #: cores
    memory: Amount | None = None  #: MiB
    disk: Amount | None = None  #: MiB
    worker: Text | None = None  #: the only one that may run it


class TimeLimits(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Seconds that a job may take; None is no limit, but for ``run``."""

    run: Seconds | None = None  #: one attempt; None: what the farm does by default
    idle: Seconds | None = None  #: without output
    queue: Seconds | None = None  #: from ready to its start
    total: Seconds | None = None  #: all attempts together


class RetryRule(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A failure after which the farm tries again by itself."""

    limit: Annotated[int, Meta(ge=1, le=100)]  #: so often
    exit: Annotated[int, Meta(ge=-255, le=255)] | None = None  #: exit status; None is any


class Concurrency(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A group of which one job is at work at a time."""

    group: Text
    #: What becomes of earlier members: they go first; or those are cancelled that have not
    #: begun; or those, too, that are at work and may be interrupted.
    policy: Literal["queue", "replace_pending", "replace_all"] = "queue"


class JobRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """One new job of a graph, or by itself the body of POST /api/v1/jobs."""

    name: Text | None = None  #: None: what it performs
    kind: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,99}\\Z")] = "native"
    performs: Text | None = None  #: the registered callable or command
    arguments: dict[str, Any] = {}
    stores: bool = False  #: it puts files among the farm's, for jobs that wait for it
    needs: Annotated[tuple[Need | Text | JobId, ...], Meta(max_length=NEEDS_LIMIT)] = ()
    requirements: Requirements = Requirements()
    semaphores: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()
    limits: TimeLimits = TimeLimits()
    deadline: Moment | None = None  #: when it must have ended
    not_before: Moment | None = None
    retry: Annotated[tuple[RetryRule, ...], Meta(max_length=20)] = ()
    error_limit: Annotated[int, Meta(ge=0, le=100)] = 3  #: errors of the farm
    score: Score = 500_000  #: higher goes first
    owner: Text | None = None  #: whose share; None: the graph's
    concurrency: Concurrency | None = None
    key: Text | None = None  #: while such a job of its kind is under way, it is that one
    interruptible: bool = True  #: may be stopped when something newer replaces it


class GraphRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Jobs that depend on each other, as one run. The body of POST /api/v1/jobs."""

    jobs: Annotated[tuple[JobRequest, ...], Meta(min_length=1, max_length=GRAPH_LIMIT)]
    name: Text | None = None  #: of the run
    owner: Text | None = None  #: None: the requester


class EnqueuedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a graph that is in the database."""

    id: int
    kind: str
    name: str
    state: str
    result: str | None = None
    attempt: int = 1
    merged: bool = False  #: it existed before; this graph was merged into it


class Enqueued(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that is in the database, whole; its jobs in the order of the request."""

    run: int
    jobs: tuple[EnqueuedJob, ...]
    notes: tuple[str, ...] = ()


class SubmittedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a submission asked for."""

    id: int
    kind: str
    name: str
    architecture: str
    series: str
    part: int
    state: str
    result: str | None
    attempt: int
    merged: bool  #: it existed before; this submission was merged into it


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan left out, and why."""

    architecture: str
    series: str | None
    jobs: tuple[str, ...]  #: name:index
    reason: str


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """A submission that is in the database, whole."""

    run: int
    source_digest: str | None  #: None: it is yet to be made
    jobs: tuple[SubmittedJob, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


class RerunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run jobs of a run again. The body of POST /api/v1/runs/ID/rerun."""

    #: ``failed``: what ended badly, or never ran; ``node``: what is named here;
    #: ``from-here``: that, and all that waits for it.
    scope: Literal["failed", "from-here", "node"]
    job: Text | None = None  #: its identifier; None: any
    package: Text | None = None
    cell: Word | None = None  #: as in ``arch=amd64,series=noble``, or some of it


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that have another attempt."""

    run: int
    jobs: tuple[int, ...]
    added: tuple[str, ...]  #: what nobody named, and why it is among them


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a configuration or a graph."""

    where: str
    line: int | None
    message: str


class Refusal(Exception):
    """The farm will not do what was asked; nothing was changed.

    ``status`` is the HTTP status, ``code`` a word for programs, ``problems`` details of
    a bad configuration. The message says whose fault it is and what to do.
    """

    def __init__(
        self, status: int, code: str, message: str, problems: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.problems = problems


class Farm(Protocol):
    """Everything that changes something, as the interfaces see it. All raise `Refusal`."""

    async def submit(self, request: SubmissionRequest, by: str) -> Submitted:
        """Plan and queue the pipeline of a source: whole or nothing."""

    async def enqueue(self, request: GraphRequest, by: str) -> Enqueued:
        """Queue new jobs that depend on each other, as one run: whole or nothing."""

    async def cancel_job(self, job: int, by: str, why: str) -> None:
        """Ask a job to stop; nothing happens to one that is done."""

    async def cancel_run(self, run: int, by: str, why: str) -> None:
        """Ask every job that only this run wants to stop."""

    async def release_job(self, job: int, by: str) -> None:
        """Let a job go that waits for somebody."""

    async def rerun(self, run: int, request: RerunRequest, by: str) -> Rerun:
        """Queue another attempt of some jobs of a run: whole or nothing."""

    async def retry_job(
        self,
        job: int,
        by: str,
        only: tuple[str, int] | None,
        from_start: bool,
        linger: float | None = None,
    ) -> int:
        """Queue another attempt of a job that is done; the number of the new attempt.

        With ``only`` that pipeline job runs again and what has not passed, with
        ``from_start`` all of them; else those from the failed stage on. With ``linger``
        the environment of one that fails is left as it is for so many seconds.
        """
