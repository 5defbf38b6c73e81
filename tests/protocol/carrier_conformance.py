"""What every carrier must keep: one suite, run against each of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from protocol.carrier import CannotConnect, FrameTooLong, Line, Peer
from protocol.messages import FRAME_LIMIT

if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object


class RecordingPeer:
    """A peer that notes what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.line: Line | None = None
        self.frames: list[bytes] = []
        self.calls: list[str] = []
        self.on_frame: Callable[[bytes], None] = lambda frame: None
        self._waits: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def opened(self, line: Line) -> None:
        self.line = line
        self._note("opened")

    def received(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.on_frame(frame)
        self._note("received")

    def closed(self, reason: str) -> None:
        assert reason
        self._note("closed")

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fires as soon as ``condition`` holds after something was told."""
        waiting: Deferred[None] = Deferred()
        self._waits.append((condition, waiting))
        self._look()
        return waiting

    def until_open(self) -> Deferred[None]:
        return self.until(lambda: "opened" in self.calls)

    def until_closed(self) -> Deferred[None]:
        return self.until(lambda: "closed" in self.calls)

    def until_frames(self, number: int) -> Deferred[None]:
        return self.until(lambda: len(self.frames) >= number)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self._look()

    def _look(self) -> None:
        for wait in list(self._waits):
            condition, waiting = wait
            if condition():
                self._waits.remove(wait)
                waiting.callback(None)


class RawClient(Protocol):
    """A stranger's socket: sends any bytes, hears when it is thrown out."""

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class CarrierConformance(_Base):
    """Mix into a ``TestCase`` that says how its carrier listens and connects."""

    timeout = 10
    #: What a stranger may send that is thrown out at once.
    garbage: tuple[bytes, ...] = (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 400,
        os.urandom(20_000),
        b"\0" * 100_000,
        b"\xff" * 100_000,
    )

    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        """A listener on a free port of the loopback interface."""
        raise NotImplementedError

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        """A line to that listener."""
        raise NotImplementedError

    async def setUp(self) -> None:  # type: ignore[override]
        self.server_peers: list[RecordingPeer] = []
        listening = await self.listen(self._make_peer)
        self.addCleanup(listening.stopListening)
        self.port: int = listening.getHost().port  # type: ignore[attr-defined]

    def _make_peer(self) -> RecordingPeer:
        peer = RecordingPeer()
        self.server_peers.append(peer)
        return peer

    async def pair(self) -> tuple[RecordingPeer, RecordingPeer]:
        """Both ends of a new line, which is closed when the test ends."""
        client = RecordingPeer()
        await self.connect(self.port, client)

        async def close() -> None:
            for peer in (client, *self.server_peers):
                if peer.line is not None:
                    peer.line.close()
                    await peer.until_closed()

        self.addCleanup(lambda: Deferred.fromCoroutine(close()))
        # The first frame shows that the listener's end is open, too.
        client.line.send(b"first")  # type: ignore[union-attr]
        while not self.server_peers:
            await _turn()
        server = self.server_peers[-1]
        await server.until_frames(1)
        del server.frames[:], server.calls[1:]
        return client, server

    async def raw(self, *parts: bytes) -> RawClient:
        """A socket that sent ``parts``, one after the other."""
        endpoint = HostnameEndpoint(global_reactor, "127.0.0.1", self.port)
        client: RawClient = await connectProtocol(endpoint, RawClient())
        for part in parts:
            client.transport.write(part)  # type: ignore[union-attr]
        return client

    async def test_opened_comes_before_everything(self) -> None:
        client, server = await self.pair()
        self.assertEqual(client.calls[0], "opened")
        self.assertEqual(server.calls[0], "opened")

    async def test_frames_arrive_in_order_both_ways(self) -> None:
        client, server = await self.pair()
        frames = [b"%d" % number for number in range(2000)]
        for frame in frames:
            _line(client).send(frame)
            _line(server).send(frame)
        await server.until_frames(2000)
        await client.until_frames(2000)
        self.assertEqual(server.frames, frames)
        self.assertEqual(client.frames, frames)

    async def test_every_byte_value_and_length_arrives_as_it_was_sent(self) -> None:
        client, server = await self.pair()
        frames = [
            b"",
            b"\0",
            bytes(range(256)),
            b"None",
            b"list",
            b"\x80" * 127,
            b"a" * 128,
        ]
        for frame in frames:
            _line(client).send(frame)
        await server.until_frames(len(frames))
        self.assertEqual(server.frames, frames)

    async def test_the_largest_frame_arrives_among_small_ones(self) -> None:
        client, server = await self.pair()
        large = os.urandom(FRAME_LIMIT)
        for frame in (b"before", large, large, b"after"):
            _line(client).send(frame)
        await server.until_frames(4)
        self.assertEqual(
            [hashlib.sha256(frame).digest() for frame in server.frames],
            [hashlib.sha256(f).digest() for f in (b"before", large, large, b"after")],
        )

    async def test_our_own_frame_over_the_limit_is_refused_and_the_line_stays(self) -> None:
        client, server = await self.pair()
        with self.assertRaises(FrameTooLong):
            _line(client).send(b"x" * (FRAME_LIMIT + 1))
        _line(client).send(b"still here")
        await server.until_frames(1)
        self.assertEqual(server.frames, [b"still here"])

    async def test_what_was_sent_before_close_arrives(self) -> None:
        client, server = await self.pair()
        frames = [os.urandom(100_000) for _ in range(50)]
        for frame in frames:
            _line(client).send(frame)
        _line(client).close()
        await server.until_closed()
        # Not assertEqual: its account of a difference would be megabytes long.
        self.assertTrue(server.frames == frames, f"{len(server.frames)} of 50 arrived")

    async def test_closed_is_told_once_to_both_and_nothing_after_it(self) -> None:
        client, server = await self.pair()
        _line(client).close()
        _line(server).close()
        _line(client).close()
        _line(client).send(b"too late")
        await server.until_closed()
        await client.until_closed()
        for _ in range(20):
            await _turn()
        for peer in (client, server):
            self.assertEqual(peer.calls.count("closed"), 1)
            self.assertEqual(peer.calls[-1], "closed")
        self.assertEqual(server.frames, [])

    async def test_sending_while_the_other_side_closes_is_harmless(self) -> None:
        client, server = await self.pair()
        _line(client).close()
        while "closed" not in server.calls:
            _line(server).send(b"to nobody")
            await _turn()
        _line(server).send(b"to nobody")
        await client.until_closed()
        self.assertEqual(client.frames, [])

    async def test_nothing_is_received_after_our_own_close(self) -> None:
        client, server = await self.pair()
        server.on_frame = lambda frame: _line(server).close()
        for number in range(10):
            _line(client).send(b"%d" % number)
        await server.until_closed()
        self.assertEqual(server.frames, [b"0"])

    async def test_sending_from_within_received_works(self) -> None:
        client, server = await self.pair()
        server.on_frame = lambda frame: _line(server).send(b"echo " + frame)
        _line(client).send(b"hello")
        await client.until_frames(1)
        self.assertEqual(client.frames, [b"echo hello"])

    async def test_waiting_counts_bytes_until_the_peer_took_them(self) -> None:
        client, server = await self.pair()
        _line(client).send(b"x" * 1000)
        self.assertGreaterEqual(_line(client).waiting, 1000)
        await server.until_frames(1)
        while _line(client).waiting:
            await _turn()

    async def test_a_peer_that_raises_ends_its_line_and_the_log_says_so(self) -> None:
        client, server = await self.pair()

        def raise_something(frame: bytes) -> None:
            raise LookupError("a defect")

        server.on_frame = raise_something
        _line(client).send(b"one")
        _line(client).send(b"two")
        await client.until_closed()
        await server.until_closed()
        self.assertEqual(server.frames, [b"one"])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    async def test_nobody_listening_is_an_answer_and_no_line(self) -> None:
        listening = await self.listen(RecordingPeer)
        port: int = listening.getHost().port  # type: ignore[attr-defined]
        await maybeDeferred(listening.stopListening)
        peer = RecordingPeer()
        await self.assertFailure(self.connect(port, peer), CannotConnect)
        self.assertEqual(peer.calls, [])

    async def test_garbage_from_a_socket_is_thrown_out_and_harms_nobody(self) -> None:
        client, server = await self.pair()
        for garbage in self.garbage:
            stranger = await self.raw(garbage)
            await stranger.gone
        _line(client).send(b"well")
        await server.until_frames(1)
        self.assertEqual(len(self.server_peers), 1)

    async def test_a_connection_that_breaks_off_while_greeting_leaves_nothing(self) -> None:
        stranger = await self.raw(b"\x02")
        stranger.transport.abortConnection()  # type: ignore[union-attr]
        await stranger.gone
        await self.pair()
        self.assertEqual(len(self.server_peers), 1)


def _line(peer: RecordingPeer) -> Line:
    assert peer.line is not None
    return peer.line


def _turn() -> Deferred[None]:
    """Fires in the reactor's next turn."""
    turned: Deferred[None] = Deferred()
    global_reactor.callLater(0, turned.callback, None)
    return turned
