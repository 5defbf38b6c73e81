"""`protocol.websocket`: the conformance of a carrier, and attacks on WebSocket itself."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from protocol import websocket
from protocol.carrier import CannotConnect, Line, Peer
from protocol.messages import FRAME_LIMIT
from tests.protocol.carrier_conformance import (
    CarrierConformance,
    RawClient,
    RecordingPeer,
)
from tests.protocol.lines import Secured, loopback, to


class WebSocketCarrierTests(CarrierConformance, TestCase):
    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        return websocket.listen(reactor, loopback(), make_peer)

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        return websocket.connect(reactor, to(port), peer, f"ws://127.0.0.1:{port}/workers")


class WebSocketOverTLSTests(CarrierConformance, TestCase):
    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        self.secured = Secured(self)
        return websocket.listen(reactor, self.secured.loopback(), make_peer)

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        url = f"wss://127.0.0.1:{port}/workers"
        return websocket.connect(reactor, self.secured.to(port), peer, url)


HANDSHAKE = (
    b"GET /workers HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
)
_MASK = b"\1\2\3\4"


def message(
    payload: bytes,
    *,
    opcode: int = 2,
    final: bool = True,
    masked: bool = True,
    claimed: int | None = None,
    reserved: int = 0,
) -> bytes:
    """A client's frame, which may claim another length than it has."""
    length = len(payload) if claimed is None else claimed
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 2**16:
        head += bytes([bit | 126]) + struct.pack("!H", length)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    return head + _MASK + bytes(b ^ _MASK[i % 4] for i, b in enumerate(payload))


