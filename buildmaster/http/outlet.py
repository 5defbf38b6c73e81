"""Sending a long answer no faster than its reader takes it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.http import Request
from zope.interface import implementer

#: Seconds a client may take nothing before it is given up.
PATIENCE = 60.0


class ClientGone(Exception):
    """The client left, or took nothing for so long that it is as good as gone."""


@implementer(IPushProducer)
class RequestOutlet:
    """The body of one response; `write` waits while the client is behind."""

    def __init__(self, request: Request, clock: IReactorTime) -> None:
        self._request = request
        self._clock = clock
        self._is_paused = False
        self._is_gone = False
        self._room: Deferred[None] | None = None
        request.registerProducer(self, True)

    async def write(self, data: bytes) -> None:
        """Send ``data``, or `ClientGone`."""
        if self._is_gone:
            raise ClientGone("the client left")
        self._request.write(data)
        if self._is_paused:
            await self._until_there_is_room()

    async def _until_there_is_room(self) -> None:
        self._room = Deferred()
        timer = self._clock.callLater(PATIENCE, self._give_up)
        try:
            await self._room
        finally:
            self._room = None
            if timer.active():
                timer.cancel()

    def close(self) -> None:
        """Nothing more will be written to a client that is still there."""
        self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        if self._room is not None and not self._room.called:
            self._room.callback(None)

    def stopProducing(self) -> None:
        self._is_gone = True
        self._fail("the client left")

    def _give_up(self) -> None:
        self._fail(f"the client took nothing for {PATIENCE:g} s")

    def _fail(self, why: str) -> None:
        if self._room is not None and not self._room.called:
            self._room.errback(ClientGone(why))
