"""Carries frames over WebSocket, one binary message for each.

WebSocket begins as a request of HTTP, so this carrier shares a port with the farm's
pages (`Listener.take_over`) and passes what stands between two networks and knows only
HTTP. Nothing is compressed: log chunks are already. Pings keep quiet lines alive in
proxies, and are answered by the other side's library without us.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.logger import Logger

from protocol.carrier import (
    CLOSING_LIMIT,
    GREETING_LIMIT,
    WAITING_LIMIT,
    CannotConnect,
    FrameTooLong,
    Line,
    Peer,
)
from protocol.messages import FRAME_LIMIT

#: Where a farm's HTTP port takes workers, unless their URL names another path.
PATH = "/workers"
#: Seconds of silence until a ping, and until a ping must be answered.
PING_AFTER = 30.0
PONG_WITHIN = 30.0
#: Bytes that a handshake takes, generously.
HANDSHAKE_LIMIT = 16 * 1024

_log = Logger()


def listen(
    reactor: Any, endpoint: IStreamServerEndpoint, make_peer: Callable[[], Peer]
) -> Deferred[IListeningPort]:
    """Listen at ``endpoint`` for nothing but lines; ``make_peer`` is called for each.

    Fires with the port when it listens; fails with Twisted's ``CannotListenError``.
    """
    listening: Deferred[IListeningPort] = endpoint.listen(
        Listener(reactor, make_peer).factory
    )
    return listening


def connect(
    reactor: Any, endpoint: IStreamClientEndpoint, peer: Peer, url: str
) -> Deferred[Line]:
    """Open a line through ``endpoint`` to the listener that ``url`` names.

    Fires with the line just after ``peer.opened``. Fails with `CannotConnect`, and then
    ``peer`` was told nothing.
    """
    return Deferred.fromCoroutine(_connect(reactor, endpoint, peer, url))


async def _connect(
    reactor: Any, endpoint: IStreamClientEndpoint, peer: Peer, url: str
) -> Line:
    factory = WebSocketClientFactory(url, useragent="headrace", reactor=reactor)
    factory.noisy = False
    _prepare(factory)
    factory.protocol = _settled(_Client, factory)
    factory.setup = (reactor, peer)
    try:
        socket: Any = await endpoint.connect(factory)
    except Exception as error:
        raise CannotConnect(str(error) or type(error).__name__) from error
    line: Line = await socket.opening
    return line


class Listener:
    """Makes a line, and a peer for it, of each connection."""

    def __init__(self, reactor: Any, make_peer: Callable[[], Peer]) -> None:
        self.factory = WebSocketServerFactory(reactor=reactor)
        self.factory.noisy = False
        _prepare(self.factory)
        self.factory.setProtocolOptions(
            versions=[13], webStatus=False, requireMaskedClientFrames=True
        )
        self.factory.protocol = _settled(_Server, self.factory)
        self.factory.setup = (reactor, make_peer)

    def take_over(self, transport: Any, request: bytes) -> None:
        """Go on with a connection whose first request asked for WebSocket.

        ``request`` is that request as it was sent. Who calls this has checked it, no
        longer uses ``transport``, and has unregistered its producer.
        """
        socket: Any = self.factory.buildProtocol(transport.getPeer())
        if hasattr(transport, "wrappedProtocol"):  # TLS
            transport.wrappedProtocol = socket
        else:
            transport.protocol = socket
        socket.makeConnection(transport)
        transport.resumeProducing()
        socket.dataReceived(request)


def _settled(protocol: Any, factory: Any) -> Any:
    """The class ``protocol`` with the options of ``factory``.

    The library would copy thirty of them into each connection, and write them out for a
    log that nobody keeps.
    """
    options = {name: getattr(factory, name) for name in protocol.CONFIG_ATTRS}
    for name, option in options.items():
        if callable(option):
            options[name] = staticmethod(option)
    return type(protocol.__name__, (protocol,), {**options, "CONFIG_ATTRS": ()})


def _prepare(factory: Any) -> None:
    factory.setProtocolOptions(
        maxFramePayloadSize=FRAME_LIMIT,
        maxMessagePayloadSize=FRAME_LIMIT,
        utf8validateIncoming=False,  # There is no text.
        failByDrop=True,
        openHandshakeTimeout=GREETING_LIMIT,
        closeHandshakeTimeout=0,  # `_Line.close` has its own.
        tcpNoDelay=True,
        autoPingInterval=PING_AFTER,
        autoPingTimeout=PONG_WITHIN,
        autoPingRestartOnAnyTraffic=True,
    )


class _Socket:
    """What both ends have in common; goes before autobahn's class."""

    transport: Any
    factory: Any
    wasNotCleanReason: str | None  # noqa: N815
    dropConnection: Any  # noqa: N815
    STATE_OPEN: int = WebSocketProtocol.STATE_OPEN
    line: _Line | None = None
    _handshake = 0  # bytes of it

    def dataReceived(self, data: bytes) -> None:
        """Bytes came. The library bounds no handshake, and stumbles over some."""
        if self.line is None:
            self._handshake += len(data)
            if self._handshake > HANDSHAKE_LIMIT:
                self._fail(f"its handshake takes more than {HANDSHAKE_LIMIT} bytes")
                return
        try:
            super().dataReceived(data)  # type: ignore[misc]
        except Exception as error:
            self._fail(f"it sent what is no WebSocket: {error or type(error).__name__}")

    def _fail(self, reason: str) -> None:
        if self.line is not None:
            self.line.end(reason)
        elif self.wasNotCleanReason is None:
            self.wasNotCleanReason = reason
            self.dropConnection(abort=True)

    def begin(self, reactor: IReactorTime, ear: Peer) -> _Line:
        """Tell ``ear`` of the new line."""
        if hasattr(self.transport, "setTcpKeepAlive"):
            self.transport.setTcpKeepAlive(True)
        self.line = _Line(reactor, self, ear)
        self.transport.registerProducer(self.line, True)
        self.line.tell(ear.opened, self.line)
        return self.line

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803
        """A whole message came."""
        if self.line is None:
            return
        if isBinary:
            self.line.take(payload)
        else:
            self.line.end("it sent text, where frames are binary")

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N803
        """The connection is gone."""
        if self.line is not None:
            clean = "the line was closed"
            self.line.lost(clean if wasClean else self.wasNotCleanReason or clean)


