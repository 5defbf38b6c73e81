"""Writing handlers: submit, cancel, retry. The farm decides; these carry the words."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from buildmaster.database import Database
from buildmaster.grants import Grant, Scope
from buildmaster.http.answers import Answer, document
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem, bad_request, not_found
from buildmaster.http.scopes import outside
from buildmaster.http.writing import Writing
from buildmaster.requests import (
    Enqueued,
    Farm,
    GraphRequest,
    JobRequest,
    MadeRequest,
    Rerun,
    RerunRequest,
    SubmissionRequest,
    Submitted,
)
from buildmaster.status.documents import JobInList, RunInList
from buildmaster.status.questions import JobResult, JobState
from buildmaster.store.documents.jobs import job_in_short, retried_job
from buildmaster.store.documents.runs import run_in_short
from protocol.order import LONGEST_LINGER

#: What a job gets that says nothing; only operators may put theirs before those of others.
USUAL_SCORE = 500_000
_TITLE = re.compile(r"(.{1,200}):([0-9]{1,9})\Z", re.DOTALL)


class _Cancelling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a cancellation."""

    why: Annotated[str, Meta(max_length=1000)] = ""


class _Releasing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a release: nothing is to be said."""


class _Retrying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a retry."""

    only: Annotated[str, Meta(max_length=300)] | None = None
    from_start: bool = False
    #: Seconds for which the environment of a pipeline job that fails is held.
    hold: Annotated[float, Meta(gt=0, le=LONGEST_LINGER)] | None = None


class Changes:
    """What changes something; `Refusal` of the farm becomes the answer."""

    def __init__(self, database: Database, farm: Farm) -> None:
        self._database = database
        self._farm = farm

    async def submit(self, call: Call) -> Answer:
        """POST /api/v1/runs"""
        call.query.allow()
        request = call.json(SubmissionRequest)
        _check_project(call.grant, request)
        if isinstance(request.source, MadeRequest):
            check_trust(call.grant, GraphRequest(jobs=(request.source.by,)))
        submitted = await self._farm.submit(request, by(call))
        call.facts.update(run=submitted.run, **_about(request))
        is_new = not submitted.jobs or not all(job.merged for job in submitted.jobs)
        return Answer(
            201 if is_new else 200,
            msgspec.json.encode(submitted),
            headers={"Location": f"/api/v1/runs/{submitted.run}"},
        )

    async def enqueue(self, call: Call) -> Answer:
        """POST /api/v1/jobs"""
        call.query.allow()
        request = _graph(call)
        check_trust(call.grant, request)
        enqueued = await self._farm.enqueue(request, by(call))
        call.facts.update(run=enqueued.run, jobs=len(request.jobs))
        return Answer(
            201,
            msgspec.json.encode(enqueued),
            headers={"Location": f"/api/v1/runs/{enqueued.run}"},
        )

    async def cancel_run(self, call: Call) -> Answer:
        """POST /api/v1/runs/ID/cancel"""
        call.query.allow()
        run = call.id("run")
        asked = call.json(_Cancelling, empty=_Cancelling())
        call.facts["why"] = asked.why
        _existing(f"run {run}", await run_in_short(self._database, run))
        await self._farm.cancel_run(run, by(call), _why(asked))
        text = await run_in_short(self._database, run)
        return document(_existing(f"run {run}", text), 202)

    async def cancel_job(self, call: Call) -> Answer:
        """POST /api/v1/jobs/ID/cancel"""
        call.query.allow()
        job = call.id("job")
        asked = call.json(_Cancelling, empty=_Cancelling())
        call.facts["why"] = asked.why
        _existing(f"job {job}", await job_in_short(self._database, job))
        await self._farm.cancel_job(job, by(call), _why(asked))
        text = await job_in_short(self._database, job)
        return document(_existing(f"job {job}", text), 202)

    async def release(self, call: Call) -> Answer:
        """POST /api/v1/jobs/ID/release"""
        call.query.allow()
        job = call.id("job")
        call.json(_Releasing, empty=_Releasing())
        _existing(f"job {job}", await job_in_short(self._database, job))
        await self._farm.release_job(job, by(call))
        text = await job_in_short(self._database, job)
        return document(_existing(f"job {job}", text), 202)

    async def rerun(self, call: Call) -> Answer:
        """POST /api/v1/runs/ID/rerun"""
        call.query.allow()
        run = call.id("run")
        asked = call.json(RerunRequest)
        _existing(f"run {run}", await run_in_short(self._database, run))
        done = await self._farm.rerun(run, asked, by(call))
        return Answer(202, msgspec.json.encode(done))

    async def retry(self, call: Call) -> Answer:
        """POST /api/v1/jobs/ID/retry"""
        call.query.allow()
        job = call.id("job")
        asked = call.json(_Retrying, empty=_Retrying())
        call.facts.update(msgspec.to_builtins(asked))
        _existing(f"job {job}", await job_in_short(self._database, job))
        if asked.hold is not None:
            _check_hold(call.grant)
        await self._farm.retry_job(
            job, by(call), _only(asked), asked.from_start, asked.hold
        )
        text = await retried_job(self._database, job)
        return document(_existing(f"job {job}", text), 202)


