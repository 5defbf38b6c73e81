"""Handlers for those who look into a job: a shell where it failed, its order for here."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from buildmaster.database import Database
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem, not_found
from buildmaster.http.writing import Writing
from buildmaster.operations import Actor, Operations
from buildmaster.orders import NoOrder, OrderMaker
from buildmaster.status.documents import Isolation
from buildmaster.store import lingering
from buildmaster.store.documents.jobs import job_in_short
from protocol.order import Order


class _Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"\S")]
    release: bool = False


class _Current(msgspec.Struct, frozen=True):
    attempt: int


class _Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    order: Order
    images: dict[str, str]


class LookingInto:
    """Shells are for admins, and each leaves an event; orders are for whoever may read."""

    def __init__(self, database: Database, operations: Operations) -> None:
        self._database = database
        self._operations = operations

    async def shell(self, call: Call) -> Answer:
        """POST /api/v1/jobs/ID/shell"""
        call.query.allow()
        asked = call.json(_Wish)
        call.facts.update(msgspec.to_builtins(asked))
        job = call.id("job")
        if await job_in_short(self._database, job) is None:
            raise not_found(f"job {job}")
        assert call.grant is not None
        why = asked.reason.replace("\0", "").strip()
        actor = Actor(call.grant.who, call.head.address, why)

        found = await self._operations.enter(job, actor, release=asked.release)
        return Answer(201, msgspec.json.encode(found))

    async def order(self, call: Call) -> Answer:
        """GET /api/v1/jobs/ID/order"""
        call.query.allow()
        job = call.id("job")
        text = await job_in_short(self._database, job)
        if text is None:
            raise not_found(f"job {job}")
        attempt = msgspec.json.decode(text, type=_Current).attempt
        # Whoever reads it has a token, and no attempt's.
        maker = OrderMaker("", lambda job, attempt: "", fence_after=0.0)
        try:
            order = await self._database.transaction(
                lambda cursor: maker.make(cursor, job, attempt)
            )
        except NoOrder as error:
            raise Problem(409, "no_order", str(error)) from error
        images = await lingering.images_of(self._database, job, attempt)
        return Answer(200, msgspec.json.encode(_Reproduction(order=order, images=images)))


class _Lingering(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that waits for whoever looks into it, and where."""

    job: int
    attempt: int
    name: str
    index: int
    series: str
    reason: str
    worker: str
    isolation: Isolation
    lingers_until: str


WRITINGS = (
    Writing(
        "/api/v1/jobs/{job}/shell",
        "enter",
        "Note who enters the environment that a job left, or that nobody needs it.",
        _Wish,
        {201: _Lingering},
    ),
)
