"""What may be asked of the farm, and how it answers: the types of the write path.

HTTP, the command line and tests make these; `buildmaster.submission` and
`buildmaster.intervention` act on them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

Word = Annotated[str, Meta(min_length=1, max_length=1000)]
IsolationName = Literal["native", "chroot", "vm"]


class GitRequest(msgspec.Struct, frozen=True, kw_only=True, tag="git", tag_field="kind"):
    """Build a revision of a git repository; the master finds out which commit that is."""

    repository: Word  #: URL, or an absolute path where the farm allows local ones
    revision: Word = "HEAD"  #: commit, branch or tag


class TreeRequest(msgspec.Struct, frozen=True, kw_only=True, tag="tree", tag_field="kind"):
    """Build a work tree whose tar archive was stored with PUT /artifacts/SHA256."""

    name: Word  #: private name of the tree, as in worktree/USER/FOLDER
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]


class SubmissionRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Run the pipeline of a source. The body of POST /api/v1/runs."""

    source: GitRequest | TreeRequest
    refs: Annotated[tuple[Word, ...], Meta(max_length=100)] = ()
    configuration: Word = ".launchpad.yaml"  #: path of the file in the source
    isolation: IsolationName | None = None  #: None: what the farm does by default
    cross_architecture: Literal["orchestrate", "refuse", "barrier"] = "orchestrate"
    force: bool = False  #: add an attempt to jobs that exist and are done
    wait_for_worker: bool = False  #: queue also what no known worker can run
    owner: Word | None = None  #: whose share; None: the requester's


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
    source_digest: str
    jobs: tuple[SubmittedJob, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a configuration."""

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

    async def cancel_job(self, job: int, by: str, why: str) -> None:
        """Ask a job to stop; nothing happens to one that is done."""

    async def cancel_run(self, run: int, by: str, why: str) -> None:
        """Ask every job that only this run wants to stop."""

    async def retry_job(
        self, job: int, by: str, only: tuple[str, int] | None, from_start: bool
    ) -> int:
        """Queue another attempt of a job that is done; the number of the new attempt.

        With ``only`` that pipeline job runs again and what has not passed, with
        ``from_start`` all of them; else those from the failed stage on.
        """
