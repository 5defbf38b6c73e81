"""Serves the status over Perspective Broker: the same methods, as ``remote_`` methods.

::

    root.status(token)            -> an object with the methods of IStatus
    status.jobs(state=["done"])   -> ["document", [bytes, ...]] or ["problem", bytes]
    status.follow("jobs", since, state=["done"])
                                  -> ["follower", an object] or ["problem", bytes]
    follower.next()               -> ["news", cursor, [bytes, ...] or None,
                                      [[id, kind, bytes], ...]] or ["problem", bytes]
    follower.close()              -> ["closed"]
    status.signal(workflow, name, arguments as JSON, id or None)
                                  -> ["document", [bytes, ...]] or ["problem", bytes]

``next`` answers when there is news, at the latest after 15 seconds; one at a time. The
third of its parts is the snapshot, as pieces, at first; and again of answers that are
renewed instead of told by events.

Answers and problems are the JSON of HTTP, in pieces because PB refuses long strings. Only
lists, texts, numbers and references go over the line, no class, not even an exception.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IStreamServerEndpoint,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions
from zope.interface import implementer

from buildmaster.grants import Grant
from buildmaster.requests import Refusal
from buildmaster.status.asking import from_values
from buildmaster.status.interface import BoundedStatus, IFollow
from buildmaster.status.keys import AskedKeys
from buildmaster.status.methods import METHODS, Method
from buildmaster.status.permission import Permission
from buildmaster.status.problems import StatusProblem
from buildmaster.status.questions import Jobs

#: Bytes of one string; PB refuses more than 640 KiB.
PIECE = 256 * 1024
#: Bytes of what a client says at a time, give or take one reading of the socket.
EXPRESSION_LIMIT = 64 * 1024
#: Elements of a list that a client sends, and how deep lists nest.
LENGTH_LIMIT, DEPTH_LIMIT = 300, 12
#: Questions of one connection that may be under way.
QUESTIONS = 16
#: Followings of one connection.
FOLLOWERS = 16
#: Connections at a time.
CONNECTIONS = 1000
#: Seconds until a connection must have asked for the status.
GREETING = 15.0
#: Seconds that a client may leave answers untaken.
PATIENCE = 60.0

_COMMANDS = frozenset({b"version", b"message", b"decref"})

_log = Logger()

FindGrant = Callable[[str], Grant | None]
MakePermission = Callable[[Grant | None], Permission]
#: Sends a signal to a workflow: its name, the signal's, arguments, who, and an id.
Signal = Callable[[str, str, Any, str, str | None], Awaitable[Any]]


def _security() -> SecurityOptions:
    """What may come: basic types; neither a class nor an object of the client's."""
    options = SecurityOptions()
    options.allowBasicTypes()
    return options


def problem(told: StatusProblem) -> list[object]:
    """A problem as it goes over the line."""
    return ["problem", told.document()]


def document(json: bytes) -> list[object]:
    """A document as it goes over the line."""
    return ["document", pieces(json)]


def pieces(json: bytes) -> list[bytes]:
    """A long string, cut."""
    return [json[at : at + PIECE] for at in range(0, len(json), PIECE)]


class Misbehaviour(Exception):
    """The client sent what no client of the status sends."""


class _Nesting(list[Any]):
    """PB's stack of unfinished lists, with bounds."""

    def append(self, item: Any) -> None:
        length, _ = item
        if length > LENGTH_LIMIT or len(self) >= DEPTH_LIMIT:
            raise Misbehaviour("it sent a list that is too long or too deep")
        super().append(item)