@implementer(ILogObserver)
class Warnings:
    """Notes why lines were dropped."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "protocol.websocket" and "reason" in event:
            self.reasons.append(event["reason"])


class StrangerTests(TestCase):
    """One who speaks WebSocket, but means no good."""

    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]
        self.peers: list[RecordingPeer] = []

        def make_peer() -> RecordingPeer:
            self.peers.append(RecordingPeer())
            return self.peers[-1]

        listening = await websocket.listen(reactor, loopback(), make_peer)
        self.addCleanup(listening.stopListening)
        self.port: int = listening.getHost().port  # type: ignore[attr-defined]
        warnings = Warnings()
        self.warned = warnings.reasons
        globalLogPublisher.addObserver(warnings)
        self.addCleanup(globalLogPublisher.removeObserver, warnings)

    async def stranger(self, *parts: bytes) -> RawClient:
        """A socket that sends ``parts``, one after the other."""
        client: RawClient = await connectProtocol(to(self.port), RawClient())
        for part in parts:
            client.transport.write(part)  # type: ignore[union-attr]
        return client

    async def opened(self) -> RawClient:
        """A stranger whose handshake was as any worker's."""
        client = await self.stranger(HANDSHAKE)
        while not self.peers or not self.peers[-1].calls:
            await _turn()
        return client

    async def test_the_bytes_of_these_tests_are_those_of_an_honest_client(self) -> None:
        client = await self.opened()
        client.transport.write(message(b"hello"))  # type: ignore[union-attr]
        large = os.urandom(70_000)
        client.transport.write(message(large))  # type: ignore[union-attr]
        await self.peers[0].until_frames(2)
        self.assertEqual(self.peers[0].frames, [b"hello", large])
        client.transport.loseConnection()  # type: ignore[union-attr]
        await self.peers[0].until_closed()

    async def test_requests_that_do_not_become_lines_are_thrown_out(self) -> None:
        for request in (
            HANDSHAKE.replace(b"GET", b"POST"),
            HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
            HANDSHAKE.replace(b"Version: 13", b"Version: 7"),
            HANDSHAKE.replace(b"AQIDBAUGBwgJCgsMDQ4PEA==", b"short"),
            HANDSHAKE.replace(b"Host: 127.0.0.1\r\n", b""),
            HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        ):
            client = await self.stranger(request)
            await client.gone
        self.assertEqual(self.peers, [])

    async def test_frames_that_are_none_of_a_carrier_are_thrown_out(self) -> None:
        for bytes_sent in (
            message(b"text", opcode=1),
            message(b"x", masked=False),
            message(b"x", reserved=4),  # says that it is compressed
            message(b"x", opcode=3),
            message(b"x", opcode=0),  # goes on with nothing
            message(b"x" * 126, opcode=9),
            message(b"x", opcode=9, final=False),
            message(b"", claimed=FRAME_LIMIT + 1),
            message(b"", claimed=2**63),
            message(b"x" * FRAME_LIMIT, final=False) + message(b"xx", opcode=0),
        ):
            client = await self.opened()
            client.transport.write(bytes_sent)  # type: ignore[union-attr]
            await client.gone
            await self.peers[-1].until_closed()
            self.assertEqual(self.peers[-1].frames, [], bytes_sent[:20])

    async def test_a_message_in_pieces_arrives_whole(self) -> None:
        client = await self.opened()
        parts = message(b"ab", final=False) + message(b"cd", opcode=0)
        for number in range(len(parts)):
            client.transport.write(parts[number : number + 1])  # type: ignore[union-attr]
            await _turn()
        await self.peers[0].until_frames(1)
        self.assertEqual(self.peers[0].frames, [b"abcd"])
        client.transport.abortConnection()  # type: ignore[union-attr]
        await self.peers[0].until_closed()

    async def test_nothing_is_compressed_whatever_is_offered(self) -> None:
        offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:"
        client = await self.stranger(HANDSHAKE.replace(b"Upgrade:", offer, 1))
        while b"\r\n\r\n" not in client.heard:
            await _turn()
        self.assertIn(b" 101 ", client.heard)
        self.assertNotIn(b"deflate", client.heard)
        client.transport.abortConnection()  # type: ignore[union-attr]
        await self.peers[0].until_closed()

    async def test_one_who_never_greets_is_thrown_out(self) -> None:
        self.patch(websocket, "GREETING_LIMIT", 0.05)
        client = await self.opened()
        await client.gone
        self.assertEqual(self.warned, ["it did not greet within 0.05 s"])
        self.assertEqual(self.peers[-1].calls[-1], "closed")

    async def test_a_peer_that_takes_nothing_is_given_up(self) -> None:
        self.patch(websocket, "WAITING_LIMIT", 3_000_000)
        client = await self.opened()
        client.transport.pauseProducing()  # type: ignore[union-attr]
        line = self.peers[0].line
        assert line is not None
        while not self.warned:
            line.send(b"x" * FRAME_LIMIT)
            await _turn()
        await self.peers[0].until_closed()
        self.assertEqual(self.warned, ["it does not take what it is sent"])
        client.transport.abortConnection()  # type: ignore[union-attr]
        await client.gone

    async def test_a_line_that_is_closed_and_not_read_is_cut(self) -> None:
        self.patch(websocket, "CLOSING_LIMIT", 0.05)
        client = await self.opened()
        client.transport.pauseProducing()  # type: ignore[union-attr]
        assert self.peers[0].line is not None
        self.peers[0].line.close()
        await self.peers[0].until_closed()
        self.assertIn("did not take what was sent before the end", self.warned[0])
        client.transport.abortConnection()  # type: ignore[union-attr]
        await client.gone


class FalseMasterTests(TestCase):
    """A client that reaches something which is no master."""

    timeout = 20

    async def refused(self, answer: bytes) -> str:
        from twisted.internet.protocol import Protocol, ServerFactory

        class Speaker(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(answer)

        factory: Any = ServerFactory.forProtocol(Speaker)
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port  # type: ignore[attr-defined]
        peer = RecordingPeer()
        failed = await self.assertFailure(
            websocket.connect(reactor, to(port), peer, f"ws://127.0.0.1:{port}/workers"),
            CannotConnect,
        )
        self.assertEqual(peer.calls, [])
        return str(failed)

    async def test_an_answer_that_is_no_handshake_is_no_line(self) -> None:
        for answer in (
            b"220 mail.example.org ESMTP\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 101 Sure\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBvbmU=\r\n\r\n",
            os.urandom(200) + b"\r\n\r\n",
        ):
            self.assertTrue(await self.refused(answer))

    async def test_an_answer_that_never_comes_is_given_up(self) -> None:
        self.patch(websocket, "GREETING_LIMIT", 0.05)
        self.assertIn("handshake", await self.refused(b""))


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
