"""Receives the body of a response, as it comes, and can be told to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss


class BodyBroken(Exception):
    """The body did not come to its end; the message says how far it came."""


class Body(Protocol):
    """Passes what comes to ``received``.

    ``ended`` fires when the body is complete, or fails: with `BodyBroken` when the
    connection broke or nothing came for ``silence`` seconds, or with what ``received``
    raised. Cancelling it closes the connection.
    """

    def __init__(
        self, received: Callable[[bytes], None], clock: IReactorTime, silence: float | None
    ) -> None:
        self.ended: Deferred[None] = Deferred(self._cancelled)
        self._received = received
        self._clock = clock
        self._silence = silence
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """The head of the response was read; its body follows."""
        self._listen_again()

    def dataReceived(self, data: bytes) -> None:
        """Pass on the next bytes."""
        self._listen_again()
        if self.ended.called:
            return
        try:
            self._received(data)
        except Exception:
            self._end(Failure())
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is complete, or never will be."""
        # Without a length, the end of the connection is the end of the body.
        if reason.check(ResponseDone, PotentialDataLoss):
            self._end(None)
        else:
            self._end(Failure(BodyBroken(f"the connection broke ({reason.value})")))

    def _listen_again(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._silence is not None and not self.ended.called:
            self._timer = self._clock.callLater(self._silence, self._silent)

    def _silent(self) -> None:
        self._end(Failure(BodyBroken(f"nothing came for {self._silence:.0f} s")))
        self._close()

    def _end(self, result: Failure | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not self.ended.called:
            self.ended.callback(result)

    def _cancelled(self, _ended: Deferred[None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._close()

    def _close(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()
