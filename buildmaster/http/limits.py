"""Handlers for what limits how many jobs are at work: semaphores, and caps of owners."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from buildmaster.database import Database
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.changes import by
from buildmaster.http.problems import bad_request
from buildmaster.http.writing import Writing
from buildmaster.requests import Text
from buildmaster.semaphores import Semaphores

Capacity = Annotated[int, Meta(ge=0, le=1_000_000)]


class _Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    capacity: Capacity


class _Capping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    owner: Text
    architecture: Annotated[str, Meta(max_length=100, pattern="^[^\\x00-\\x1f]*\\Z")]
    jobs: Capacity | None  #: None: no cap any more


class Limits:
    """What operators decide."""

    def __init__(self, database: Database) -> None:
        self._semaphores = Semaphores(database)

    async def set(self, call: Call) -> Answer:
        """POST /api/v1/semaphores"""
        call.query.allow()
        asked = call.json(_Setting)
        call.facts.update(msgspec.to_builtins(asked))
        if asked.name.startswith("cap:"):
            raise bad_request("bad_body", "the caps of owners are set with /api/v1/caps")
        await self._semaphores.set(asked.name, asked.capacity, by(call))
        return Answer(200, msgspec.json.encode(asked))

    async def remove(self, call: Call) -> Answer:
        """POST /api/v1/semaphores/NAME/remove"""
        call.query.allow()
        await self._semaphores.remove(call.parts["semaphore"], by(call))
        return Answer(200, msgspec.json.encode({"name": call.parts["semaphore"]}))

    async def cap(self, call: Call) -> Answer:
        """POST /api/v1/caps"""
        call.query.allow()
        asked = call.json(_Capping)
        call.facts.update(msgspec.to_builtins(asked))
        count = await self._semaphores.cap(
            asked.owner, asked.architecture, asked.jobs, by(call)
        )
        return Answer(
            200, msgspec.json.encode({**msgspec.to_builtins(asked), "changed": count})
        )


class _Gone(msgspec.Struct, frozen=True, kw_only=True):
    """A semaphore that is no more."""

    name: str


class _Capped(msgspec.Struct, frozen=True, kw_only=True):
    """A cap, and how many jobs heed it from now on."""

    owner: str
    architecture: str
    jobs: int | None
    changed: int


WRITINGS = (
    Writing(
        "/api/v1/semaphores",
        "set_semaphore",
        "Make a semaphore, or change how many jobs may hold it.",
        _Setting,
        {200: _Setting},
    ),
    Writing(
        "/api/v1/semaphores/{semaphore}/remove",
        "remove_semaphore",
        "Remove a semaphore that no unfinished job names.",
        None,
        {200: _Gone},
    ),
    Writing(
        "/api/v1/caps",
        "cap",
        "Bound how many jobs of an owner are at work for an architecture.",
        _Capping,
        {200: _Capped},
    ),
)
