"""`protocol.pb`: the conformance of a carrier, and attacks on PB itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

from twisted.cred.credentials import Anonymous
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread import banana
from twisted.spread import pb as twisted_pb
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from protocol import pb, pb_broker
from protocol.carrier import CannotConnect, Line, Peer
from protocol.messages import FRAME_LIMIT
from protocol.pb_broker import CALL_FRAMES, EXPRESSION_LIMIT, LOGIN_LIMIT
from tests.protocol.carrier_conformance import (
    CarrierConformance,
    RawClient,
    RecordingPeer,
)
from tests.protocol.lines import Secured, loopback, to


class PBCarrierTests(CarrierConformance, TestCase):
    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        return pb.listen(reactor, loopback(), make_peer)

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        return pb.connect(reactor, to(port), peer)


class PBOverTLSTests(CarrierConformance, TestCase):
    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        self.secured = Secured(self)
        return pb.listen(reactor, self.secured.loopback(), make_peer)

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        return pb.connect(reactor, self.secured.to(port), peer)


#: PB as bytes: the client chooses the dialect and tells its version, then logs in.
GREETING = banana.encode(b"pb") + banana.encode([b"version", 6])


def call(
    request: object, target: object, name: bytes, args: object, kw: object = None
) -> bytes:
    """PB's bytes for a call that wants an answer."""
    kw = [b"dictionary"] if kw is None else kw
    return bytes(banana.encode([b"message", request, target, name, 1, args, kw]))


LOGIN = call(1, b"root", b"loginAnonymous", [b"tuple", [b"remote", 1]])
#: The listener's first object, which takes frames.
INBOX = 1


def frames(request: int, *content: object, target: object = INBOX) -> bytes:
    """PB's bytes for a call of ``frames``."""
    return call(request, target, b"frames", [b"tuple", [b"list", *content]])


