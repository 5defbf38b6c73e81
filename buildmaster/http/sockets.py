"""Following over WebSocket: one text message of JSON for the snapshot and each event.

::

    <- {"id": "7301-415", "kind": "snapshot", "document": {...}}
    <- {"id": "7301-417", "kind": "job.done", "document": {...}}

The client says nothing; what it says all the same ends the connection. Who comes back asks
``since`` the last id. The code of the close is 4000 and the status of the problem, 4503 for
who does not keep up; its reason is the word of the problem.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildmaster.http.problems import Problem
from buildmaster.status.interface import IFollow
from buildmaster.status.news import Happened, News
from buildmaster.status.problems import StatusProblem

#: Bytes that a handshake takes, generously.
HANDSHAKE_LIMIT = 16 * 1024
#: Seconds of silence until a ping, and until a ping must be answered.
PING_AFTER, PONG_WITHIN = 30.0, 30.0
#: Seconds that a client may take nothing.
PATIENCE = 60.0

_log = Logger()


class Sockets:
    """Makes WebSockets of connections that asked for one."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._factory = WebSocketServerFactory(reactor=clock)
        self._factory.noisy = False
        self._factory.protocol = _Socket
        self._factory.setProtocolOptions(
            versions=[13],
            webStatus=False,
            requireMaskedClientFrames=True,
            maxFramePayloadSize=1024,
            maxMessagePayloadSize=1024,
            failByDrop=True,
            openHandshakeTimeout=10,
            closeHandshakeTimeout=5,
            tcpNoDelay=True,
            autoPingInterval=PING_AFTER,
            autoPingTimeout=PONG_WITHIN,
            autoPingRestartOnAnyTraffic=True,
        )

    def take_over(
        self,
        transport: Any,
        request: bytes,
        first: News,
        following: IFollow,
        recheck: Callable[[], None],
    ) -> None:
        """Go on with a connection whose ``request`` asked for WebSocket."""
        socket: Any = self._factory.buildProtocol(transport.getPeer())
        socket.begin_with(self._clock, first, following, recheck)
        if hasattr(transport, "wrappedProtocol"):  # TLS
            transport.wrappedProtocol = socket
        else:
            transport.protocol = socket
        socket.makeConnection(transport)
        transport.registerProducer(socket, True)
        transport.resumeProducing()
        socket.dataReceived(request)


class _Socket(WebSocketServerProtocol):  # type: ignore[misc]
    """One follower."""

    transport: Any
    dropConnection: Any  # noqa: N815
    maxMessagePayloadSize: int  # noqa: N815

    def begin_with(
        self,
        clock: IReactorTime,
        first: News,
        following: IFollow,
        recheck: Callable[[], None],
    ) -> None:
        """Told before there is a connection."""
        self._clock = clock
        self._first = first
        self._following = following
        self._recheck = recheck
        self._handshake = 0
        self._is_full = False
        self._room: Deferred[None] | None = None
        self._work: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        """Bytes came. The library bounds no handshake, and stumbles over some."""
        if self._work is None:
            self._handshake += len(data)
        try:
            if self._handshake > HANDSHAKE_LIMIT:
                raise ValueError("its handshake is too long")
            super().dataReceived(data)
        except Exception as error:
            _log.debug("a follower was cut off: {error}", error=error)
            self.dropConnection(abort=True)

    def onOpen(self) -> None:
        """The handshake is done."""
        self._work = Deferred.fromCoroutine(self._tell())
        self._work.addErrback(lambda failure: failure.trap(CancelledError))
        self._work.addErrback(lambda failure: _log.failure("a follower is lost", failure))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803
        """Followers have nothing to say."""
        self.sendClose(4400, "nothing is to be said here")

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N803
        """The connection is gone."""
        self._following.close()
        if self._work is not None:
            self._work.cancel()

    async def _tell(self) -> None:
        try:
            await self._send(self._first)
            async for news in self._following:
                self._recheck()
                await self._send(news)
        except (StatusProblem, Problem) as told:
            self.sendClose(4000 + told.status, told.code)
        finally:
            self._following.close()

    async def _send(self, news: News) -> None:
        if news.snapshot is not None:
            self._say(_message(news.cursor, "snapshot", news.snapshot))
        for event in news.events:
            self._say(message(event))
        if self._is_full:
            await self._until_there_is_room()

    def _say(self, text: bytes) -> None:
        # The library holds what we say to the bound for what clients say.
        bound, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
        try:
            self.sendMessage(text)
        finally:
            self.maxMessagePayloadSize = bound

    async def _until_there_is_room(self) -> None:
        self._room = Deferred()
        late = self._clock.callLater(PATIENCE, self.dropConnection, abort=True)
        try:
            await self._room
        finally:
            self._room = None
            if late.active():
                late.cancel()

    def pauseProducing(self) -> None:
        """The client is behind."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """The client took all there was."""
        self._is_full = False
        if self._room is not None and not self._room.called:
            self._room.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; `onClose` follows."""


@lru_cache(maxsize=2048)
def message(event: Happened) -> bytes:
    """An event as a message; made once, however many follow."""
    return _message(event.id, event.kind, event.json)


def _message(place: str, kind: str, document: bytes) -> bytes:
    return b'{"id":"%s","kind":%s,"document":%s}' % (
        place.encode(),
        msgspec.json.encode(kind),
        document,
    )
