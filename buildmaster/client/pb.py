"""The status of a farm over Perspective Broker, for any Twisted program.

::

    status = await connect(reactor, "pb://127.0.0.1:8012", token="...")
    page = (await status.jobs(Jobs(state=("running",)))).read()
    status.close()
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions

from buildmaster.client.http import ClientError, FarmAway
from buildmaster.status.asking import given
from buildmaster.status.keys import AskedKeys, KnownKeys, KnownNode
from buildmaster.status.news import Happened, News
from buildmaster.status.problems import problem_of
from buildmaster.status.proxy import StatusProxy
from buildmaster.status.questions import Question
from protocol.trust import SYSTEM, Trust

#: Seconds until a connection must stand, and until an answer must be there.
CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 60.0
#: Nodes of one question about keys: a farm hears no longer ones over PB.
_NODES = 100


async def connect(
    reactor: Any, url: str, token: str | None = None, trust: Trust = SYSTEM
) -> RemoteStatus:
    """The status of the farm at ``url``, pb://HOST:PORT or pbs://HOST:PORT.

    `FarmAway` if nobody answers there, `StatusProblem` 401 if the token is unknown.
    """
    factory = pb.PBClientFactory(security=_security())
    factory.noisy = False
    broker: Any = None
    try:
        broker = await _endpoint(reactor, url, trust).connect(factory)
        # An endpoint does not tell the factory, and who waits would wait for ever.
        gone = Failure(pb.PBConnectionLost("the connection broke at once"))
        broker.notifyOnDisconnect(lambda: factory.clientConnectionLost(None, gone))
        root = await factory.getRootObject().addTimeout(CONNECT_WITHIN, reactor)
        opened = await root.callRemote("status", token).addTimeout(CONNECT_WITHIN, reactor)
    except (
        ConnectError,
        DNSLookupError,
        TimeoutError,
        pb.DeadReferenceError,
        pb.PBConnectionLost,
    ) as error:
        if broker is not None:
            broker.transport.abortConnection()
        raise FarmAway(
            f"No farm that is trusted answers at {url}: {error or type(error).__name__}."
        ) from error
    match opened:
        case ["status", pb.RemoteReference() as reference]:
            return RemoteStatus(reactor, broker, reference)
        case ["problem", bytes() as text]:
            broker.transport.loseConnection()
            raise problem_of(text)
    broker.transport.abortConnection()
    raise ClientError(f"What answers at {url} is no farm's status.")


class RemoteStatus(StatusProxy):
    """`IStatus` over one connection; made by `connect`."""

    def __init__(self, reactor: Any, broker: Any, reference: pb.RemoteReference) -> None:
        self._reactor = reactor
        self._broker = broker
        self._reference = reference

    def close(self) -> None:
        """End the connection."""
        self._broker.transport.loseConnection()

    async def ask(self, name: str, asked: Question) -> bytes:
        """The document that answers ``asked``, as the farm sent it."""
        return await self._call(name, **given(asked))

    async def keys(self, asked: AskedKeys) -> KnownKeys:
        """What the farm knows of the keys of nodes that are planned."""
        nodes: list[KnownNode] = []
        for first in range(0, max(len(asked.nodes), 1), _NODES):
            some = replace(asked, nodes=asked.nodes[first : first + _NODES])
            answer = await self._call("keys", msgspec.json.encode(some))
            known = msgspec.json.decode(answer, type=KnownKeys)
            nodes += known.nodes
        return replace(known, nodes=tuple(nodes))

    async def signal(
        self, workflow: str, name: str, arguments: object = (), id: str | None = None
    ) -> dict[str, Any]:
        """Send a signal to a workflow; one with the same ``id`` is dealt with once."""
        text = msgspec.json.encode(arguments)
        answer = await self._call("signal", workflow, name, text, id)
        return msgspec.json.decode(answer, type=dict[str, Any])

    async def _call(self, name: str, /, *given: object, **named: object) -> bytes:
        try:
            calling = self._reference.callRemote(name, *given, **named)
            answer = await calling.addTimeout(ANSWER_WITHIN, self._reactor)
        except (pb.DeadReferenceError, pb.PBConnectionLost) as error:
            raise FarmAway("The connection to the farm is gone.") from error
        [pieces] = _expected("document", answer)
        return b"".join(pieces)

    def follow(
        self, method: str, asked: Question, since: str | None = None
    ) -> RemoteFollowing:
        """What happens to an answer; see `IStatus.follow`."""
        opening = self._reference.callRemote("follow", method, since, **given(asked))
        return RemoteFollowing(self._reactor, opening)


class RemoteFollowing:
    """An asynchronous iterator of `News`, pulled from the farm."""

    def __init__(self, reactor: Any, opening: Deferred[Any]) -> None:
        self._reactor = reactor
        self._opening: Deferred[Any] | None = opening
        self._follower: Any = None
        self._is_closed = False

    def __aiter__(self) -> RemoteFollowing:
        return self

    async def __anext__(self) -> News:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            if self._opening is not None:
                opening, self._opening = self._opening, None
                [self._follower] = _expected("follower", await opening)
            calling = self._follower.callRemote("next")
            answer = await calling.addTimeout(ANSWER_WITHIN, self._reactor)
        except (pb.DeadReferenceError, pb.PBConnectionLost) as error:
            raise FarmAway("The connection to the farm is gone.") from error
        cursor, snapshot, events = _expected("news", answer)
        return News(
            cursor,
            None if snapshot is None else b"".join(snapshot),
            tuple(Happened(*event) for event in events),
        )

    def close(self) -> None:
        """Follow no longer. Harmless when repeated."""
        if not self._is_closed and self._follower is not None:
            closing = self._follower.callRemote("close")
            closing.addErrback(lambda failure: None)  # gone, and so is the following
        self._is_closed = True


def _expected(kind: str, answer: object) -> list[Any]:
    """What follows ``kind`` in an answer."""
    match answer:
        case [str() as said, *rest] if said == kind:
            return rest
        case ["problem", bytes() as text]:
            raise problem_of(text)
    raise ClientError(f"The farm answered with something else than {kind}.")


def _security() -> SecurityOptions:
    security = SecurityOptions()
    security.allowBasicTypes()
    security.allowTypes("remote")
    return security


def _endpoint(reactor: Any, url: str, trust: Trust) -> IStreamClientEndpoint:
    parts = urlsplit(url)
    if parts.scheme not in ("pb", "pbs") or not parts.hostname or not parts.port:
        raise ClientError(f"{url!r} is no address of a status: write it as pb://HOST:PORT.")
    plain = HostnameEndpoint(reactor, parts.hostname, parts.port, timeout=CONNECT_WITHIN)
    if parts.scheme == "pb":
        return plain
    from protocol.tls import client_options

    return wrapClientTLS(client_options(parts.hostname, trust), plain)