@implementer(ILogObserver)
class Warnings:
    """Notes why lines were dropped."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "protocol.pb_broker" and "reason" in event:
            self.reasons.append(event["reason"])


class StrangerTests(TestCase):
    """One who speaks PB, but means no good."""

    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]
        self.peers: list[RecordingPeer] = []

        def make_peer() -> RecordingPeer:
            self.peers.append(RecordingPeer())
            return self.peers[-1]

        listening = await pb.listen(reactor, loopback(), make_peer)
        self.addCleanup(listening.stopListening)
        self.port: int = listening.getHost().port  # type: ignore[attr-defined]
        warnings = Warnings()
        self.warned = warnings.reasons
        globalLogPublisher.addObserver(warnings)
        self.addCleanup(globalLogPublisher.removeObserver, warnings)

    async def stranger(self, *parts: bytes) -> RawClient:
        """A socket that sends ``parts``, one after the other."""
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", self.port)
        client: RawClient = await connectProtocol(endpoint, RawClient())
        for part in parts:
            client.transport.write(part)  # type: ignore[union-attr]
        return client

    async def logged_in(self) -> RawClient:
        """A stranger that logged in as any worker does."""
        client = await self.stranger(GREETING, LOGIN)
        while not self.peers or not self.peers[-1].calls:
            await _turn()
        return client

    async def thrown_out(self, client: RawClient, reason: str) -> None:
        """The stranger's line is dropped, and the one warning is ``reason``."""
        await client.gone
        self.assertEqual(len(self.warned), 1, self.warned)
        self.assertIn(reason, self.warned[0])

    async def test_the_bytes_of_these_tests_are_those_of_an_honest_client(self) -> None:
        client = await self.logged_in()
        client.transport.write(frames(2, b"hello"))  # type: ignore[union-attr]
        await self.peers[0].until_frames(1)
        self.assertEqual(self.peers[0].frames, [b"hello"])
        client.transport.loseConnection()  # type: ignore[union-attr]
        await self.peers[0].until_closed()

    async def test_the_answer_to_a_small_call_goes_out_with_what_follows(self) -> None:
        """Each packet wakes a process, and most calls are followed by one back."""
        self.patch(pb_broker, "ANSWER_DELAY", 60)
        client = await self.logged_in()
        await deferLater(reactor, 0.05)
        [peer] = self.peers
        assert peer.line is not None and client.transport is not None
        # It waits only where the last one was followed by a call.
        client.transport.write(frames(2, b"first"))
        await peer.until_frames(1)
        peer.line.send(b"follows")
        while b"follows" not in client.heard:
            await _turn()
        client.transport.write(banana.encode([b"answer", 1, [b"None"]]))
        client.heard = b""
        client.transport.write(frames(3, b"small"))
        await peer.until_frames(2)
        await deferLater(reactor, 0.05)
        self.assertEqual(client.heard, b"")
        peer.line.send(b"what follows")
        while b"what follows" not in client.heard:
            await _turn()
        self.assertGreater(client.heard.index(b"what follows"), 20, "behind the answer")
        # What is not small is answered at once, or a long log would take long.
        client.heard = b""
        client.transport.write(frames(4, *[b"x"] * 5))
        while not client.heard:
            await _turn()
        client.transport.loseConnection()
        await peer.until_closed()

    async def test_the_answer_to_a_small_call_comes_by_itself(self) -> None:
        client = await self.logged_in()
        await deferLater(reactor, 0.05)
        assert client.transport is not None
        client.heard = b""
        client.transport.write(frames(2, b"small"))
        while not client.heard:
            await _turn()
        client.transport.write(frames(3, b"and gone"))
        client.transport.loseConnection()
        await self.peers[0].until_closed()

    async def test_what_is_long_before_the_login_is_thrown_out(self) -> None:
        await self.thrown_out(await self.stranger(b"\x7f" * 100), "prefix")
        self.warned.clear()
        long_string = banana.encode(b"x" * (LOGIN_LIMIT + 1))
        await self.thrown_out(await self.stranger(long_string), "or more")

    async def test_frames_before_the_login_are_thrown_out(self) -> None:
        await self.thrown_out(await self.stranger(GREETING, frames(1, b"x")), "not for it")

    async def test_methods_of_pb_that_are_not_ours_are_thrown_out(self) -> None:
        for expression in (
            call(1, b"root", b"login", [b"tuple", b"ann"]),
            call(1, b"root", b"__class__", [b"tuple"]),
            banana.encode(
                [b"cachemessage", 1, 1, b"frames", 1, [b"tuple"], [b"dictionary"]]
            ),
            banana.encode([b"decache", 1]),
            banana.encode([b"expressionReceived", 1]),
            banana.encode([]),
            banana.encode([[b"message"]]),
            banana.encode(7),
            banana.encode([b"decref", 99]),
            banana.encode([b"answer", 99, [b"None"]]),
            banana.encode([b"version", 5]),
        ):
            self.warned.clear()
            client = await self.stranger(GREETING, expression)
            await client.gone
            self.assertEqual(len(self.warned), 1, expression)
        self.assertEqual(self.peers, [])

    async def test_a_login_whose_mind_is_no_reference_is_thrown_out(self) -> None:
        for mind in (
            [b"None"],
            b"mind",
            [b"local", b"root"],
            [b"instance", b"os.system", [b"tuple", b"true"]],
            [b"dictionary"],
        ):
            self.warned.clear()
            login = call(1, b"root", b"loginAnonymous", [b"tuple", mind])
            await self.thrown_out(await self.stranger(GREETING, login), "login is not one")
        self.assertEqual(self.peers, [])

    async def test_a_second_login_is_thrown_out(self) -> None:
        client = await self.logged_in()
        client.transport.write(LOGIN)  # type: ignore[union-attr]
        await self.thrown_out(client, "not for it")
        self.assertEqual(len(self.peers), 1)

    async def test_two_logins_in_one_piece_open_one_line_at_most(self) -> None:
        """Else the first one would never hear that its line is gone."""
        await self.thrown_out(await self.stranger(GREETING + LOGIN + LOGIN), "not for it")
        await deferLater(reactor, 0)
        self.assertEqual([peer.calls for peer in self.peers], [])

    async def test_frames_that_are_none_are_thrown_out(self) -> None:
        for expression in (
            frames(2),
            frames(2, 7),
            frames(2, [b"list", b"x"]),
            frames(2, b"x", [b"unicode", b"x"]),
            frames(2, b"x", target=b"root"),
            frames(2, b"x", target=2),
            call(2, INBOX, b"frames", [b"tuple"]),
            call(2, INBOX, b"frames", [b"tuple", [b"list", b"x"], b"y"]),
            call(2, INBOX, b"frames", [b"list", [b"list", b"x"]]),
            call(2, INBOX, b"frames", b"x"),
            call(
                2,
                INBOX,
                b"frames",
                [b"tuple", [b"list", b"x"]],
                [b"dictionary", [b"a", b"b"]],
            ),
            call(b"2", INBOX, b"frames", [b"tuple", [b"list", b"x"]]),
            call(2, INBOX, b"line", [b"tuple", [b"list", b"x"]]),
        ):
            self.warned.clear()
            client = await self.logged_in()
            client.transport.write(expression)  # type: ignore[union-attr]
            await client.gone
            await self.peers[-1].until_closed()
            self.assertEqual(len(self.warned), 1, expression)
            self.assertEqual(self.peers[-1].frames, [])

    async def test_nesting_is_bounded(self) -> None:
        client = await self.logged_in()
        client.transport.write(b"\x02\x80" * 100)  # type: ignore[union-attr]
        await self.thrown_out(client, "too long or too deep")

    async def test_lists_are_bounded(self) -> None:
        client = await self.logged_in()
        length = banana.encode([b""] * (CALL_FRAMES + 2))
        client.transport.write(length)  # type: ignore[union-attr]
        await self.thrown_out(client, "too long or too deep")

    async def test_one_expression_never_takes_more_memory_than_its_limit(self) -> None:
        client = await self.logged_in()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        # A list of strings, each within PB's own limits, is never finished.
        head = bytes([8, 0x80]) if CALL_FRAMES < 8 else b"\x00\x02\x80"
        string = banana.encode(b"x" * 100_000)
        client.transport.write(head + string * 100)  # type: ignore[union-attr]
        await self.thrown_out(client, "or more")
        _, peak = tracemalloc.get_traced_memory()
        # The attacker's 10 MB are in this process, too.
        self.assertLess(peak, 3 * 10_000_000 + 4 * EXPRESSION_LIMIT)

    async def test_one_who_never_greets_is_thrown_out(self) -> None:
        self.patch(pb_broker, "GREETING_LIMIT", 0.05)
        await self.thrown_out(await self.stranger(), "did not greet")
        self.warned.clear()
        await self.thrown_out(await self.logged_in(), "did not greet")
        self.assertEqual(self.peers[-1].calls[-1], "closed")

    async def test_one_who_reads_no_answers_is_thrown_out(self) -> None:
        self.patch(pb_broker, "ANSWERS_LIMIT", 10)
        self.patch(pb, "CALLS_UNDER_WAY", 100)
        client = await self.logged_in()
        client.transport.pauseProducing()  # type: ignore[union-attr]
        # More than the system's buffers take, so that answers would have to wait.
        assert self.peers[0].line is not None
        for _ in range(40):
            self.peers[0].line.send(b"x" * FRAME_LIMIT)
        for number in range(2, 40):
            client.transport.write(frames(number, b"y"))  # type: ignore[union-attr]
        while not self.warned:
            await _turn()
        client.transport.abortConnection()  # type: ignore[union-attr]
        await self.thrown_out(client, "does not read the answers")

    async def test_a_peer_that_takes_nothing_is_given_up(self) -> None:
        self.patch(pb, "WAITING_LIMIT", 1_000_000)
        client = await self.logged_in()
        client.transport.pauseProducing()  # type: ignore[union-attr]
        line = self.peers[0].line
        assert line is not None
        line.send(b"x" * 600_000)
        line.send(b"x" * 600_000)
        await self.peers[0].until_closed()
        self.assertEqual(self.warned, ["it does not take what it is sent"])
        client.transport.abortConnection()  # type: ignore[union-attr]
        await client.gone

    async def test_an_error_as_an_answer_ends_the_line(self) -> None:
        client = await self.logged_in()
        assert self.peers[0].line is not None
        self.peers[0].line.send(b"x")
        while b"frames" not in client.heard:
            await _turn()
        client.transport.write(banana.encode([b"error", 1, b"no"]))  # type: ignore[union-attr]
        await self.thrown_out(client, "answered frames with an error")

    async def test_pb_as_twisted_has_it_can_log_in_and_send(self) -> None:
        factory = twisted_pb.PBClientFactory()
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", self.port)
        broker: Any = await endpoint.connect(factory)
        outbox = await factory.login(Anonymous(), twisted_pb.Referenceable())
        await outbox.callRemote("frames", [b"a", b"b"])
        self.assertEqual(self.peers[0].frames, [b"a", b"b"])
        broker.transport.loseConnection()
        await self.peers[0].until_closed()


