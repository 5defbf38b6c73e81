"""Handlers that let workers and clients in, and stop them; all for admins only."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from buildmaster.admission import ROTATE_WITHIN, Admission
from buildmaster.clients import Clients
from buildmaster.database import Database
from buildmaster.grants import Scope
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.writing import Writing

_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class _NewWorker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: _Name


class _Rotating(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    within: Annotated[float, Meta(ge=0, le=30 * 86400)] = ROTATE_WITHIN


class _NewToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: _Name
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=5)]
    project: Annotated[str, Meta(min_length=1, max_length=2000)] | None = None


class Doors:
    """Workers' and clients' tokens. A secret stands in the one answer that made it."""

    def __init__(self, database: Database, admission: Admission, clients: Clients) -> None:
        self._database = database
        self._admission = admission
        self._clients = clients

    async def add_worker(self, call: Call) -> Answer:
        """POST /api/v1/workers"""
        call.query.allow()
        name = call.json(_NewWorker).name
        call.facts["worker"] = name
        return _told(201, name=name, token=await self._admission.add_worker(name))

    async def rotate_worker(self, call: Call) -> Answer:
        """POST /api/v1/workers/NAME/rotate"""
        call.query.allow()
        name = call.parts["worker"]
        within = call.json(_Rotating, empty=_Rotating()).within
        token = await self._admission.rotate_worker(name, within)
        return _told(200, name=name, token=token, within=within)

    async def revoke_worker(self, call: Call) -> Answer:
        """POST /api/v1/workers/NAME/revoke"""
        call.query.allow()
        await self._admission.revoke_worker(call.parts["worker"])
        return _told(200, name=call.parts["worker"])

    async def add_token(self, call: Call) -> Answer:
        """POST /api/v1/tokens"""
        call.query.allow()
        asked = call.json(_NewToken)
        call.facts.update(msgspec.to_builtins(asked))
        scopes = sorted({scope.value for scope in asked.scopes})
        by = call.grant.who if call.grant is not None else "?"
        token = await self._admission.add_client(asked.name, scopes, asked.project, by)
        await self._clients.round()
        return _told(
            201, name=asked.name, scopes=scopes, project=asked.project, token=token
        )

    async def revoke_token(self, call: Call) -> Answer:
        """POST /api/v1/tokens/NAME/revoke"""
        call.query.allow()
        await self._admission.revoke_client(call.parts["token"])
        await self._clients.round()
        return _told(200, name=call.parts["token"])


def _told(status: int, **fields: object) -> Answer:
    return Answer(status, msgspec.json.encode(fields))


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, or a token."""

    name: str


class _Joining(_Named, frozen=True, kw_only=True):
    """A worker's token: it stands here and nowhere else."""

    token: str


class _Rotated(_Joining, frozen=True, kw_only=True):
    """Another token; the old one is good for so many seconds."""

    within: float


class _Made(_Joining, frozen=True, kw_only=True):
    """A client's token: it stands here and nowhere else."""

    scopes: tuple[Scope, ...]
    project: str | None


WRITINGS = (
    Writing(
        "/api/v1/workers", "add_worker", "Let a worker join.", _NewWorker, {201: _Joining}
    ),
    Writing(
        "/api/v1/workers/{worker}/rotate",
        "rotate_worker",
        "Give a worker another token.",
        _Rotating,
        {200: _Rotated},
        may_be_empty=True,
    ),
    Writing(
        "/api/v1/workers/{worker}/revoke",
        "revoke_worker",
        "Let a worker join no more.",
        None,
        {200: _Named},
    ),
    Writing("/api/v1/tokens", "add_token", "Let a client in.", _NewToken, {201: _Made}),
    Writing(
        "/api/v1/tokens/{token}/revoke",
        "revoke_token",
        "Let a client in no more.",
        None,
        {200: _Named},
    ),
)
