"""A port in front of another one, whose first line breaks in the middle."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase


class BrokenLines:
    """Passes everything on to ``port``, but breaks once, after so many bytes."""

    def __init__(self, test: TestCase, port: int, breaks_after: int) -> None:
        self.sent = self.got = 0  #: bytes, as the clients see it
        self.behind = port
        self._left: int | None = breaks_after
        factory: Any = Factory.forProtocol(lambda: _Client(self))
        factory.noisy = False
        listening: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        test.addCleanup(listening.stopListening)
        self.port: int = listening.getHost().port

    def breaks(self, size: int) -> bool:
        """Whether the line breaks with these bytes."""
        if self._left is None:
            return False
        self._left -= size
        if self._left > 0:
            return False
        self._left = None
        return True


class _Side(Protocol):
    transport: Any
    other: _Side | None = None

    def __init__(self, lines: BrokenLines) -> None:
        self.lines = lines

    def pass_on(self, data: bytes) -> None:
        if self.other is None:
            return
        if self.lines.breaks(len(data)):
            self.transport.abortConnection()
            self.other.transport.abortConnection()
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            other.transport.unregisterProducer()  # it would be waited for
            other.transport.loseConnection()


class _Client(_Side):
    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.lines.behind)
        connectProtocol(endpoint, _Server(self.lines)).addCallback(self._joined)

    def _joined(self, server: _Server) -> None:
        self.other, server.other = server, self
        # Neither side may run ahead of the other: what counts is what has arrived.
        self.transport.registerProducer(server.transport, True)
        server.transport.registerProducer(self.transport, True)
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self.lines.sent += len(data)
        self.pass_on(data)


class _Server(_Side):
    def dataReceived(self, data: bytes) -> None:
        self.lines.got += len(data)
        self.pass_on(data)
