"""A request on the wire: refused before its body arrives, or answered when it is whole."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.server import Request

from buildmaster.feed import FeedStopped
from buildmaster.http.answers import Answer, Validated, problem, validated
from buildmaster.http.call import Head
from buildmaster.http.front import Front, Visit
from buildmaster.http.outlet import ClientGone, RequestOutlet
from buildmaster.http.problems import Problem

#: Seconds in which a client that was refused may notice before it is cut off.
_NOTICE = 2.0

#: Bytes from which on hashing and packing would hold up everybody else.
_WORTH_A_THREAD = 32 * 1024

_EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class FarmRequest(Request):
    """Hands each request to the `Front` of its site.

    twisted.web would keep the whole body in a file before anybody may look at it. Here
    the front looks when the headers are there: a body that nobody may send is not taken,
    and a file goes straight to where it belongs.
    """

    log = Logger()
    defaultContentType = None  # noqa: N815

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._visit: Visit | None = None
        self._problem: Problem | None = None
        self._is_refused = False
        self._work: Deferred[None] | None = None
        self._head: Head | None = None
        self._began = 0.0

    @property
    def _front(self) -> Front:
        front: Front = self._channel.site.front
        return front

    @property
    def _channel(self) -> Any:
        """The connection, with what twisted.web does not tell type checkers of."""
        return self.channel

    # While the request arrives

    def gotLength(self, length: int | None) -> None:
        """Called with the headers complete."""
        super().gotLength(0)  # twisted's own place for the body stays empty
        # A request learns its method and address only with its body; the channel knows.
        target = self._channel._path.decode("ascii", "replace")
        path, _, query = target.partition("?")
        method = self._channel._command.decode("ascii", "replace")
        address = str(getattr(self._channel.getPeer(), "host", ""))
        head = Head(method, path, query, self.requestHeaders, length, address)
        self._head, self._began = head, self._front.clock.seconds()
        try:
            self._visit = self._front.enter(head)
            self._head = self._visit.call.head  # a proxy may know better where it is from
        except Problem as refusal:
            self._problem = refusal
            if length != 0:
                self._refuse(refusal)

    def handleContentChunk(self, data: bytes) -> None:
        """Called with each piece of the body."""
        if self._is_refused or self._visit is None:
            return
        try:
            self._visit.take(data)
        except Problem as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Problem) -> None:
        """Answer before the body is here, which will not be taken."""
        self._is_refused = True
        self._forget_body()
        # Nobody is to be told to go on.
        self.requestHeaders.removeHeader("Expect")
        answer = problem(refusal)
        lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"]
        headers = {
            **_EVERY_ANSWER,
            **answer.headers,
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
        }
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._channel.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        self._channel.transport.write(answer.body)
        self._note(refusal.status, len(answer.body))
        # Closing with unread bytes resets the connection, and the client would lose the
        # answer. So what still comes is thrown away for a while.
        self._cut_off = self._front.clock.callLater(_NOTICE, self._cut)

    def _note(self, status: int, size: int) -> None:
        """Have it known that an answer went out."""
        if self._head is None:
            return
        grant = None if self._visit is None else self._visit.call.grant
        who = "" if grant is None else grant.who
        seconds = self._front.clock.seconds() - self._began
        self._channel.site.note(self._head, who, status, size, max(0.0, seconds))

    def _cut(self) -> None:
        self._channel.transport.abortConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Called with the body complete."""
        if self._is_refused:
            self._stop_cutting()
            self._channel.loseConnection()
            return
        super().requestReceived(command, path, version)

    def _stop_cutting(self) -> None:
        if self._is_refused and self._cut_off.active():
            self._cut_off.cancel()

    def connectionLost(self, reason: Failure) -> None:
        """Called when the client left before the answer was complete."""
        self._stop_cutting()
        self._forget_body()
        super().connectionLost(reason)

    def _forget_body(self) -> None:
        if self._visit is not None:
            self._visit.abort()

    # When it is whole

    def process(self) -> None:
        """Answer; called by `requestReceived`."""
        self.site = self._channel.site
        self._work = Deferred.fromCoroutine(self._answer())
        # Whoever leaves is not worked for any longer.
        self.notifyFinish().addErrback(self._left)
        self._work.addErrback(self._failed)

    def _left(self, reason: Failure) -> None:
        if self._work is not None:
            self._work.cancel()

    def _failed(self, reason: Failure) -> None:
        if reason.check(CancelledError, ClientGone, FeedStopped) is None:
            self.log.failure("an answer broke off", reason)
        if not self._disconnected and not self.finished:
            # The client must see that the answer is not complete.
            self._channel.transport.abortConnection()

    async def _answer(self) -> None:
        try:
            if self._problem is not None or self._visit is None:
                assert self._problem is not None
                answer = problem(self._problem)
            else:
                answer = await self._front.answer(self._visit)
        finally:
            self._forget_body()
        await self._send(answer)

    def _hand_over(self, take_over: Callable[[Any, bytes], None]) -> None:
        """The connection is no longer HTTP's; what else it does is not our business."""
        lines = [self.method + b" " + self.uri + b" HTTP/1.1"]
        for name, values in self.requestHeaders.getAllRawHeaders():
            lines += [name + b": " + value for value in values]
        channel = self._channel
        channel.setTimeout(None)
        transport, channel.transport = channel.transport, None
        transport.unregisterProducer()
        take_over(transport, b"\r\n".join(lines) + b"\r\n\r\n")

    async def _send(self, answer: Answer) -> None:
        if answer.take_over is not None:
            self._hand_over(answer.take_over)
            return
        headers = {**_EVERY_ANSWER, **answer.headers}
        status, body = answer.status, answer.body
        if answer.has_etag:
            told = await self._validated(answer)
            status, body = told.status, told.body
            headers.update(told.headers)
        headers.setdefault("Cache-Control", "no-store")
        self.setResponseCode(status)
        if status not in (204, 304):
            headers["Content-Type"] = answer.content_type
            if answer.stream is None:
                headers["Content-Length"] = str(len(body))
        self.setHeader(b"Date", datetimeToString())
        for name, value in headers.items():
            self.setHeader(name, value)
        for line in answer.cookies:
            self.responseHeaders.addRawHeader("Set-Cookie", line)
        if answer.stream is None or self.method == b"HEAD":
            self.write(body)
        else:
            await self._stream(answer)
        self._note(status, self.sentLength)
        self.finish()

    async def _validated(self, answer: Answer) -> Validated:
        known, accepts = self.getHeader("If-None-Match"), self.getHeader("Accept-Encoding")
        told = (answer.body, known, accepts, answer.version)
        is_cheap = len(answer.body) < _WORTH_A_THREAD or (
            answer.version is not None and "gzip" not in (accepts or "")
        )
        if is_cheap:
            return validated(*told)
        return await deferToThread(validated, *told)

    async def _stream(self, answer: Answer) -> None:
        assert answer.stream is not None
        outlet = RequestOutlet(self, self._front.clock)
        self.write(b"")  # the headers go out before there is anything to tell
        try:
            await answer.stream(outlet)
        finally:
            if not self._disconnected:
                outlet.close()
