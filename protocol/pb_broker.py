"""Perspective Broker's broker, made safe to show to strangers.

PB builds whatever it is sent before anybody looks at it, logs a traceback for each
oddity, and keeps the line. This broker measures first, knows the few expressions that
`protocol.pb` uses, and ends the line, with one line in the log, at anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions

from protocol.carrier import GREETING_LIMIT
from protocol.messages import FRAME_LIMIT

#: Frames in one call.
CALL_FRAMES = 256
#: Bytes of one PB expression: a full call and what PB writes around it.
EXPRESSION_LIMIT = FRAME_LIMIT + CALL_FRAMES * 8 + 1024
#: Bytes that all of the login takes, generously.
LOGIN_LIMIT = 4096
#: How deep PB's own expressions nest, and a bit more.
DEPTH_LIMIT = 10
#: Seconds that the answer to a small call waits for something to go out with, where the
#: last one was followed by a call so soon: each packet wakes a process.
ANSWER_DELAY = 0.004
#: Frames, and bytes of them, of a call that is small.
SMALL_CALL, SMALL_BYTES = 4, 4096
#: Answers that a peer may leave untaken.
ANSWERS_LIMIT = 10_000

_EXPRESSIONS = frozenset(
    {b"version", b"message", b"answer", b"error", b"decref", b"didNotUnderstand"}
)
_log = Logger()


class Misbehaviour(Exception):
    """The peer sent what no carrier of ours sends."""


class _Nesting(list[Any]):
    """PB's stack of unfinished lists, with bounds on its depth and on each list."""

    def append(self, item: Any) -> None:
        length, _ = item
        if length > CALL_FRAMES + 1 or len(self) >= DEPTH_LIMIT:
            raise Misbehaviour("it sent a list that is too long or too deep")
        super().append(item)


class Inbox(pb.Referenceable):
    """The object with the one method, ``frames``; each side has one."""

    take: Callable[[list[bytes]], None] | None = None

    def remoteMessageReceived(
        self, broker: Broker, message: str, args: Any, kw: Any
    ) -> object:
        """Pass on what `Broker.proto_message` let through, still in PB's form."""
        if self.take is not None:
            self.take(args[1][1:])
        return broker.serialize(None, self)


