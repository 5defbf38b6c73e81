"""Following over HTTP: any answer as server-sent events, or over WebSocket."""

from __future__ import annotations

import re
from functools import lru_cache

from buildmaster.http.answers import Answer, Outlet
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem
from buildmaster.http.sockets import Sockets
from buildmaster.status.asking import from_texts
from buildmaster.status.interface import BoundedStatus, IFollow
from buildmaster.status.methods import Method
from buildmaster.status.news import Happened, News
from buildmaster.status.problems import StatusProblem

# Those of server-sent events; JSON has other line ends within its strings.
_LINE_END = re.compile("\r\n|\r|\n")

_EVENT_STREAM = "text/event-stream"
#: How soon a browser comes back after a break, and that something is there.
_GREETING = b"retry: 1000\n: the events of this farm\n\n"


class Live:
    """Goes on with answers that their readers want to follow."""

    def __init__(self, status: BoundedStatus, sockets: Sockets) -> None:
        self._status = status
        self._sockets = sockets

    async def follow(self, method: Method, call: Call) -> Answer | None:
        """The answer to who wants to follow; None for whoever wants it once."""
        is_stream = _EVENT_STREAM in (call.head.header("Accept") or "")
        if not is_stream and not call.head.is_upgrade:
            return None
        given = call.query.given
        # A browser that comes back says where it was; the address is where it began.
        since = call.head.header("Last-Event-ID")
        if method.name != "timeline" or "T" not in given.get("since", ""):
            # That of a timeline may be a time, and what it shows begins there.
            since = given.pop("since", None) if since is None else since
            given.pop("since", None)
        question = from_texts(method, {**given, **call.parts})
        if call.head.method == "HEAD":
            return Answer(content_type=_EVENT_STREAM)
        following = self._status.within(call.within).follow(method.name, question, since)
        # What cannot be followed is refused while an answer can still say so.
        first = await following.__anext__()
        if call.head.is_upgrade:
            return Answer(
                101,
                take_over=lambda transport, request: self._sockets.take_over(
                    transport, request, first, following, call.recheck
                ),
            )

        async def stream(outlet: Outlet) -> None:
            try:
                await outlet.write(_GREETING + frames(first))
                await _tell(following, outlet, call)
            finally:
                following.close()

        return Answer(content_type=_EVENT_STREAM, stream=stream)


async def _tell(following: IFollow, outlet: Outlet, call: Call) -> None:
    try:
        async for news in following:
            call.recheck()
            await outlet.write(frames(news) or b": still here\n\n")
    except StatusProblem as told:
        if told.code == "too_slow":
            await outlet.write(b"event: too-slow\ndata: %s\n\n" % told.document())
        elif told.code != "not_now":
            raise
    except Problem as told:
        await outlet.write(b"event: refused\ndata: %s\n\n" % told.document())


def frames(news: News) -> bytes:
    """News as server-sent events."""
    if news.snapshot is not None:
        return _frame(news.cursor, "snapshot", news.snapshot.decode())
    return b"".join(map(frame, news.events))


@lru_cache(maxsize=2048)
def frame(event: Happened) -> bytes:
    """An event as a server-sent event; made once, however many follow."""
    return _frame(event.id, event.kind, event.json.decode())


def _frame(place: str, kind: str, text: str) -> bytes:
    """No text within can end it early."""
    kind = _LINE_END.sub(" ", kind)
    data = _LINE_END.sub("\ndata: ", text)
    return f"id: {place}\nevent: {kind}\ndata: {data}\n\n".encode()