class _Server(_Socket, WebSocketServerProtocol):  # type: ignore[misc]
    """The listener's end."""

    def onOpen(self) -> None:
        """The handshake is done."""
        self._forget_handshake()
        reactor, make_peer = self.factory.setup
        self.begin(reactor, make_peer())
        if self.line is not None:
            self.line.expect_greeting()

    def _forget_handshake(self) -> None:
        """Let go of the request: a master has thousands of these for days."""
        kept = {n: v for n, v in self.__dict__.items() if not n.startswith("http_")}
        self.__dict__ = kept


class _Client(_Socket, WebSocketClientProtocol):  # type: ignore[misc]
    """The other end; ``opening`` fires with its line."""

    def __init__(self) -> None:
        super().__init__()
        self.opening: Deferred[Line] = Deferred()

    def onOpen(self) -> None:
        """The handshake is done."""
        line = self.begin(*self.factory.setup)
        self.opening.callback(line)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N803
        """The connection is gone, perhaps before there was a line."""
        super().onClose(wasClean, code, reason)
        if not self.opening.called:
            self.opening.errback(CannotConnect(self.wasNotCleanReason or reason or "?"))


class _Line:
    """The `Line` on one connection: a queue in front of the transport's buffer."""

    __slots__ = (
        "_closing",
        "_deadline",
        "_ear",
        "_ending",
        "_greeting",
        "_held",
        "_is_full",
        "_pumping",
        "_queue",
        "_reactor",
        "_socket",
        "peer",
        "waiting",
    )

    def __init__(self, reactor: IReactorTime, socket: Any, ear: Peer) -> None:
        address = socket.transport.getPeer()
        host = getattr(address, "host", None)
        self.peer = f"{host}:{address.port}" if host is not None else str(address)
        self.waiting = 0
        self._reactor = reactor
        self._socket = socket
        self._ear = ear
        self._queue: list[bytes] = []  # a deque takes a kilobyte when it is empty
        self._held = 0  # bytes of the frame with which the transport's buffer was full
        self._is_full = False
        self._pumping = False
        self._closing = False
        self._ending = ""  # why the line was dropped; empty while it is well
        self._deadline: IDelayedCall | None = None
        self._greeting: IDelayedCall | None = None

    # -- what the user of the line does

    def send(self, frame: bytes) -> None:
        """As `Line.send` promises."""
        if len(frame) > FRAME_LIMIT:
            raise FrameTooLong(f"a frame of {len(frame)} bytes; {FRAME_LIMIT} are allowed")
        if self._closing:
            return
        self._queue.append(frame)
        self.waiting += len(frame)
        if self.waiting > WAITING_LIMIT:
            self.end("it does not take what it is sent")
        self._pump_soon()

    def close(self) -> None:
        """As `Line.close` promises."""
        if self._closing:
            return
        self._closing = True
        self._deadline = self._reactor.callLater(
            CLOSING_LIMIT, self.end, "it did not take what was sent before the end"
        )
        self._pump_soon()

    # -- the queue

    def _pump_soon(self) -> None:
        """Once in this turn of the reactor."""
        if not self._pumping:
            self._pumping = True
            self._reactor.callLater(0, self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._ending:
            return
        if self._socket.state != _Socket.STATE_OPEN:
            # The other side has said its last word: it hears nothing of ours.
            self._queue.clear()
            return
        queue, send = self._queue, self._socket.sendMessage
        while queue and not self._is_full:
            frame = queue.pop(0)
            send(frame, True)
            if self._is_full:
                self._held = len(frame)
            else:
                self.waiting -= len(frame)
        if self._closing and not queue:
            self._socket.sendClose(1000)

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._is_full = False
        self.waiting -= self._held
        self._held = 0
        if self._queue or self._closing:
            self._pump_soon()

    def stopProducing(self) -> None:
        """The transport is gone; `lost` follows."""

    # -- what the connection tells

    def expect_greeting(self) -> None:
        """Drop the line unless a first frame comes in time."""
        self._greeting = self._reactor.callLater(
            GREETING_LIMIT, self.end, f"it did not greet within {GREETING_LIMIT:g} s"
        )

    def take(self, frame: bytes) -> None:
        """Hand ``frame`` on, unless the line is closed or dropped."""
        if self._closing or self._ending:
            return
        self._stop(self._greeting)
        self.tell(self._ear.received, frame)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        reason = self._ending or reason
        self._closing = True
        self._ending = reason
        self._queue.clear()
        self._stop(self._deadline)
        self._stop(self._greeting)
        try:
            self._ear.closed(reason)
        except Exception:
            _log.failure("closing the line with {peer}", peer=self.peer)

    def tell(self, hear: Callable[[Any], None], what: object) -> None:
        """Call the peer; an exception of its is a fault of ours and ends the line."""
        try:
            hear(what)
        except Exception:
            _log.failure("what came from {peer} could not be handled", peer=self.peer)
            self.end("our own side could not handle what it sent")

    def end(self, reason: str) -> None:
        """Drop the connection at once: ``reason`` is a fault, logged once."""
        if self._ending:
            return
        self._ending = reason
        _log.warn("line with {peer} dropped: {reason}", peer=self.peer, reason=reason)
        self._socket.dropConnection(abort=True)

    def _stop(self, call: IDelayedCall | None) -> None:
        if call is not None and call.active():
            call.cancel()
