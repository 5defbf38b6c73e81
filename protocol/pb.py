"""Carries frames over Perspective Broker.

Login is PB's anonymous one: who may join is decided by the token in ``hello``, so this
carrier has no secrets. After it each side has one remote method, ``frames``, that takes
a list of byte strings. While a call is under way, further frames wait and go out
together in the next: under load many frames share the cost of one call.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.credentials import Anonymous
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions
from zope.interface import implementer

from protocol.carrier import (
    CLOSING_LIMIT,
    WAITING_LIMIT,
    CannotConnect,
    FrameTooLong,
    Line,
    Peer,
)
from protocol.messages import FRAME_LIMIT
from protocol.pb_broker import CALL_FRAMES, Broker, Inbox

#: Bytes from which a further call goes out although one is under way, and how many may
#: be: a long way to the other side must not make a long log slow.
FULL_CALL = 64 * 1024
CALLS_UNDER_WAY = 4

_log = Logger()


def listen(
    reactor: Any, endpoint: IStreamServerEndpoint, make_peer: Callable[[], Peer]
) -> Deferred[IListeningPort]:
    """Listen at ``endpoint`` for lines.

    ``make_peer`` is called for each line that a client opens. Fires with the port when
    it listens; fails with Twisted's ``CannotListenError``.
    """
    portal = Portal(_Realm(reactor, make_peer), [AllowAnonymousAccess()])
    factory = pb.PBServerFactory(portal, security=_security())
    _prepare(factory, reactor)
    listening: Deferred[IListeningPort] = endpoint.listen(factory)
    return listening


def connect(
    reactor: IReactorTime, endpoint: IStreamClientEndpoint, peer: Peer
) -> Deferred[Line]:
    """Open a line to the listener behind ``endpoint``; ``peer`` hears what happens on it.

    Fires with the line just after ``peer.opened``. Fails with `CannotConnect`, and then
    ``peer`` was told nothing.
    """
    return Deferred.fromCoroutine(_connect(reactor, endpoint, peer))


async def _connect(
    reactor: IReactorTime, endpoint: IStreamClientEndpoint, peer: Peer
) -> Line:
    factory = pb.PBClientFactory(security=_security())
    _prepare(factory, reactor)
    try:
        broker: Any = await endpoint.connect(factory)
    except Exception as error:
        raise CannotConnect(str(error) or type(error).__name__) from error
    inbox = Inbox()
    try:
        outbox = await factory.login(Anonymous(), inbox)
    except Exception as error:
        broker.end("its login failed")
        raise CannotConnect(broker.ending) from error
    if not isinstance(outbox, pb.RemoteReference) or broker.ending:
        broker.end("its login answered with something else than an object")
        raise CannotConnect(broker.ending)
    return _open(reactor, broker, inbox, outbox, peer)


def _security() -> SecurityOptions:
    """Basic types and references to methods; no class, not even an exception."""
    security = SecurityOptions()
    security.allowBasicTypes()
    security.allowTypes("remote")
    return security


def _prepare(factory: Any, reactor: IReactorTime) -> None:
    # PB calls ``protocol`` with these two keywords.
    factory.protocol = lambda **given: Broker(reactor, given["isClient"], given["security"])
    factory.noisy = False


@implementer(IRealm)
class _Realm:
    """Gives each client that logs in an inbox, and its line a peer."""

    def __init__(self, reactor: IReactorTime, make_peer: Callable[[], Peer]) -> None:
        self._reactor = reactor
        self._make_peer = make_peer

    def requestAvatar(self, avatar_id: object, mind: Any, *interfaces: object) -> Any:
        """An inbox for the client behind ``mind``, which `Broker` saw to be a reference."""
        inbox = Inbox()
        # After the answer to the login, or the client would hear frames first.
        self._reactor.callLater(0, self._open, inbox, mind)
        return pb.IPerspective, inbox, lambda: None

    def _open(self, inbox: Inbox, mind: pb.RemoteReference) -> None:
        broker = mind.broker
        if not broker.disconnected and not broker.ending:
            _open(self._reactor, broker, inbox, mind, self._make_peer())


def _open(
    reactor: IReactorTime,
    broker: Broker,
    inbox: Inbox,
    outbox: pb.RemoteReference,
    peer: Peer,
) -> Line:
    line = _Line(reactor, broker, outbox, peer)
    inbox.take = line.take
    broker.opened(line.lost)
    line.tell(peer.opened, line)
    return line


class _Line:
    """The `Line` on one broker: a queue, and the calls under way."""

    __slots__ = (
        "_broker",
        "_calls",
        "_closing",
        "_deadline",
        "_ear",
        "_outbox",
        "_pumping",
        "_queue",
        "_queued",
        "_reactor",
        "peer",
        "waiting",
    )

    def __init__(
        self,
        reactor: IReactorTime,
        broker: Broker,
        outbox: pb.RemoteReference,
        ear: Peer,
    ) -> None:
        self.peer = broker.address
        self.waiting = 0
        self._reactor = reactor
        self._broker = broker
        self._outbox = outbox
        self._ear = ear
        self._queue: list[bytes] = []  # a deque takes a kilobyte when it is empty
        self._queued = 0
        self._calls = 0
        self._pumping = False
        self._closing = False
        self._deadline: IDelayedCall | None = None

    # -- what the user of the line does

    def send(self, frame: bytes) -> None:
        """As `Line.send` promises."""
        if len(frame) > FRAME_LIMIT:
            raise FrameTooLong(f"a frame of {len(frame)} bytes; {FRAME_LIMIT} are allowed")
        if self._closing:
            return
        self._queue.append(frame)
        self._queued += len(frame)
        self.waiting += len(frame)
        if self.waiting > WAITING_LIMIT:
            self._broker.end("it does not take what it is sent")
        self._pump_soon()

    def close(self) -> None:
        """As `Line.close` promises."""
        if self._closing:
            return
        self._closing = True
        self._deadline = self._reactor.callLater(
            CLOSING_LIMIT, self._broker.end, "it did not take what was sent before the end"
        )
        self._pump_soon()

    # -- the queue

    def _pump_soon(self) -> None:
        """Once in this turn of the reactor: what is sent together goes together."""
        if not self._pumping:
            self._pumping = True
            self._reactor.callLater(0, self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._broker.disconnected or self._broker.ending:
            return
        while self._queue and (
            self._calls == 0
            or (self._calls < CALLS_UNDER_WAY and self._queued >= FULL_CALL)
        ):
            self._call()
        if self._closing and not self._queue and not self._calls:
            self._broker.answer()
            self._broker.transport.unregisterProducer()
            self._broker.transport.loseConnection()

    def _call(self) -> None:
        frames: list[bytes] = []
        size = 0
        for frame in islice(self._queue, CALL_FRAMES):
            if size + len(frame) > FRAME_LIMIT:
                break
            size += len(frame)
            frames.append(frame)
        del self._queue[: len(frames)]
        self._queued -= size
        self._calls += 1
        call: Deferred[object] = self._outbox.callRemote("frames", frames)
        call.addCallbacks(self._taken, self._refused, callbackArgs=(size,))

    def _taken(self, answer: object, size: int) -> None:
        self._calls -= 1
        self.waiting -= size
        self._pump()

    def _refused(self, failure: Failure) -> None:
        """The connection went away (`lost` tells the peer), or an error was answered."""
        if not self._broker.disconnected:
            self._broker.end("it answered frames with an error")

    # -- what the broker tells

    def take(self, frames: list[bytes]) -> None:
        """Hand ``frames`` on, unless the line was closed in the middle of them."""
        for frame in frames:
            if self._closing or self._broker.ending:
                return
            self.tell(self._ear.received, frame)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._closing = True
        self._queue.clear()
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
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
            self._broker.end("our own side could not handle what it sent")