class Broker(pb.Broker):
    """One end of a connection, before and after the login.

    ``lost`` is called once with the reason when a connection that was `opened` ends.
    """

    transport: Any
    factory: Any
    disconnected: int

    def __init__(
        self, reactor: IReactorTime, is_client: bool, security: SecurityOptions
    ) -> None:
        super().__init__(is_client, security)
        self.listStack = _Nesting()
        #: Why the connection ends or ended; empty while it is well.
        self.ending = ""
        self._reactor = reactor
        self._size = 0
        self._lost: Callable[[str], None] | None = None
        self._greeting: IDelayedCall | None = None
        self._paused = False
        self._answers = 0
        self._has_login = False
        self._may_wait = False  # the answer to the call that is looked at
        self._is_followed = False  # a call went out soon after the last answer
        self._answered_at = 0.0
        self._due: list[tuple[Any, ...]] = []  # answers
        self._delay: IDelayedCall | None = None

    # -- the life of the connection

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            # Nothing in twisted.spread does; without it Nagle's algorithm and delayed
            # acknowledgements cost 40 ms for a call.
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        self._greeting = self._reactor.callLater(
            GREETING_LIMIT, self.end, f"it did not greet within {GREETING_LIMIT:g} s"
        )
        super().connectionMade()

    def opened(self, lost: Callable[[str], None]) -> None:
        """The login is done: frames may come, and ``lost`` hears of the end."""
        self._lost = lost
        if self.isClient:
            self._greeted()

    def end(self, reason: str) -> None:
        """Drop the connection at once: ``reason`` is a fault, logged once."""
        if self.ending:
            return
        self.ending = reason
        _log.warn("line with {peer} dropped: {reason}", peer=self.address, reason=reason)
        self.transport.abortConnection()

    @property
    def address(self) -> str:
        """The other side's, for logs."""
        address = self.transport.getPeer()
        host = getattr(address, "host", None)
        return f"{host}:{address.port}" if host is not None else str(address)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._greeted()
        self._due.clear()
        self.answer()
        if not self.ending:
            closed = reason.check(ConnectionDone)
            self.ending = "the line was closed" if closed else reason.getErrorMessage()
        super().connectionLost(reason)
        if self.isClient:
            # Who waits for the first object would wait for ever: an endpoint does not
            # tell the factory.
            self.factory.clientConnectionLost(None, reason)
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(self.ending)

    def _greeted(self) -> None:
        if self._greeting is not None and self._greeting.active():
            self._greeting.cancel()
        self._greeting = None

    # -- what arrives

    def dataReceived(self, data: bytes) -> None:
        if self.ending:
            return
        # One read may hold the end of an expression and the start of the next; nothing
        # rightly follows a login before it is answered.
        size = self._size if self._lost is not None else self._size + len(data)
        self._size += len(data)
        try:
            if size > (EXPRESSION_LIMIT if self._lost is not None else LOGIN_LIMIT):
                raise Misbehaviour(f"it sent an expression of {size} bytes or more")
            super().dataReceived(data)
        except Exception as error:
            self.buffer = b""
            self.end(str(error) or type(error).__name__)

    def callExpressionReceived(self, expression: Any) -> None:
        if self.ending:
            # `end` was called for an earlier expression of the same read.
            raise Misbehaviour(self.ending)
        if self._lost is not None:
            self._size = 0
        super().callExpressionReceived(expression)

    def expressionReceived(self, expression: Any) -> None:
        match expression:
            case [bytes() as command, *_] if command in _EXPRESSIONS:
                super().expressionReceived(expression)
            case _:
                raise Misbehaviour("it sent an expression that is not for a carrier")

    def proto_didNotUnderstand(self, command: object) -> NoReturn:
        raise Misbehaviour("it does not understand our PB")

    def proto_message(
        self,
        request: object,
        target: object,
        message: object,
        answer: object,
        args: object,
        keywords: object,
    ) -> None:
        """Only a login before there is a line, and only frames after it."""
        if not isinstance(request, int) or not answer or keywords != [b"dictionary"]:
            raise Misbehaviour("its call is not one of a carrier")
        if message == b"frames" and self._lost is not None:
            self._check_frames(target, args)
            self._greeted()
        elif message == b"loginAnonymous" and not self._has_login and not self.isClient:
            if not _is_reference(args) or target != b"root":
                raise Misbehaviour("its login is not one")
            # At once: a second one may be in the same read, before there is a line.
            self._has_login = True
        else:
            raise Misbehaviour("it called a method that is not for it")
        super().proto_message(request, target, message, answer, args, keywords)
        self._may_wait = False

    def _check_frames(self, target: object, args: object) -> None:
        if not isinstance(self.localObjectForID(target), Inbox):
            raise Misbehaviour("it sent frames to something that takes none")
        if not _are_frames(args):
            raise Misbehaviour("it sent something else than frames")
        self._may_wait = _is_small(args)
        if self._paused:
            self._answers += 1
            if self._answers > ANSWERS_LIMIT:
                raise Misbehaviour("it does not read the answers to its calls")

    # -- what leaves

    def sendCall(self, *expression: Any) -> None:
        # References that are collected late still want to tell a line that is gone.
        if self.disconnected:
            return
        if expression[0] == b"answer" and self._may_wait and self._is_followed:
            self._due.append(expression)
            if self._delay is None:
                self._delay = self._reactor.callLater(ANSWER_DELAY, self._answer_late)
            return
        if expression[0] == b"answer":
            self._answered_at = self._reactor.seconds()
        elif not self._is_followed:
            since = self._reactor.seconds() - self._answered_at
            self._is_followed = since < ANSWER_DELAY
        self.answer()
        super().sendCall(*expression)

    def answer(self) -> None:
        """Send the answers that waited."""
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
        due, self._due = self._due, []
        for expression in due:
            super().sendCall(*expression)

    def _answer_late(self) -> None:
        self._delay = None
        self._is_followed = False
        self.answer()

    def pauseProducing(self) -> None:
        """The peer reads slower than we write; only answers could pile up without end."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The peer took all there was."""
        self._paused = False
        self._answers = 0


def _are_frames(args: object) -> bool:
    """Whether ``args`` is PB's form of ``([frame, ...],)`` with at least one frame."""
    match args:
        case [b"tuple", [b"list", _, *_] as frames]:
            return all(type(frame) is bytes for frame in frames)
    return False


def _is_small(args: Any) -> bool:
    """Whether the frames of a call are few and short."""
    frames = args[1][1:]
    return len(frames) <= SMALL_CALL and sum(map(len, frames)) <= SMALL_BYTES


def _is_reference(args: object) -> bool:
    """Whether ``args`` is PB's form of ``(an object of the caller's,)``."""
    match args:
        case [b"tuple", [b"remote", int()]]:
            return True
    return False
