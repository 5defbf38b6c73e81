"""Handlers for what failures are: said of one, or looked for by rules."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from buildmaster.classification import Classification, FailureRule
from buildmaster.classifying import Classifying
from buildmaster.database import Database
from buildmaster.http.answers import Answer, document
from buildmaster.http.call import Call
from buildmaster.http.changes import by
from buildmaster.http.problems import not_found
from buildmaster.http.writing import Writing
from buildmaster.requests import JobId, Text
from buildmaster.status.documents import JobInList
from buildmaster.store.documents.jobs import job_in_short
from buildmaster.store.logs import find_log

_Note = Annotated[str, Meta(max_length=1000, pattern="^[^\\x00-\\x08\\x0b-\\x1f\\x7f]*\\Z")]
_Link = Annotated[str, Meta(max_length=1000, pattern="^[^\\x00-\\x20\\x7f]*\\Z")]
_Pattern = Annotated[
    str, Meta(min_length=1, max_length=500, pattern="^[^\\x00-\\x1f\\x7f]+\\Z")
]
#: Days of failures that a new rule looks at.
_EARLIER = 7.0


class _Saying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    classification: Classification | None
    note: _Note = ""
    link: _Link = ""


class _NewRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pattern: _Pattern
    classification: Classification
    note: _Note = ""
    link: _Link = ""
    project: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    name: Text | None = None
    days: Annotated[float, Meta(ge=0, le=365)] = _EARLIER


class _Removing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    forget: bool = False


class _Trying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pattern: _Pattern
    job: JobId


class Judging:
    """Carries the words; `Classifying` acts."""

    def __init__(self, database: Database, classifying: Classifying) -> None:
        self._database = database
        self._classifying = classifying

    async def say(self, call: Call) -> Answer:
        """POST /api/v1/jobs/ID/classify"""
        call.query.allow()
        job, asked = call.id("job"), call.json(_Saying)
        call.facts.update(msgspec.to_builtins(asked))
        await self._classifying.say(
            job, asked.classification, asked.note, asked.link, by(call)
        )
        text = await job_in_short(self._database, job)
        if text is None:
            raise not_found(f"job {job}")
        return document(text)

    async def add(self, call: Call) -> Answer:
        """POST /api/v1/rules"""
        call.query.allow()
        asked = call.json(_NewRule)
        call.facts.update(msgspec.to_builtins(asked))
        rule = FailureRule(
            0,
            asked.pattern,
            asked.classification,
            asked.note,
            asked.link,
            asked.project,
            asked.name,
        )
        number = await self._classifying.add_rule(rule, by(call), asked.days)
        return _told({"id": number, **msgspec.to_builtins(asked)}, 201)

    async def remove(self, call: Call) -> Answer:
        """POST /api/v1/rules/ID/remove"""
        call.query.allow()
        rule, asked = call.id("rule"), call.json(_Removing, empty=_Removing())
        count = await self._classifying.remove_rule(rule, by(call), forget=asked.forget)
        return _told({"id": rule, "forgotten": count})

    async def attempt(self, call: Call) -> Answer:
        """POST /api/v1/rules/try"""
        call.query.allow()
        asked = call.json(_Trying)
        call.facts.update(msgspec.to_builtins(asked))
        log = await find_log(self._database, asked.job, None, None)
        if log is None:
            raise not_found(f"job {asked.job}")
        found = await self._classifying.try_pattern(asked.pattern, log.job, log.attempt)
        return _told(
            {"found": found.line is not None, "line": found.line, "text": found.text}
        )


def _told(fields: dict[str, object], status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(fields))


class _Ruling(_NewRule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule that is looked for from now on."""

    id: int


class _Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is no more, and how many failures have no class again."""

    id: int
    forgotten: int


class _Tried(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pattern is found in a log, if it is."""

    found: bool
    line: int | None
    text: str


WRITINGS = (
    Writing(
        "/api/v1/jobs/{job}/classify",
        "classify",
        "Say what a failure is, or that this is not known.",
        _Saying,
        {200: JobInList},
    ),
    Writing(
        "/api/v1/rules",
        "add_rule",
        "Classify failures in whose logs a pattern is found.",
        _NewRule,
        {201: _Ruling},
    ),
    Writing(
        "/api/v1/rules/try",
        "try_rule",
        "Look for a pattern in the log of a job.",
        _Trying,
        {200: _Tried},
    ),
    Writing(
        "/api/v1/rules/{rule}/remove",
        "remove_rule",
        "Look for a pattern no more.",
        _Removing,
        {200: _Removed},
        may_be_empty=True,
    ),
)