def _about(request: SubmissionRequest) -> dict[str, str]:
    source = request.source
    told = {key: getattr(source, key, None) for key in ("repository", "name", "revision")}
    return {key: text for key, text in told.items() if text}


def by(call: Call) -> str:
    """Who asks, as far as the token tells."""
    assert call.grant is not None
    return call.grant.who


def _check_project(grant: Grant | None, request: SubmissionRequest) -> None:
    """A work tree that is sent is of no repository that anybody could be limited to."""
    repository = getattr(request.source, "repository", None)
    if grant is not None and not grant.reaches(Scope.SUBMIT, repository):
        raise outside(grant, Scope.SUBMIT)


def _graph(call: Call) -> GraphRequest:
    """The graph in the body, which may also be that of one job."""
    if "jobs" in call.json(dict[str, msgspec.Raw]):
        return call.json(GraphRequest)
    return GraphRequest(jobs=(call.json(JobRequest),))


def check_trust(grant: Grant | None, request: GraphRequest | None) -> None:
    """Native jobs run without walls, and are of no project; `Problem`.

    None: something else that is of no project.
    """
    if grant is None:
        return
    if not grant.reaches(Scope.SUBMIT, None):
        raise outside(grant, Scope.SUBMIT)
    if not grant.reaches(Scope.OPERATE, None):
        for job in request.jobs if request is not None else ():
            if job.score > USUAL_SCORE:
                raise Problem(
                    403,
                    "not_allowed",
                    f"a score above {USUAL_SCORE} puts a job before those of others, and"
                    f" needs the scope operate",
                )


def _check_hold(grant: Grant | None) -> None:
    """What is held takes room on a worker, and is for those who may enter it."""
    if grant is None or not grant.covers(Scope.ADMIN):
        raise Problem(
            403,
            "not_allowed",
            "to hold an environment needs the scope admin",
        )


def _existing(what: str, text: str | None) -> str:
    if text is None:
        raise not_found(what)
    return text


def _why(asked: _Cancelling) -> str:
    return asked.why.replace("\0", "").strip() or "no reason given"


def _only(asked: _Retrying) -> tuple[str, int] | None:
    if asked.only is None:
        return None
    found = _TITLE.match(asked.only)
    if found is None or "\0" in asked.only:
        raise bad_request(
            "bad_body", "'only' names a pipeline job as NAME:INDEX, for example test:0"
        )
    return found[1], int(found[2])


class _Retried(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry tells of the job."""

    id: int
    kind: str
    attempt: int
    state: JobState
    result: JobResult | None


WRITINGS = (
    Writing(
        "/api/v1/runs",
        "submit",
        "Run the pipeline of a source.",
        SubmissionRequest,
        {200: Submitted, 201: Submitted},
    ),
    Writing(
        "/api/v1/jobs",
        "enqueue",
        "Queue one job, or a graph of them.",
        (GraphRequest, JobRequest),
        {201: Enqueued},
    ),
    Writing(
        "/api/v1/runs/{run}/cancel",
        "cancel_run",
        "Ask that a run end.",
        _Cancelling,
        {202: RunInList},
        may_be_empty=True,
    ),
    Writing(
        "/api/v1/runs/{run}/rerun",
        "rerun",
        "Run jobs of a run again.",
        RerunRequest,
        {202: Rerun},
    ),
    Writing(
        "/api/v1/jobs/{job}/release",
        "release_job",
        "Let a job go that waits for somebody.",
        _Releasing,
        {202: JobInList},
        may_be_empty=True,
    ),
    Writing(
        "/api/v1/jobs/{job}/cancel",
        "cancel_job",
        "Ask that a job end.",
        _Cancelling,
        {202: JobInList},
        may_be_empty=True,
    ),
    Writing(
        "/api/v1/jobs/{job}/retry",
        "retry",
        "Try a job that is over once more.",
        _Retrying,
        {202: _Retried},
        may_be_empty=True,
    ),
)