class _FalseMaster(Protocol):
    """Listens, and answers a client with bytes of its own."""

    answer = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        pass


class FalseMasterTests(TestCase):
    """A client that reaches something which is no master."""

    timeout = 20

    async def connect(self, answer: bytes) -> str:
        factory: Any = ServerFactory.forProtocol(_FalseMaster)
        self.patch(_FalseMaster, "answer", answer)
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port  # type: ignore[attr-defined]
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        peer = RecordingPeer()
        failed = await self.assertFailure(
            pb.connect(reactor, endpoint, peer), CannotConnect
        )
        self.assertEqual(peer.calls, [])
        return str(failed)

    async def test_garbage_instead_of_a_greeting_is_an_answer(self) -> None:
        self.assertTrue(
            await self.connect(b"220 mail.example.org ESMTP\r\n" + b"\xff" * 99)
        )

    async def test_a_greeting_without_our_dialect_is_an_answer(self) -> None:
        self.assertTrue(await self.connect(banana.encode([b"esperanto"])))

    async def test_a_login_that_gives_no_object_is_an_answer(self) -> None:
        greeting = banana.encode([b"pb", b"none"]) + banana.encode([b"version", 6])
        answer = banana.encode([b"answer", 1, b"nothing"])
        self.assertTrue(await self.connect(greeting + answer))

    async def test_a_login_that_is_never_answered_is_given_up(self) -> None:
        self.patch(pb_broker, "GREETING_LIMIT", 0.05)
        greeting = banana.encode([b"pb", b"none"]) + banana.encode([b"version", 6])
        self.assertIn("did not greet", await self.connect(greeting))


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
