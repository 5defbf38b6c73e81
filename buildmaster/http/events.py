"""The event log over HTTP: a page as JSON, or live as server-sent events."""

from __future__ import annotations

import re

import msgspec

from buildmaster.database import Database
from buildmaster.feed import EventFeed, FeedStopped, Follower, FollowerTooSlow
from buildmaster.http.answers import Answer, Outlet
from buildmaster.http.call import Call
from buildmaster.status.asking import from_texts
from buildmaster.status.interface import IStatus
from buildmaster.status.methods import METHODS
from buildmaster.status.questions import Events as Asked
from buildmaster.store.events import Event, EventId, events_after

#: Seconds of silence after which a line says that the connection stands.
KEEP_ALIVE = 15.0

# Those of server-sent events; JSON has other line ends within its strings.
_LINE_END = re.compile("\r\n|\r|\n")

_EVENT_STREAM = "text/event-stream"
#: How soon a browser comes back after a break, and that something is there.
_GREETING = b"retry: 1000\n: the events of this farm\n\n"


class Events:
    """Answers GET /api/v1/events."""

    def __init__(self, database: Database, feed: EventFeed, status: IStatus) -> None:
        self._database = database
        self._feed = feed
        self._status = status

    async def get(self, call: Call) -> Answer:
        """Events after ``since``: those there are or, if asked for, also those to come."""
        # A browser that comes back says where it was; the address is where it began.
        given, last = call.query.given, call.head.header("Last-Event-ID")
        if last is not None:
            given["since"] = last
        asked = from_texts(METHODS["events"], given)
        assert isinstance(asked, Asked)
        if _EVENT_STREAM in (call.head.header("Accept") or ""):
            since = None if asked.since is None else EventId.parse(asked.since)
            return await self._live(call, since, asked.run, asked.job)
        told = await self._status.events(asked)
        return Answer(body=told.json, has_etag=True)

    async def _live(
        self, call: Call, since: EventId | None, run: int | None, job: int | None
    ) -> Answer:
        if since is not None:
            # One of another farm is refused while an answer can still say so.
            await events_after(self._database, since, limit=1)
        if call.head.method == "HEAD":
            return Answer(content_type=_EVENT_STREAM)
        follower = self._feed.follow(since, run=run, job=job)

        async def stream(outlet: Outlet) -> None:
            try:
                await outlet.write(_GREETING)
                await self._tell(follower, outlet)
            except FeedStopped:
                return
            except FollowerTooSlow as error:
                await outlet.write(b"event: too-slow\ndata: %s\n\n" % _quoted(str(error)))
            finally:
                follower.close()

        return Answer(content_type=_EVENT_STREAM, stream=stream)

    async def _tell(self, follower: Follower, outlet: Outlet) -> None:
        while True:
            events = await follower.next(KEEP_ALIVE)
            await outlet.write(b"".join(map(frame, events)) or b": still here\n\n")


def frame(event: Event) -> bytes:
    """An event as a server-sent event; no text within can end it early."""
    kind = _LINE_END.sub(" ", event.kind)
    data = _LINE_END.sub("\ndata: ", event.document)
    return f"id: {event.id}\nevent: {kind}\ndata: {data}\n\n".encode()


def _quoted(text: str) -> bytes:
    return msgspec.json.encode({"detail": text})
