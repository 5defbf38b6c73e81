"""What a message costs with each carrier, beside the bare library moving the same bytes.

Both ends are in this process, so the processor seconds are those of both. Each figure is
the best of several rounds, ours and the bare one in turn: others use this machine, too.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.credentials import Anonymous
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.spread import pb as twisted_pb

from benchmarks.report import Bar, Figures, Measured
from protocol import pb, websocket
from protocol.carrier import Line

#: (name, bytes of a message, how many, how many may be under way)
LOADS = (
    ("ping-pong", 200, 3_000, 1),
    ("pipelined", 200, 20_000, 64),
    ("log chunks", 240_000, 400, 8),
)
ROUNDS = 5
BARS = tuple(
    Bar(f"{carrier}: cost of a message to that of the bare library, {load}", "x", "<=", 1.3)
    for carrier in ("pb", "websocket")
    for load, *_ in LOADS
)

#: Sends one message from one end; ``heard`` of the other end is called with it.
Send = Callable[[bytes], None]


class Ends:
    """Two ends of one connection: ``send`` from each, ``heard`` at each."""

    def __init__(self) -> None:
        self.send: list[Send] = []
        self.heard: list[Callable[[], None]] = [lambda: None, lambda: None]
        self.close: Callable[[], Any] = lambda: None


class _Ear:
    def __init__(self, ends: Ends, number: int) -> None:
        self._ends, self._number = ends, number
        self.line: Line | None = None
        self.is_open: Deferred[None] = Deferred()

    def opened(self, line: Line) -> None:
        self.line = line
        self.is_open.callback(None)

    def received(self, frame: bytes) -> None:
        self._ends.heard[self._number]()

    def closed(self, reason: str) -> None:
        pass


async def ours(carrier: Any) -> Ends:
    """A line of ours."""
    ends = Ends()
    there, here = _Ear(ends, 1), _Ear(ends, 0)
    port = await carrier.listen(
        reactor, TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), lambda: there
    )
    number = port.getHost().port
    to = HostnameEndpoint(reactor, "127.0.0.1", number)
    more = () if carrier is pb else (f"ws://127.0.0.1:{number}/",)
    line = await carrier.connect(reactor, to, here, *more)
    line.send(b"first")
    await there.is_open
    assert there.line is not None
    ends.send = [line.send, there.line.send]

    def close() -> Any:
        line.close()
        return port.stopListening()

    ends.close = close
    return ends


class _Root(twisted_pb.Referenceable):
    heard: Callable[[], None] = staticmethod(lambda: None)

    def remote_message(self, data: bytes) -> None:
        self.heard()


async def bare_pb() -> Ends:
    """Perspective Broker as Twisted has it, one call for a message."""
    ends = Ends()
    there, here = _Root(), _Root()
    there.heard, here.heard = lambda: ends.heard[1](), lambda: ends.heard[0]()
    minds: list[Any] = []

    class Realm:
        def requestAvatar(self, avatar: object, mind: Any, *interfaces: object) -> Any:
            minds.append(mind)
            return twisted_pb.IPerspective, there, lambda: None

    there.perspectiveMessageReceived = there.remoteMessageReceived  # type: ignore[attr-defined]
    portal: Any = Portal(Realm(), [AllowAnonymousAccess()])  # type: ignore[arg-type]
    factory: Any = twisted_pb.PBServerFactory(portal)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    number = port.getHost().port  # type: ignore[attr-defined]
    client: Any = twisted_pb.PBClientFactory()
    broker: Any = await HostnameEndpoint(reactor, "127.0.0.1", number).connect(client)
    broker.transport.setTcpNoDelay(True)
    outbox = await client.login(Anonymous(), here)
    minds[0].broker.transport.setTcpNoDelay(True)
    ends.send = [
        lambda data: outbox.callRemote("message", data),
        lambda data: minds[0].callRemote("message", data),
    ]

    def close() -> Any:
        broker.transport.loseConnection()
        return port.stopListening()

    ends.close = close
    return ends


async def bare_websocket() -> Ends:
    """autobahn without a line around it."""
    ends = Ends()
    opened: list[Any] = []
    both: Deferred[None] = Deferred()

    def end(number: int, base: Any) -> Any:
        class End(base):  # type: ignore[misc]
            def onOpen(self) -> None:
                opened.append((number, self))
                if len(opened) == 2:
                    both.callback(None)

            def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803
                ends.heard[number]()

        return End

    server = WebSocketServerFactory(reactor=reactor)
    server.protocol = end(1, WebSocketServerProtocol)
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    number = port.getHost().port  # type: ignore[attr-defined]
    client = WebSocketClientFactory(f"ws://127.0.0.1:{number}/", reactor=reactor)
    client.protocol = end(0, WebSocketClientProtocol)
    await HostnameEndpoint(reactor, "127.0.0.1", number).connect(client)
    await both
    sockets = dict(opened)
    ends.send = [
        lambda data: sockets[0].sendMessage(data, True),
        lambda data: sockets[1].sendMessage(data, True),
    ]

    def close() -> Any:
        sockets[0].sendClose()
        return port.stopListening()

    ends.close = close
    return ends


async def move(ends: Ends, size: int, count: int, under_way: int) -> Figures:
    """Seconds, and processor seconds, to have ``count`` messages answered by short ones."""
    data, answer = b"x" * size, b"y" * 50
    over: Deferred[None] = Deferred()
    sent = answered = 0

    def heard_there() -> None:
        ends.send[1](answer)

    def heard_here() -> None:
        nonlocal sent, answered
        answered += 1
        if answered == count:
            over.callback(None)
        elif sent < count:
            sent += 1
            ends.send[0](data)

    ends.heard[1], ends.heard[0] = heard_there, heard_here
    began, used = time.perf_counter(), time.process_time()
    for _ in range(min(under_way, count)):
        sent += 1
        ends.send[0](data)
    await over
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - used,
    }


async def measure(quick: bool) -> Measured:
    """Both carriers under each load."""
    figures: Figures = {}
    values: dict[str, float] = {}
    makers: dict[str, tuple[Callable[[], Awaitable[Ends]], ...]] = {
        "pb": (lambda: ours(pb), bare_pb),
        "websocket": (lambda: ours(websocket), bare_websocket),
    }
    for carrier, (make_ours, make_bare) in makers.items():
        for load, size, full, under_way in LOADS:
            count = max(10, full // 50) if quick else full
            best: dict[str, Figures] = {}
            for _ in range(1 if quick else ROUNDS):
                for name, make in (("ours", make_ours), ("bare", make_bare)):
                    ends = await make()
                    await move(ends, size, max(10, count // 10), under_way)
                    found = await move(ends, size, count, under_way)
                    await ends.close()
                    if name not in best or found["cpu"] < best[name]["cpu"]:
                        best[name] = found
            ratio = best["ours"]["cpu"] / best["bare"]["cpu"]
            figures[f"{carrier}, {load}"] = {
                "ours_cpu_us": best["ours"]["cpu"] / count * 1e6,
                "bare_cpu_us": best["bare"]["cpu"] / count * 1e6,
                "ours_per_s": count / best["ours"]["seconds"],
                "bare_per_s": count / best["bare"]["seconds"],
                "ours_mb_per_s": count * size / best["ours"]["seconds"] / 1e6,
            }
            name = f"{carrier}: cost of a message to that of the bare library, {load}"
            values[name] = ratio
    return Measured(figures, values)