class StatusBroker(pb.Broker):
    """PB's broker, which measures what strangers send before it builds anything of it."""

    transport: Any
    factory: Any

    def __init__(self, reactor: IReactorTime) -> None:
        super().__init__(0, _security())
        self.listStack = _Nesting()
        self.questions = 0
        self.has_asked = False
        self.followers: set[RemoteFollower] = set()
        self._reactor = reactor
        self._size = 0
        self._deadline: IDelayedCall | None = None
        self._is_counted = False
        self._is_over = False
        self._is_paused = False
        self._held = b""  # came while paused

    # -- the life of the connection

    def connectionMade(self) -> None:
        if self.factory.connections >= CONNECTIONS:
            self._end("there are too many already")
            return
        self.factory.connections += 1
        self._is_counted = True
        self._wait_for_greeting()
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        super().connectionMade()

    def _wait_for_greeting(self) -> None:
        self._stop_waiting()
        self._deadline = self._reactor.callLater(GREETING, self._end, "it asks nothing")

    def greeted(self) -> None:
        """The client has asked for the status."""
        self._stop_waiting()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._stop_waiting()
        self._is_over = True
        for follower in list(self.followers):
            follower.close()
        if self._is_counted:
            self._is_counted = False
            self.factory.connections -= 1
            super().connectionLost(reason)

    def _end(self, reason: str) -> None:
        if not self._is_over:
            self._is_over = True
            _log.warn("a reader of the status was cut off: {reason}", reason=reason)
            self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    # -- a client that takes no answers may ask nothing more, and not for ever

    def pauseProducing(self) -> None:
        """Answers pile up: hear nothing until they are taken.

        TLS calls this during its handshake, too, which needs what comes in: so the
        transport is stopped only when it brings something for us (`dataReceived`).
        """
        self._is_paused = True
        self._stop_waiting()
        self._deadline = self._reactor.callLater(
            PATIENCE, self._end, "it does not take what it asked for"
        )

    def resumeProducing(self) -> None:
        """The client took all there was."""
        self._is_paused = False
        if not self.has_asked:
            self._wait_for_greeting()
        else:
            self._stop_waiting()
        if self._held and not self._is_over:
            held, self._held = self._held, b""
            self.transport.resumeProducing()
            self.dataReceived(held)

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` follows."""

    # -- what arrives

    def dataReceived(self, data: bytes) -> None:
        if self._is_over:
            return
        if self._is_paused:
            self._held += data
            self.transport.pauseProducing()
            return
        self._size += len(data)
        try:
            if self._size > EXPRESSION_LIMIT:
                raise Misbehaviour("it sent too much at a time")
            super().dataReceived(data)
        except Exception as error:
            self.buffer = b""
            self._end(str(error) or type(error).__name__)

    def expressionReceived(self, expression: Any) -> None:
        self._size = 0
        match expression:
            case [bytes() as command, *_] if command in _COMMANDS:
                super().expressionReceived(expression)
            case _:
                raise Misbehaviour("it sent an expression that is not for a status")

    def proto_didNotUnderstand(self, command: object) -> None:
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
        """Only calls that want an answer, of objects that we gave out."""
        if not isinstance(request, int) or not isinstance(message, bytes) or not answer:
            raise Misbehaviour("its call is none")
        if not isinstance(target, int | bytes) or self.localObjectForID(target) is None:
            raise Misbehaviour("it called an object that it was never given")
        super().proto_message(request, target, message, answer, args, keywords)


class _Factory(pb.PBServerFactory):
    connections = 0


def listen(
    reactor: Any,
    endpoint: IStreamServerEndpoint,
    status: BoundedStatus,
    find: FindGrant,
    permission: MakePermission,
    signal: Signal | None = None,
) -> Deferred[IListeningPort]:
    """Serve ``status`` at ``endpoint``; ``find`` knows tokens. Fires with the port.

    ``signal`` lets those who may submit send signals to workflows.
    """
    root = StatusRoot(status, find, permission, signal)
    factory: Any = _Factory(root, security=_security())
    factory.protocol = lambda **_: StatusBroker(reactor)
    factory.noisy = False
    listening: Deferred[IListeningPort] = endpoint.listen(factory)
    return listening


class _Called(pb.Referenceable):
    """An object of ours whose calls are checked before they are made."""

    def remoteMessageReceived(
        self, broker: StatusBroker, message: str, args: Any, kw: Any
    ) -> Any:
        """The answer, in PB's form; whatever is wrong with a call is a problem document."""
        try:
            given, named = broker.unserialize(args), broker.unserialize(kw)
            answer = self.call(broker, str(message), list(given), dict(named))
        except StatusProblem as error:
            answer = problem(error)
        except Exception as error:
            # PB would log a traceback for each, and send it.
            _log.debug("what a call brought cannot be read: {error}", error=error)
            answer = problem(
                StatusProblem(400, "bad_parameter", "what the call brought cannot be read")
            )
        return broker.serialize(answer, None, message, args, kw)

    def call(
        self, broker: StatusBroker, name: str, given: list[Any], named: dict[str, Any]
    ) -> Any:
        """What goes back, or a Deferred of it; or `StatusProblem`."""
        raise NotImplementedError


@implementer(pb.IPBRoot)
class StatusRoot(_Called):
    """What a connection begins with."""

    def __init__(
        self,
        status: BoundedStatus,
        find: FindGrant,
        permission: MakePermission,
        signal: Signal | None = None,
    ) -> None:
        self._signal = signal
        self._status = status
        self._find = find
        self._permission = permission

    def rootObject(self, broker: object) -> StatusRoot:
        """Itself, for every connection."""
        return self

    def call(
        self, broker: StatusBroker, name: str, given: list[Any], named: dict[str, Any]
    ) -> Any:
        """``status(token)``, once: the status for its bearer, or for whoever has none."""
        if name != "status" or named or len(given) != 1 or broker.has_asked:
            raise StatusProblem(
                400, "bad_call", "a connection begins with status(token), and that once"
            )
        [token] = given

        def permission() -> Permission:
            grant = None
            if token is not None:
                grant = self._find(token) if isinstance(token, str) else None
                if grant is None:
                    raise StatusProblem(
                        401,
                        "unauthorized",
                        "this farm does not know the token that was sent",
                    )
            return self._permission(grant)

        permission()
        broker.has_asked = True
        broker.greeted()
        return ["status", RemoteStatus(self._status, permission, self._signal)]


async def _told(name: str, answering: Coroutine[Any, Any, bytes]) -> list[object]:
    """The answer in PB's form, or why there is none."""
    try:
        return document(await answering)
    except StatusProblem as error:
        return problem(error)
    except Exception:
        _log.failure("could not answer {method}", method=name)
        return problem(
            StatusProblem(500, "defect", "the farm made a mistake; its log tells more")
        )


class RemoteStatus(_Called):
    """The status, for one asker."""

    def __init__(
        self,
        status: BoundedStatus,
        permission: Callable[[], Permission],
        signal: Signal | None = None,
    ) -> None:
        """``permission`` is asked each time: tokens end, and so does what they permit."""
        self._signal = signal
        self._status = status
        self._permission = permission

    def call(
        self, broker: StatusBroker, name: str, given: list[Any], named: dict[str, Any]
    ) -> Any:
        """One question: ``name`` is the method, ``named`` its parameters."""
        if name == "follow":
            return self._follow(broker, given, named)
        method = METHODS.get(name)
        if name == "signal" and self._signal is not None and not named:
            sending = self._send(self._signal, given)
            return Deferred.fromCoroutine(_told(name, sending))
        asks_keys = name == "keys" and not named
        if not asks_keys and (method is None or given):
            raise StatusProblem(
                404, "not_found", f"there is no question of this name: {name[:60]!r}"
            )
        if broker.questions >= QUESTIONS:
            raise StatusProblem(
                503, "not_now", f"{QUESTIONS} questions at a time are enough; wait for some"
            )
        broker.questions += 1
        asking = self._keys(given) if method is None else self._answer(method, named)
        answering = Deferred.fromCoroutine(_told(name, asking))

        def answered(result: Any) -> Any:
            broker.questions -= 1
            return result

        return answering.addBoth(answered)

    async def _answer(self, method: Method, named: dict[str, object]) -> bytes:
        question = from_values(method, named)
        permission = self._permission()
        await permission.check(method, question)
        status = self._status.within(permission.within(method))
        told = await getattr(status, method.name)(question)
        return bytes(told.json)

    async def _keys(self, given: list[Any]) -> bytes:
        """``keys(question)``, JSON: who may see jobs may ask what is known of keys."""
        match given:
            case [bytes() as text]:
                try:
                    asked = msgspec.json.decode(text, type=AskedKeys)
                except msgspec.DecodeError as error:
                    said = f"no such question: {error}"
                    raise StatusProblem(400, "bad_body", said) from error
            case _:
                raise StatusProblem(400, "bad_call", "keys(question), as JSON")
        permission, jobs = self._permission(), METHODS["jobs"]
        await permission.check(jobs, Jobs())
        status: Any = self._status.within(permission.within(jobs))
        told = await status.keys(asked)
        return bytes(told.json)

    async def _send(self, signal: Signal, given: list[Any]) -> bytes:
        match given:
            case [str() as workflow, str() as name, bytes() as text, id] if (
                id is None or isinstance(id, str)
            ):
                grant = self._permission().submitter()
                try:
                    arguments = msgspec.json.decode(text)
                except msgspec.DecodeError as error:
                    raise StatusProblem(400, "bad_json", f"no JSON: {error}") from error
            case _:
                raise StatusProblem(
                    400, "bad_call", "signal(workflow, name, arguments, id)"
                )
        try:
            sent = await signal(workflow, name, arguments, grant.who, id)
        except Refusal as error:
            raise StatusProblem(error.status, error.code, str(error)) from error
        return msgspec.json.encode(sent)

    def _follow(
        self, broker: StatusBroker, given: list[Any], named: dict[str, Any]
    ) -> list[object]:
        method = METHODS.get(given[0]) if given and isinstance(given[0], str) else None
        since = given[1] if len(given) > 1 else None
        if method is None or len(given) > 2 or not isinstance(since, str | None):
            raise StatusProblem(
                400, "bad_call", "what is followed is follow(method, since, **parameters)"
            )
        if len(broker.followers) >= FOLLOWERS:
            raise StatusProblem(
                503, "not_now", f"{FOLLOWERS} followings at a time are enough; close some"
            )
        question = from_values(method, named)
        within = self._permission().within(method)
        following = self._status.within(within).follow(method.name, question, since)

        async def check() -> None:
            permission = self._permission()
            await permission.check(method, question)
            if permission.within(method) != within:
                raise StatusProblem(
                    401, "rights_changed", "what may be seen changed: follow anew"
                )

        follower = RemoteFollower(broker, following, check)
        broker.followers.add(follower)
        return ["follower", follower]


class RemoteFollower(_Called):
    """A following, pulled by its reader: who is slow holds up nobody."""

    def __init__(
        self,
        broker: StatusBroker,
        following: IFollow,
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._broker = broker
        self._following = following
        self._check = check
        self._is_asked = False

    def call(
        self, broker: StatusBroker, name: str, given: list[Any], named: dict[str, Any]
    ) -> Any:
        """``next()`` or ``close()``."""
        if name == "close":
            self.close()
            return ["closed"]
        if name != "next" or given or named or self._is_asked:
            raise StatusProblem(
                400, "bad_call", "there are next(), once at a time, and close()"
            )
        self._is_asked = True
        return Deferred.fromCoroutine(self._next())

    async def _next(self) -> list[object]:
        try:
            await self._check()
            news = await self._following.__anext__()
            await self._check()
        except StatusProblem as error:
            self.close()
            return problem(error)
        except StopAsyncIteration:
            return problem(StatusProblem(404, "not_found", "this following was closed"))
        except Exception:
            self.close()
            _log.failure("could not go on with a following")
            return problem(
                StatusProblem(500, "defect", "the farm made a mistake; its log tells more")
            )
        finally:
            self._is_asked = False
        snapshot = None if news.snapshot is None else pieces(news.snapshot)
        events = [[event.id, event.kind, event.json] for event in news.events]
        return ["news", news.cursor, snapshot, events]

    def close(self) -> None:
        """Follow no longer. Harmless when repeated."""
        self._following.close()
        self._broker.followers.discard(self)
