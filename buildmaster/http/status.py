"""The status over HTTP: a handler for each method of `IStatus`, made from its table."""

from __future__ import annotations

from typing import Any

from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.following import Live
from buildmaster.http.problems import bad_request
from buildmaster.http.routing import Handler
from buildmaster.status.asking import from_texts
from buildmaster.status.interface import BoundedStatus, IStatus
from buildmaster.status.methods import METHODS, Method
from buildmaster.status.questions import Events, Question


class StatusHandlers:
    """GET handlers by the names of the methods."""

    def __init__(self, status: BoundedStatus, memory: IStatus, live: Live) -> None:
        """``memory`` answers who does not insist on what ``status`` says itself."""
        self._status = status
        self._memory = memory
        self._live = live

    def __getitem__(self, name: str) -> Handler:
        """What answers GET at the path of the method ``name``."""
        method = METHODS[name]
        remembered: Any = getattr(self._memory, name)

        async def get(call: Call) -> Answer:
            if (followed := await self._live.follow(method, call)) is not None:
                return followed
            insists = "no-cache" in (call.head.header("Cache-Control") or "")
            if call.within is not None or insists:
                ask: Any = getattr(self._status.within(call.within), name)
            else:
                ask = remembered
            told = await ask(question(method, call))
            return Answer(body=told.json, has_etag=True, version=told.version)

        return get


def question(method: Method, call: Call) -> Question:
    """What ``call`` asks, or `StatusProblem`."""
    given = call.query.given
    last = call.head.header("Last-Event-ID")
    if last is not None and method.question is Events:
        given["since"] = last
    for name in method.in_path:
        if name in given:
            raise bad_request(
                "unknown_parameter",
                f"{name!r} stands in the path of this address, not in its query",
            )
    return from_texts(method, {**given, **call.parts})
