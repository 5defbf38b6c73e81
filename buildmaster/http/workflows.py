"""Handlers for what others do to workflows: start, signal, ask, cancel; and webhooks."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from buildmaster.http.answers import Answer
from buildmaster.http.call import BodyInMemory, Call
from buildmaster.http.changes import by, check_trust
from buildmaster.http.writing import Writing
from buildmaster.orchestration.control import Control, OnDuplicate, Sent, Started
from buildmaster.orchestration.webhooks import Webhooks
from buildmaster.requests import Seconds, Text

_Why = Annotated[str, Meta(max_length=1000)]


class _Starting(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"class_": "class"},
):
    class_: Text
    name: Text | None = None
    arguments: list[Any] | dict[str, Any] = []
    owner: Text | None = None
    execution_timeout: Seconds | None = None
    on_duplicate: OnDuplicate = "join"


class _Signalling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    signal: Text
    arguments: list[Any] | dict[str, Any] = []
    id: Text | None = None  #: what is sent twice with it is dealt with once


class _Asking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    query: Text
    arguments: list[Any] | dict[str, Any] = []


class _CancellingWorkflow(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    why: _Why = ""


class _Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a workflow answers."""

    answer: Any


class Orchestrating:
    """Carries the words; `Control` acts."""

    def __init__(self, control: Control, webhooks: Webhooks) -> None:
        self._control = control
        self._webhooks = webhooks

    async def start(self, call: Call) -> Answer:
        """POST /api/v1/workflows"""
        call.query.allow()
        check_trust(call.grant, None)
        asked = call.json(_Starting)
        started = await self._control.start(
            asked.class_,
            asked.arguments,
            by(call),
            name=asked.name,
            owner=asked.owner,
            execution_timeout=asked.execution_timeout,
            on_duplicate=asked.on_duplicate,
        )
        call.facts.update({"class": asked.class_, "workflow": started.id})
        return Answer(
            200 if started.joined else 201,
            msgspec.json.encode(started),
            headers={"Location": f"/api/v1/workflows/{started.id}"},
        )

    async def signal(self, call: Call) -> Answer:
        """POST /api/v1/workflows/NAME/signal"""
        call.query.allow()
        asked = call.json(_Signalling)
        sent = await self._control.signal(
            call.parts["workflow"], asked.signal, asked.arguments, by(call), asked.id
        )
        call.facts["signal"] = asked.signal
        return Answer(202, msgspec.json.encode(sent))

    async def query(self, call: Call) -> Answer:
        """POST /api/v1/workflows/NAME/query"""
        call.query.allow()
        asked = call.json(_Asking)
        answer = await self._control.query(
            call.parts["workflow"], asked.query, asked.arguments
        )
        return Answer(200, msgspec.json.encode(_Answered(answer=answer)))

    async def cancel(self, call: Call) -> Answer:
        """POST /api/v1/workflows/NAME/cancel"""
        call.query.allow()
        asked = call.json(_CancellingWorkflow, empty=_CancellingWorkflow())
        why = asked.why.replace("\0", "").strip()
        sent = await self._control.cancel(call.parts["workflow"], by(call), why)
        return Answer(202, msgspec.json.encode(sent))

    async def export(self, call: Call) -> Answer:
        """GET /api/v1/workflows/NAME/export: what the test kit replays."""
        call.query.allow("generation")
        history = await self._control.history(
            call.parts["workflow"], call.query.number("generation", highest=2**31 - 1)
        )
        return Answer(200, msgspec.json.encode(history))

    async def hook(self, call: Call) -> Answer:
        """POST /api/v1/hooks/NAME: a message of another service, signed with its secret."""
        call.query.allow()
        assert isinstance(call.body, BodyInMemory)
        told = await self._webhooks.take(
            call.parts["hook"], bytes(call.body.data), call.head.header
        )
        return Answer(202, msgspec.json.encode(told))


_ONE = "/api/v1/workflows/{workflow}"

WRITINGS = (
    Writing(
        "/api/v1/workflows",
        "start_workflow",
        "Start a workflow, or join the one of that name.",
        _Starting,
        {200: Started, 201: Started},
    ),
    Writing(
        f"{_ONE}/signal",
        "signal_workflow",
        "Send a signal to a workflow.",
        _Signalling,
        {202: Sent},
    ),
    Writing(
        f"{_ONE}/query",
        "query_workflow",
        "Ask a workflow something.",
        _Asking,
        {200: _Answered},
    ),
    Writing(
        f"{_ONE}/cancel",
        "cancel_workflow",
        "Ask a workflow to end.",
        _CancellingWorkflow,
        {202: Sent},
        may_be_empty=True,
    ),
)
