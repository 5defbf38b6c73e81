"""What strangers may do at the PB port of the status, and what becomes of them."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater
from twisted.spread import pb
from twisted.spread.banana import encode

from buildmaster.status import pb_server
from buildmaster.status import questions as q
from tests.buildmaster.http.farm_site import Raw, _RawFactory
from tests.buildmaster.status.test_ways import WaysCase


class HostileTests(WaysCase):
    async def stranger(self, data: bytes = b"") -> Raw:
        """A connection that says it speaks banana, and then ``data``."""
        port = int(self.pb_url.rpartition(":")[2])
        raw = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(_RawFactory())
        assert isinstance(raw, Raw)
        self.addCleanup(self._close, raw)
        raw.send(encode(b"none") + data)
        return raw

    async def root(self) -> Any:
        """The root object, for one of Twisted's own clients without any restriction."""
        port = int(self.pb_url.rpartition(":")[2])
        factory = pb.PBClientFactory()
        broker: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
        self.addCleanup(broker.transport.loseConnection)
        return await factory.getRootObject()

    async def still_serves(self) -> None:
        status = await self.over_pb()
        self.assertEqual((await status.jobs(q.Jobs())).read().jobs, ())

    async def test_what_is_no_call_of_ours_ends_the_connection(self) -> None:
        call = [b"message", 1, b"root", b"status", 1, [b"tuple", None], [b"dictionary"]]
        deep: Any = [b"x"]
        for _ in range(30):
            deep = [deep]
        version = encode([b"version", 6])
        for data in (
            version + encode([b"cache", 1, 2]),
            version + encode([b"message", 1, b"nobody", b"status", 1, [], []]),
            version + encode([b"message", 1, 7, b"jobs", 1, [], []]),
            version + encode([b"message", b"x", b"root", b"status", 1, [], []]),
            version + encode([b"message", 1, b"root", b"status", 0, [], []]),
            version + encode([b"didNotUnderstand", b"x"]),
            version + encode(deep),
            version + encode([b"x"] * 1000),
            version + encode([*call[:5], [b"tuple", b"x" * 200_000], call[6]]),
            version + b"\xff" * 100,
            b"GET / HTTP/1.1\r\n\r\n" * 10,
        ):
            raw = await self.stranger(data)
            raw.closed.addTimeout(5, reactor)
            await raw.closed
        await self.still_serves()

    async def test_a_call_that_brings_what_it_must_not_is_a_problem(self) -> None:
        root = await self.root()
        for given in ((pb.Referenceable(),), (b"bytes",), (["list"],), (), ("x", "y")):
            answer = await root.callRemote("status", *given)
            self.assertEqual(answer[0], "problem", given)
        said, status = await root.callRemote("status", None)
        self.assertEqual(said, "status")
        for name, named in (
            ("jobs", {"limit": 10**9}),
            ("jobs", {"limit": "1"}),
            ("jobs", {"state": "done"}),
            ("jobs", {"kind": "\0"}),
            ("jobs", {"kind": pb.Referenceable()}),
            ("jobs", {"state ": []}),
            ("jobs", {"fields": ["id'--"]}),
            ("job", {}),
            ("__init__", {}),
            ("remoteMessageReceived", {}),
        ):
            answer = await status.callRemote(name, **named)
            self.assertEqual(answer[0], "problem", (name, answer))
        answer = await root.callRemote("status", None)
        self.assertEqual(answer[0], "problem", "a second status for one connection")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_questions_at_a_time_are_bounded(self) -> None:
        root = await self.root()
        _, status = await root.callRemote("status", None)
        asking = [status.callRemote("jobs") for _ in range(pb_server.QUESTIONS + 5)]
        answers = [answer[0] for answer in await gatherResults(asking)]
        self.assertEqual(answers.count("problem"), 5)
        self.assertEqual((await status.callRemote("jobs"))[0], "document")

    async def test_followings_are_bounded_and_asked_once_at_a_time(self) -> None:
        root = await self.root()
        _, status = await root.callRemote("status", None)
        followers = []
        for _ in range(pb_server.FOLLOWERS):
            said, follower = await status.callRemote("follow", "jobs", None)
            self.assertEqual(said, "follower")
            followers.append(follower)
        answer = await status.callRemote("follow", "jobs", None)
        self.assertEqual(answer[0], "problem")
        for given in ((), ("nothing",), (7,), ("jobs", 7), ("jobs", None, 1)):
            answer = await status.callRemote("follow", *given)
            self.assertEqual(answer[0], "problem", given)
        [first, *_] = followers
        self.assertEqual((await first.callRemote("next"))[0], "news")
        waiting = first.callRemote("next")
        self.assertEqual((await first.callRemote("next"))[0], "problem")
        self.assertEqual((await first.callRemote("other"))[0], "problem")
        await self.rows.event("x", job=await self.rows.job())
        self.assertEqual((await waiting)[0], "news")
        self.assertEqual(await first.callRemote("close"), ["closed"])
        said, _ = await status.callRemote("follow", "jobs", None)
        self.assertEqual(said, "follower")

    async def test_connections_are_bounded_and_places_come_back(self) -> None:
        self.patch(pb_server, "CONNECTIONS", 2)
        first, second = await self.over_pb(), await self.over_pb()
        raw = await self.stranger()
        await raw.closed
        first.close()
        await self._until_gone(first)
        second.close()
        await self._until_gone(second)
        await self.still_serves()

    async def _until_gone(self, status: Any) -> None:
        gone: Deferred[None] = Deferred()
        status._broker.notifyOnDisconnect(lambda: gone.callback(None))
        if not status._broker.disconnected:
            await gone

    async def test_who_asks_nothing_is_cut_off(self) -> None:
        self.patch(pb_server, "GREETING", 0.05)
        raw = await self.stranger()
        await raw.closed

    async def test_who_takes_no_answers_is_not_heard_and_then_cut_off(self) -> None:
        for _ in range(50):
            await self.rows.job(name="x" * 20_000)
        self.patch(pb_server, "PATIENCE", 0.2)
        heard: list[str] = []
        call = pb_server.RemoteStatus.call

        def counted(remote: Any, broker: Any, name: str, given: Any, named: Any) -> Any:
            heard.append(name)
            return call(remote, broker, name, given, named)

        self.patch(pb_server.RemoteStatus, "call", counted)
        # Or the kernel would take megabytes for it.
        self.pb_port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        raw = await self.stranger(encode([b"version", 6]))
        transport: Any = raw.transport
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        raw.send(
            encode(
                [
                    *(b"message", 1, b"root", b"status", 1),
                    *([b"tuple", [b"None"]], [b"dictionary"]),
                ]
            )
        )
        await raw.until(b"remote")
        transport.pauseProducing()
        for number in range(2, 30_000):
            raw.send(
                encode(
                    [
                        *(b"message", number, 1, b"jobs", 1),
                        *([b"tuple"], [b"dictionary"]),
                    ]
                )
            )
        await deferLater(reactor, 1.0)
        transport.resumeProducing()
        await raw.closed
        # What came when its answers already piled up was not read.
        self.assertLess(len(heard), 15_000)
        await self.still_here()

    async def still_here(self) -> None:
        status = await self.over_pb()
        self.assertEqual((await status.overview(q.Nothing())).read().running, 0)
