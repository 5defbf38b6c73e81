"""A farm's site on a real socket, with a farm behind it that only remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from buildmaster.blobs import BlobStore
from buildmaster.database import Database
from buildmaster.feed import EventFeed
from buildmaster.http.site import FarmSite, site
from buildmaster.requests import (
    Enqueued,
    GraphRequest,
    Refusal,
    Rerun,
    RerunRequest,
    SubmissionRequest,
    Submitted,
)
from buildmaster.tokens import Tokens
from protocol import websocket
from tests.buildmaster.http.rows import Rows, connected

UPLOAD_LIMIT = 3_000_000


@dataclass
class RememberingFarm:
    """What was asked, and the answers that a test wants."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    submitted: Submitted | None = None
    refusal: Refusal | None = None

    def _remember(self, *what: Any) -> None:
        self.asked.append(what)
        if self.refusal is not None:
            raise self.refusal

    async def submit(self, request: SubmissionRequest, by: str) -> Submitted:
        self._remember("submit", request, by)
        assert self.submitted is not None
        return self.submitted

    async def enqueue(self, request: GraphRequest, by: str) -> Enqueued:
        self._remember("enqueue", request, by)
        return Enqueued(run=7, jobs=())

    async def cancel_job(self, job: int, by: str, why: str) -> None:
        self._remember("cancel_job", job, by, why)

    async def cancel_run(self, run: int, by: str, why: str) -> None:
        self._remember("cancel_run", run, by, why)

    async def release_job(self, job: int, by: str) -> None:
        self.asked.append(("release", job, by))

    async def rerun(self, run: int, request: RerunRequest, by: str) -> Rerun:
        self.asked.append(("rerun", run, request, by))
        return Rerun(run=run, jobs=(), added=())

    async def retry_job(
        self,
        job: int,
        by: str,
        only: tuple[str, int] | None,
        from_start: bool,
        linger: float | None = None,
    ) -> int:
        held = () if linger is None else (linger,)
        self._remember("retry_job", job, by, only, from_start, *held)
        return 2


class Raw(Protocol):
    """A client that sends what no library would."""

    def __init__(self) -> None:
        self.data = b""
        self._wanted: list[tuple[bytes, Deferred[bytes]]] = []
        self.closed: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        for mark, waiting in list(self._wanted):
            if mark in self.data:
                self._wanted.remove((mark, waiting))
                waiting.callback(self.data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(self.data)
        for _, waiting in self._wanted:
            waiting.errback(EOFError(f"closed after {self.data!r}"))

    async def until(self, mark: bytes) -> bytes:
        """Everything received, as soon as ``mark`` is in it."""
        if mark in self.data:
            return self.data
        waiting: Deferred[bytes] = Deferred()
        self._wanted.append((mark, waiting))
        return await waiting

    def send(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)


class _RawFactory(Factory):
    def buildProtocol(self, address: IAddress | None) -> Raw:
        return Raw()


def bare_site(workers: websocket.Listener) -> FarmSite:
    """A site that can do nothing but take workers: it has no database."""
    nothing: Any = None
    feed = EventFeed(nothing, reactor)
    tokens = Tokens("f" * 64, b"")
    return site(nothing, feed, nothing, nothing, tokens, reactor, workers=workers)


class SiteCase(TestCase):
    """A test with a database, a feed and a listening site."""

    hosts: tuple[str, ...] = ()

    async def setUp(self) -> None:  # type: ignore[override]
        self.database: Database = await connected(self)
        self.rows = Rows(self.database)
        self.farm = RememberingFarm()
        self.tokens = Tokens.load(Path(self.mktemp_folder()))
        self.blob_folder = Path(self.mktemp_folder())
        self.blobs = BlobStore(self.blob_folder, UPLOAD_LIMIT)
        self.feed = EventFeed(self.database, reactor)
        self.addCleanup(self.feed.stop)
        await self.feed.start()
        self.site: FarmSite = site(
            self.database,
            self.feed,
            self.farm,
            self.blobs,
            self.tokens,
            reactor,
            self.hosts,
            master="m1",
            upload_limit=UPLOAD_LIMIT,
            **self.more(),
        )
        factory: Any = self.site
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        address: Any = listening.getHost()
        self.port: int = address.port
        self.url = f"http://127.0.0.1:{self.port}"
        self._pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent(reactor, connectTimeout=10, pool=self._pool)

    def more(self) -> dict[str, Any]:
        """Further arguments of the site."""
        return {}

    def mktemp_folder(self) -> str:
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        return str(path)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens.farm_token}"}

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """The response; its body is not read yet."""
        return await treq.request(
            method, self.url + path, agent=self._agent, allow_redirects=False, **more
        )

    async def get(self, path: str, **headers: str) -> Any:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("GET", path, headers=names)

    async def json(self, path: str, **headers: str) -> Any:
        """The JSON of a good answer."""
        response = await self.get(path, **headers)
        self.assertEqual(response.code, 200, await response.text())
        return await response.json()

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", path, json=body, headers={**self.bearer, **names})

    async def assert_problem(self, response: Any, status: int, code: str) -> Any:
        """The problem document of ``response``."""
        text = await response.text()
        self.assertEqual(response.code, status, text)
        [kind] = response.headers.getRawHeaders("content-type")
        self.assertEqual(kind, "application/problem+json; charset=utf-8")
        document = await response.json()
        self.assertEqual((document["code"], document["status"]), (code, status))
        self.assertRegex(document["detail"], r"\w+ .*\w+ .*\w+")
        return document

    async def raw(self, data: bytes = b"") -> Raw:
        """A connection on which ``data`` was sent."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        protocol = await endpoint.connect(_RawFactory())
        assert isinstance(protocol, Raw)
        self.addCleanup(self._close, protocol)
        protocol.send(data)
        return protocol

    async def _close(self, protocol: Raw) -> None:
        transport: Any = protocol.transport
        transport.abortConnection()
        if not protocol.closed.called:
            await protocol.closed

    def head(self, line: str, **headers: str) -> bytes:
        """A request's first lines, with Host, without a body."""
        lines = [line, f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"
