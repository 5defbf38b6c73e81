from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import TestCase

from protocol import websocket
from protocol.carrier import Line, Peer
from tests.buildmaster.http.farm_site import SiteCase, bare_site
from tests.protocol.carrier_conformance import CarrierConformance, RecordingPeer
from tests.protocol.lines import Secured, loopback, to


class WebSocketAmongPagesTests(CarrierConformance, TestCase):
    """The carrier on the port of the farm's pages."""

    garbage = CarrierConformance.garbage[1:]  # A request is none here.

    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        factory: Any = bare_site(websocket.Listener(reactor, make_peer))
        return self.endpoint().listen(factory)  # type: ignore[no-any-return]

    def endpoint(self) -> Any:
        return loopback()

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        return websocket.connect(reactor, to(port), peer, f"ws://127.0.0.1:{port}/workers")


class WebSocketAmongPagesOverTLSTests(WebSocketAmongPagesTests):
    def endpoint(self) -> Any:
        self.secured = Secured(self)
        return self.secured.loopback()

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        url = f"wss://127.0.0.1:{port}/workers"
        return websocket.connect(reactor, self.secured.to(port), peer, url)


class GuardTests(SiteCase):
    """Who may turn a request into a line."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.peers: list[RecordingPeer] = []
        await super().setUp()

    def more(self) -> dict[str, Any]:
        return {"workers": websocket.Listener(reactor, self._make_peer)}

    def _make_peer(self) -> RecordingPeer:
        self.peers.append(RecordingPeer())
        return self.peers[-1]

    def upgrade(
        self, host: str | None = None, path: str = "/workers", **more: str
    ) -> bytes:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}"]
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA=="]
        lines += [f"{name}: {value}" for name, value in more.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def test_a_worker_comes_in_and_the_pages_stay(self) -> None:
        peer = RecordingPeer()
        url = f"ws://127.0.0.1:{self.port}/workers"
        line = await websocket.connect(reactor, to(self.port), peer, url)
        line.send(b"hello")
        while not self.peers:
            await _turn()
        await self.peers[0].until_frames(1)
        self.assertEqual((await self.get("/healthz")).code, 200)
        line.close()
        await self.peers[0].until_closed()
        await peer.until_closed()

    async def test_a_page_of_another_site_opens_no_line(self) -> None:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            raw = await self.raw(self.upgrade(Origin=origin))
            self.assertIn(b"foreign_origin", await raw.until(b"}"))
        self.assertEqual(self.peers, [])

    async def test_a_name_that_was_made_to_point_here_opens_no_line(self) -> None:
        raw = await self.raw(self.upgrade("evil.example"))
        self.assertIn(b"unknown_host", await raw.until(b"}"))
        self.assertEqual(self.peers, [])

    async def test_other_addresses_do_not_become_lines(self) -> None:
        raw = await self.raw(self.upgrade(path="/healthz"))
        self.assertIn(b" 200 OK", await raw.until(b"}"))
        raw = await self.raw(self.upgrade(path="/api/v1/me"))
        self.assertNotIn(b" 101 ", await raw.until(b"}"))
        self.assertEqual(self.peers, [])

    async def test_who_asks_for_a_page_there_is_told_what_goes_there(self) -> None:
        document = await self.assert_problem(
            await self.get("/workers"), 426, "upgrade_required"
        )
        self.assertIn("WebSocket", document["detail"])

    async def test_a_request_that_is_no_handshake_after_all_is_no_line(self) -> None:
        bad = self.upgrade().replace(b"Version: 13", b"Version: 99")
        raw = await self.raw(bad)
        self.assertNotIn(b" 101 ", await raw.closed)
        self.assertEqual(self.peers, [])


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
