"""Whatever breaks readers, sent to both carriers by strangers, on real sockets.

A hundred cases each in the suite, 10,000 with HEADRACE_LONG=1 (``make prove``). A failure
names its seed; HEADRACE_FUZZ_SEED runs that one again.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.trial.unittest import TestCase

from protocol import pb, websocket
from protocol.carrier import Line, Peer
from protocol.messages import FRAME_LIMIT
from protocol.pb_broker import Broker
from tests.laws import IS_LONG
from tests.protocol.carrier_conformance import RawClient, RecordingPeer
from tests.protocol.lines import loopback, to
from tests.protocol.test_pb import GREETING, LOGIN, call, frames
from tests.protocol.test_websocket import HANDSHAKE, message

CASES = 10_000 if IS_LONG else 100
AT_ONCE = 20
#: Cases between two looks at whether honest people still get through.
ROUND = 500


class FuzzCase:
    """Mix into a ``TestCase`` that says how its carrier is spoken."""

    timeout = 3600
    #: Class of the listener's end of a connection.
    end: type

    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        raise NotImplementedError

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        raise NotImplementedError

    def honest(self, chance: random.Random) -> list[bytes]:
        """What somebody sends who means well, in pieces."""
        raise NotImplementedError

    def evil(self, chance: random.Random) -> bytes:
        """Something that claims to be longer, deeper or other than it may be."""
        raise NotImplementedError

    def case(self, chance: random.Random) -> bytes:
        """One stranger's bytes."""
        pieces = self.honest(chance)
        kind = chance.randrange(6)
        if kind == 0:
            return chance.randbytes(chance.randrange(2_000))
        if kind == 1:  # broken off
            whole = b"".join(pieces)
            return whole[: chance.randrange(len(whole) + 1)]
        if kind == 2:  # out of order, twice, or left out
            return b"".join(chance.choices(pieces, k=chance.randrange(1, 8)))
        if kind == 3:
            at = chance.randrange(1, len(pieces) + 1)
            return b"".join(pieces[:at]) + self.evil(chance) + chance.randbytes(50)
        changed = bytearray(b"".join(pieces))
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(len(changed))
            end = at + chance.randrange(20)
            piece = chance.choice((b"", chance.randbytes(3), changed[at:end], b"\0" * 9))
            changed[at : chance.choice((at, at + 1, end))] = piece
            changed = changed or bytearray(b"x")
        return bytes(changed)

    async def test_nothing_crashes_and_nothing_is_left(self: Any) -> None:
        seed = int(os.environ.get("HEADRACE_FUZZ_SEED") or random.randrange(2**32))
        chance = random.Random(seed)
        peers: list[RecordingPeer] = []

        def make_peer() -> RecordingPeer:
            peers.append(RecordingPeer())
            return peers[-1]

        listening = await self.listen(make_peer)
        self.addCleanup(listening.stopListening)
        self.port = listening.getHost().port
        for done in range(0, CASES, AT_ONCE):
            cases = [self.case(chance) for _ in range(AT_ONCE)]
            await gatherResults(
                [Deferred.fromCoroutine(self.send(case, chance)) for case in cases]
            )
            await self.until_quiet(peers, seed, done)
            self.check(peers, seed, done)
            peers.clear()
            if done % ROUND == 0:
                await self.an_honest_line_works(peers)
                await self.until_quiet(peers, seed, done)
                peers.clear()
        gc.collect()
        left = [each for each in gc.get_objects() if issubclass(type(each), self.end)]
        # The last honest line may not be collected yet.
        self.assertLess(len(left), 5, f"seed {seed}: ends of lines are left")

    async def send(self: Any, case: bytes, chance: random.Random) -> None:
        """A stranger who sends that, in two pieces, and goes."""
        client: RawClient = await connectProtocol(to(self.port), RawClient())
        transport: Any = client.transport
        cut = chance.randrange(len(case) + 1)
        transport.write(case[:cut])
        if chance.randrange(2):
            await deferLater(reactor, 0)
        transport.write(case[cut:])
        transport.loseConnection()
        await client.gone

    async def until_quiet(
        self: Any, peers: list[RecordingPeer], seed: int, done: int
    ) -> None:
        """Return when no connection is left."""
        for turn in range(3_000):
            open_ones = [e for e in reactor.getReaders() if isinstance(e, Connection)]
            # One that was cut off tells so a turn later.
            if not open_ones and all(peer.calls[-1] == "closed" for peer in peers):
                return
            await deferLater(reactor, 0.001 if turn < 1000 else 0.01)
        calls = [peer.calls for peer in peers if peer.calls[-1] != "closed"]
        self.fail(f"seed {seed}, near case {done}: left are {open_ones} {calls}")

    def check(self: Any, peers: list[RecordingPeer], seed: int, done: int) -> None:
        where = f"seed {seed}, near case {done}"
        self.assertEqual(self.flushLoggedErrors(), [], where)
        for peer in peers:
            inner = set(peer.calls[1:-1])
            self.assertEqual((peer.calls[0], peer.calls[-1]), ("opened", "closed"), where)
            self.assertLessEqual(inner, {"received"}, where)
            self.assertTrue(all(len(f) <= FRAME_LIMIT for f in peer.frames), where)

    async def an_honest_line_works(self: Any, peers: list[RecordingPeer]) -> None:
        peer = RecordingPeer()
        line = await self.connect(self.port, peer)
        line.send(b"hello")
        while not (peers and peers[-1].frames):
            await deferLater(reactor, 0)
        self.assertEqual(peers[-1].frames, [b"hello"])
        line.close()
        await peer.until_closed()


