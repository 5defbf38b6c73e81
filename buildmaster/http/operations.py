"""Handlers for what operators do."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from buildmaster.database import Database
from buildmaster.grants import Scope as Granted
from buildmaster.http.answers import Answer, document
from buildmaster.http.call import Call
from buildmaster.http.changes import USUAL_SCORE
from buildmaster.http.problems import Problem, bad_request, not_found
from buildmaster.http.writing import Writing
from buildmaster.operations import Act, Actor, Changed, Duty, Operations, Scope
from buildmaster.status.documents import JobInList
from buildmaster.store.documents.jobs import job_in_short

_Text = Annotated[str, Meta(min_length=1, max_length=2000)]
_Why = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"\S")]
_Score = Annotated[int, Meta(ge=0, le=1_000_000)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: _Why


_B = TypeVar("_B", bound=_Body)


class _Duty(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workers: _Text
    duty: Duty
    until: str | None = None


class _Hold(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    scope: Scope
    name: Annotated[str, Meta(max_length=2000)] = ""
    until: str | None = None


class _Release(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    scope: Scope
    name: Annotated[str, Meta(max_length=2000)] = ""


class _Move(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    worker: Annotated[str, Meta(min_length=1, max_length=200)] | None


class _Rescore(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    score: _Score | None


class _Bulk(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    act: Act
    where: _Text
    score: _Score | None = None
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    dry_run: bool = False


class Operating:
    """Carries the words; `Operations` acts."""

    def __init__(self, database: Database, operations: Operations) -> None:
        self._database = database
        self._operations = operations

    async def duty(self, call: Call) -> Answer:
        """POST /api/v1/duty"""
        call.query.allow()
        asked = _asked(call, _Duty)
        names = await self._operations.set_duty(
            asked.workers, asked.duty, _actor(call, asked), _moment(asked.until)
        )
        return _told({"duty": asked.duty, "workers": names})

    async def hold(self, call: Call) -> Answer:
        """POST /api/v1/holds"""
        call.query.allow()
        asked = _asked(call, _Hold)
        await self._operations.hold(
            asked.scope, asked.name, _actor(call, asked), _moment(asked.until)
        )
        return _told({"scope": asked.scope, "name": asked.name}, 201)

    async def release(self, call: Call) -> Answer:
        """POST /api/v1/holds/release"""
        call.query.allow()
        asked = _asked(call, _Release)
        await self._operations.release(asked.scope, asked.name, _actor(call, asked))
        return _told({"scope": asked.scope, "name": asked.name})

    async def move(self, call: Call) -> Answer:
        """POST /api/v1/jobs/ID/move"""
        call.query.allow()
        asked = _asked(call, _Move)
        await self._operations.move(call.id("job"), asked.worker, _actor(call, asked))
        return await self._job(call)

    async def rescore(self, call: Call) -> Answer:
        """POST /api/v1/jobs/ID/rescore"""
        call.query.allow()
        asked = _asked(call, _Rescore)
        _check_score(call, asked.score)
        await self._operations.rescore(call.id("job"), asked.score, _actor(call, asked))
        return await self._job(call)

    async def bulk(self, call: Call) -> Answer:
        """POST /api/v1/bulk"""
        call.query.allow()
        asked = _asked(call, _Bulk)
        changed = await self._operations.bulk(
            asked.act,
            asked.where,
            _actor(call, asked),
            score=asked.score,
            after=asked.after,
            dry_run=asked.dry_run,
        )
        call.facts["changed"] = changed.changed
        return Answer(200, msgspec.json.encode(changed))

    async def _job(self, call: Call) -> Answer:
        text = await job_in_short(self._database, call.id("job"))
        if text is None:
            raise not_found(f"job {call.id('job')}")
        return document(text, 202)


def _asked(call: Call, kind: type[_B]) -> _B:
    """The body, which the audit keeps: it is small, and has no secrets."""
    asked = call.json(kind)
    call.facts.update(msgspec.to_builtins(asked))
    return asked


def _check_score(call: Call, score: int | None) -> None:
    """Only who operates the whole farm puts jobs before those of others."""
    grant = call.grant
    is_bounded = grant is not None and not grant.reaches(Granted.OPERATE, None)
    if score is not None and score > USUAL_SCORE and is_bounded:
        raise Problem(
            403,
            "not_allowed",
            f"a score above {USUAL_SCORE} puts a job before those of other projects, and"
            f" needs the scope operate for the whole farm",
        )


def _actor(call: Call, asked: _Body) -> Actor:
    assert call.grant is not None
    why = asked.reason.replace("\0", "").strip()
    return Actor(call.grant.who, call.head.address, why)


def _moment(until: str | None) -> str | None:
    """A time with its offset from UTC, as PostgreSQL reads it."""
    if until is None:
        return None
    try:
        moment = datetime.fromisoformat(until)
    except ValueError as error:
        raise bad_request(
            "bad_until", "'until' is a time like 2026-01-31T12:00:00Z"
        ) from error
    if moment.tzinfo is None:
        raise bad_request("bad_until", "'until' has no offset from UTC: add Z for none")
    return moment.isoformat()


def _told(fields: dict[str, object], status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(fields))


class _OnDuty(msgspec.Struct, frozen=True, kw_only=True):
    """Workers that have a duty now."""

    duty: Duty
    workers: tuple[str, ...]


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    """What is held, or let go."""

    scope: Scope
    name: str


WRITINGS = (
    Writing(
        "/api/v1/duty",
        "set_duty",
        "Say what workers are to do: take work, pause, drain, retire.",
        _Duty,
        {200: _OnDuty},
    ),
    Writing("/api/v1/holds", "hold", "Keep jobs from starting.", _Hold, {201: _Held}),
    Writing(
        "/api/v1/holds/release",
        "release",
        "Let jobs start again.",
        _Release,
        {200: _Held},
    ),
    Writing(
        "/api/v1/jobs/{job}/move",
        "move",
        "Let a job run on one worker only, or on any.",
        _Move,
        {202: JobInList},
    ),
    Writing(
        "/api/v1/jobs/{job}/rescore",
        "rescore",
        "Give a job another score, or its own again.",
        _Rescore,
        {202: JobInList},
    ),
    Writing(
        "/api/v1/bulk",
        "bulk",
        "Do something to all jobs that a pattern selects, batch by batch.",
        _Bulk,
        {200: Changed},
    ),
)
