"""Logs over HTTP: the bytes as the build wrote them, also while it writes them."""

from __future__ import annotations

from collections.abc import Callable

from buildmaster.database import Database
from buildmaster.feed import EventFeed, FeedStopped
from buildmaster.http.answers import Answer, Outlet
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem, bad_request, not_found
from buildmaster.http.queries import Query
from buildmaster.http.ranges import Span, span_of
from buildmaster.store.logs import (
    BEGINNING,
    DamagedLog,
    LogName,
    find_log,
    find_place,
    has_ended,
    log_length,
    read_log,
)

_TEXT = "text/plain; charset=utf-8"
_LARGEST_NUMBER = 2**31 - 1


class Logs:
    """Answers GET /api/v1/jobs/ID/log."""

    def __init__(self, database: Database, feed: EventFeed) -> None:
        self._database = database
        self._feed = feed

    async def get(self, call: Call) -> Answer:
        """The log of an attempt or of one pipeline job: a range, all, or all to come."""
        query = call.query
        query.allow("attempt", "name", "index", "follow")
        log = await find_log(
            self._database,
            call.id("job"),
            query.number("attempt", highest=_LARGEST_NUMBER),
            _pipeline_job(query),
        )
        if log is None:
            raise not_found("log of this job, attempt and pipeline job")
        if query.flag("follow"):
            return Answer(
                content_type=_TEXT,
                stream=lambda outlet: self._follow(log, outlet, call.recheck),
            )
        span = span_of(call.head, await log_length(self._database, log))
        return Answer(
            span.status,
            content_type=_TEXT,
            headers=span.headers(),
            stream=lambda outlet: self._send(log, span, outlet),
        )

    async def _send(self, log: LogName, span: Span, outlet: Outlet) -> None:
        if not span.length:
            return
        place = await find_place(self._database, log, span.first)
        chunk, skip, left = place.chunk, place.skip, span.length
        while left:
            tail = await read_log(self._database, log, chunk)
            if not tail.data:
                raise DamagedLog(f"{left} bytes of a log are gone: {log}")
            chunk = tail.chunk
            for data in tail.data:
                part = data[skip : skip + left]
                skip = 0  # the place found lies within the first chunk
                left -= len(part)
                await outlet.write(part)

    async def _follow(
        self, log: LogName, outlet: Outlet, recheck: Callable[[], None]
    ) -> None:
        watch = self._feed.watch_log(log.job)
        chunk = BEGINNING.chunk
        try:
            while True:
                # Asked before the last reading: nothing is added to a log that has ended.
                is_over = await has_ended(self._database, log)
                while (tail := await read_log(self._database, log, chunk)).data:
                    chunk = tail.chunk
                    for data in tail.data:
                        await outlet.write(data)
                if is_over:
                    return
                await watch.changed()
                try:
                    recheck()
                except Problem as told:
                    # Breaking off: an answer that ends in order is a whole log.
                    raise FeedStopped(str(told)) from told
        finally:
            watch.close()


def _pipeline_job(query: Query) -> tuple[str, int] | None:
    name = query.text("name")
    index = query.number("index", lowest=0, highest=_LARGEST_NUMBER)
    if name is None and index is None:
        return None
    if name is None or index is None:
        raise bad_request(
            "bad_parameter", "the parameters 'name' and 'index' go together: NAME:INDEX"
        )
    return name, index