class PBFuzzTests(FuzzCase, TestCase):
    end = Broker

    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        return pb.listen(reactor, loopback(), make_peer)

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        return pb.connect(reactor, to(port), peer)

    def honest(self, chance: random.Random) -> list[bytes]:
        some = [chance.randbytes(chance.choice((0, 1, 9, 300))) for _ in range(3)]
        return [GREETING, LOGIN, frames(2, *some), frames(3, b"x"), frames(4, b"y" * 9)]

    def evil(self, chance: random.Random) -> bytes:
        return chance.choice(
            (
                b"\x7f" * 70,  # a length without an end
                b"\x00\x00\x00\x7f\x80",  # a list of 250 million
                b"\x02\x80" * 60,  # deep
                b"\x7f\x7f\x7f\x7f\x82",  # a string of 4 GB
                b"\x01" * 40 + b"\x81",  # a large number
                frames(2, *[b"z"] * 300),
                call(5, b"root", b"loginAnonymous", [b"tuple"]),
                call(6, 1, b"frames", [b"tuple", [b"instance", b"os.system"]]),
                call(7, 10**30, b"frames", [b"tuple", [b"list", b"x"]]),
            )
        )


class WebSocketFuzzTests(FuzzCase, TestCase):
    end = websocket._Server

    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        return websocket.listen(reactor, loopback(), make_peer)

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        return websocket.connect(reactor, to(port), peer, f"ws://127.0.0.1:{port}/workers")

    def honest(self, chance: random.Random) -> list[bytes]:
        some = [chance.randbytes(chance.choice((0, 1, 9, 300))) for _ in range(3)]
        control = message(b"ping", opcode=chance.choice((8, 9, 10)))
        parts = [message(b"a", final=False), message(b"b", opcode=0)]
        return [HANDSHAKE, *map(message, some), control, *parts]

    def evil(self, chance: random.Random) -> bytes:
        return chance.choice(
            (
                message(b"", claimed=2**63 - 1),
                message(b"", claimed=2**64 - 1),
                message(b"", claimed=FRAME_LIMIT + 1),
                message(b"x" * 200, opcode=9),
                message(b"\xff\xfe", opcode=8),
                message(b"\x00\x01", opcode=8),
                message(b"text", opcode=1),
                message(b"x", reserved=7),
                message(b"x", masked=False),
                b"GET /workers HTTP/1.1\r\n" * 2_000,
                HANDSHAKE,
            )
        )
