"""The HTTP interface of a farm, as ``async`` methods.

::

    client = Client(reactor, "http://127.0.0.1:8010", token="...")
    run = await client.run(12)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BufferedReader
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import treq.client
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    DNSLookupError,
)
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS, IResponse
from zope.interface import implementer

from buildmaster.client.body import Body, BodyBroken
from buildmaster.client.documents import (
    JobDocument,
    Retried,
    RunDocument,
    WorkerDocument,
)
from buildmaster.client.event_stream import (
    BadEventStream,
    EventStreamParser,
    ServerSentEvent,
)
from buildmaster.requests import (
    Enqueued,
    GraphRequest,
    Problem,
    SubmissionRequest,
    Submitted,
)
from buildmaster.status.keys import AskedKeys, KnownKeys
from protocol.trust import SYSTEM, BadCertificate, Trust

#: Seconds until a connection must stand, and until an answer must be complete.
CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 60.0
#: Seconds that sending a work tree may take.
UPLOAD_WITHIN = 3600.0
#: Seconds without a byte after which a stream of events is given up: the farm sends a
#: comment every 15.
SILENCE_LIMIT = 45.0
#: Bytes of one document.
DOCUMENT_LIMIT = 64 * 1024 * 1024

T = TypeVar("T")


class ClientError(Exception):
    """What was asked for could not be had; the message is a sentence for people."""


class FarmAway(ClientError):
    """Nobody answers at the farm's address, or the connection broke; it may come back."""


class FarmDistrusted(ClientError):
    """Who answers at the farm's address cannot show that it is the farm."""


class FarmRefused(ClientError):
    """The farm will not do what was asked.

    ``status`` is the HTTP status, ``code`` a word for programs, ``problems`` what is
    wrong with a configuration.
    """

    def __init__(
        self, status: int, code: str, sentence: str, problems: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.problems = problems


class _ProblemDocument(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""
    code: str = ""
    problems: tuple[Problem, ...] = ()


@implementer(IPolicyForHTTPS)
class _Policy:
    """TLS with the trust that the client was given."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        # Imported where it is needed: it takes long.
        from protocol.tls import client_options

        try:
            return client_options(hostname.decode("ascii"), self._trust)
        except BadCertificate as error:
            raise ClientError(f"{error}.") from error


class Client:
    """Talks to one farm. Every method raises `ClientError`."""

    def __init__(
        self, reactor: Any, url: str, token: str | None = None, trust: Trust = SYSTEM
    ) -> None:
        self.url = url.rstrip("/")
        self._reactor = reactor
        self._token = token
        _require_address(url)
        # One connection for each request: a command makes few of them, and a kept one
        # may be dead after a farm's restart.
        pool = HTTPConnectionPool(reactor, persistent=False)
        agent = Agent(reactor, _Policy(trust), connectTimeout=CONNECT_WITHIN, pool=pool)
        self._http = treq.client.HTTPClient(agent)

    async def is_healthy(self) -> bool:
        """Whether the farm says that it works; it may also answer that it does not."""
        response = await self._send("GET", "/healthz")
        await self._body(response)
        return bool(response.code == 200)

    async def run(self, run: int) -> RunDocument:
        """A run, with its jobs."""
        return self._read(await self.document(f"/api/v1/runs/{run}"), RunDocument)

    async def job(self, job: int) -> JobDocument:
        """A job, with the pipeline jobs of its current attempt."""
        return self._read(await self.document(f"/api/v1/jobs/{job}"), JobDocument)

    async def workers(self) -> list[WorkerDocument]:
        """Every worker that the farm knows."""
        found = await self.listing("workers")
        return [self._read(each, WorkerDocument) for each in found]

    async def document(self, path: str) -> bytes:
        """The JSON document at ``path``, as the farm sent it."""
        return await self._answer("GET", path)

    async def listing(self, kind: str, **filters: object) -> list[bytes]:
        """The JSON documents of a list (runs, jobs, workers), newest first; one page."""
        chosen = {name: value for name, value in filters.items() if value is not None}
        query = f"?{urlencode(chosen)}" if chosen else ""
        page = await self._answer("GET", f"/api/v1/{kind}{query}")
        raw = self._read(page, dict[str, msgspec.Raw]).get(kind, msgspec.Raw(b"[]"))
        return [bytes(each) for each in self._read(bytes(raw), list[msgspec.Raw])]

    async def submit(self, request: SubmissionRequest) -> Submitted:
        """Ask for the pipeline of a source to be run."""
        body = msgspec.json.encode(request)
        return self._read(await self._answer("POST", "/api/v1/runs", body), Submitted)

    async def enqueue(self, request: GraphRequest) -> Enqueued:
        """Ask for jobs that depend on each other."""
        body = msgspec.json.encode(request)
        return self._read(await self._answer("POST", "/api/v1/jobs", body), Enqueued)

    async def cancel(self, kind: str, identifier: int, why: str) -> None:
        """Ask a ``run`` or a ``job`` (``kind``) to stop."""
        body = json.dumps({"why": why}).encode()
        await self._answer("POST", f"/api/v1/{kind}s/{identifier}/cancel", body)

    async def retry(
        self, job: int, only: str | None, from_start: bool, hold: float | None = None
    ) -> Retried:
        """Queue another attempt of a job that is done; ``only`` is ``name:index``.

        ``hold``: seconds for which the environment of what fails is held.
        """
        wish = {"only": only, "from_start": from_start}
        body = json.dumps(wish if hold is None else {**wish, "hold": hold}).encode()
        answer = await self._answer("POST", f"/api/v1/jobs/{job}/retry", body)
        return self._read(answer, Retried)

    async def change(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Ask for something else to be changed; the answer's document."""
        answer = await self._answer("POST", path, msgspec.json.encode(body))
        return self._read(answer, dict[str, Any])

    async def keys(self, asked: AskedKeys) -> KnownKeys:
        """What the farm knows of the keys of nodes that are planned."""
        body = msgspec.json.encode(asked)
        return self._read(await self._answer("POST", "/api/v1/keys", body), KnownKeys)

    async def has_artifact(self, sha256: str) -> bool:
        """Whether the farm keeps the bytes with this hash."""
        response = await self._send("HEAD", f"/api/v1/artifacts/{sha256}")
        body = await self._body(response)
        if response.code == 404:
            return False
        self._check(response, body)
        return True

    async def store_artifact(self, sha256: str, content: BufferedReader) -> None:
        """Send bytes for the farm to keep; it checks their hash."""
        response = await self._send(
            "PUT",
            f"/api/v1/artifacts/{sha256}",
            content,
            content_type="application/octet-stream",
            within=UPLOAD_WITHIN,
        )
        self._check(response, await self._body(response))

    async def artifact(self, sha256: str, received: Callable[[bytes], None]) -> None:
        """Pass the file with this hash to ``received``, as it comes; it is not checked."""
        response = await self._send(
            "GET", f"/api/v1/artifacts/{sha256}", accept="application/octet-stream"
        )
        await self._stream(response, received, silence=SILENCE_LIMIT)

    async def log(
        self,
        job: int,
        received: Callable[[bytes], None],
        *,
        attempt: int | None = None,
        only: tuple[str, int] | None = None,
        follow: bool = False,
        skip: int = 0,
    ) -> None:
        """Pass the log of an attempt (the current one) to ``received``, as it comes.

        With ``only`` just that pipeline job's part; with ``follow`` until the attempt
        ended; the first ``skip`` bytes are left out. May be cancelled.
        """
        chosen: dict[str, object] = {}
        if attempt is not None:
            chosen["attempt"] = attempt
        if only is not None:
            chosen["name"], chosen["index"] = only
        if follow:
            chosen["follow"] = 1
        left = skip

        def past_the_skipped(data: bytes) -> None:
            nonlocal left
            passed_over = min(left, len(data))
            left -= passed_over
            if passed_over < len(data):
                received(data[passed_over:])

        response = await self._send(
            "GET", f"/api/v1/jobs/{job}/log?{urlencode(chosen)}", accept="text/plain"
        )
        await self._stream(response, past_the_skipped, silence=None)

    async def events(
        self,
        heard: Callable[[ServerSentEvent], None],
        *,
        since: str | None = None,
        run: int | None = None,
    ) -> None:
        """Pass events to ``heard`` until the stream breaks (`FarmAway`) or is cancelled.

        Go on from the ``id`` of the last one heard.
        """
        chosen = {"since": since, "run": run}
        query = urlencode({name: v for name, v in chosen.items() if v is not None})
        await self.follow(f"/api/v1/events?{query}", heard)

    async def follow(self, path: str, heard: Callable[[ServerSentEvent], None]) -> None:
        """Pass what happens to the document at ``path`` to ``heard``, as `events` does."""
        response = await self._send("GET", path, accept="text/event-stream")
        parser = EventStreamParser()

        def received(data: bytes) -> None:
            for event in parser.feed(data):
                heard(event)

        await self._stream(response, received, silence=SILENCE_LIMIT)

    async def _answer(self, method: str, path: str, body: bytes | None = None) -> bytes:
        response = await self._send(method, path, body)
        content = await self._body(response)
        self._check(response, content)
        return content

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | BufferedReader | None = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
        within: float = ANSWER_WITHIN,
    ) -> IResponse:
        headers = Headers({"Accept": [accept], "User-Agent": ["headrace"]})
        if body is not None:
            headers.setRawHeaders("Content-Type", [content_type])
        if self._token:
            headers.setRawHeaders("Authorization", [f"Bearer {self._token}"])
        # No redirects: they would carry the token to wherever an answer points.
        sent: Deferred[Any] = self._http.request(
            method,
            self.url + path,
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        return await self._within(within, sent)

    async def _body(self, response: IResponse) -> bytes:
        """The whole of a bounded body."""
        parts: list[bytes] = []
        size = 0

        def received(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > DOCUMENT_LIMIT:
                raise ClientError(
                    f"The farm at {self.url} sends a document of more than"
                    f" {DOCUMENT_LIMIT} bytes; ask for less of it."
                )
            parts.append(data)

        body = Body(received, self._reactor, silence=None)
        response.deliverBody(body)
        await self._within(ANSWER_WITHIN, body.ended)
        return b"".join(parts)

    async def _stream(
        self, response: IResponse, received: Callable[[bytes], None], silence: float | None
    ) -> None:
        if response.code >= 300:
            self._check(response, await self._body(response))
        body = Body(received, self._reactor, silence)
        response.deliverBody(body)
        await self._within(None, body.ended)

    async def _within(self, seconds: float | None, waited: Deferred[T]) -> T:
        """What ``waited`` fires with; whatever breaks on the way is `FarmAway`."""
        late = False

        def is_late(failure: object, seconds: float) -> Any:
            nonlocal late
            late = True
            return failure

        if seconds is not None:
            waited.addTimeout(seconds, self._reactor, is_late)
        try:
            return await waited
        except ClientError:
            raise
        except (BodyBroken, BadEventStream) as error:
            raise FarmAway(f"The farm at {self.url}: {error}.") from error
        except (
            CancelledError,
            ConnectError,
            ConnectionClosed,
            ConnectingCancelledError,
            DNSLookupError,
            ResponseFailed,
        ) as error:
            if late:
                raise FarmAway(
                    f"The farm at {self.url} (HEADRACE_URL) did not answer within"
                    f" {seconds:.0f} s; is it overloaded, or not a farm?"
                ) from error
            if _was_cancelled(error):
                raise CancelledError() from error
            if _is_distrust(error):
                raise FarmDistrusted(
                    f"The certificate that {self.url} (HEADRACE_URL) shows is not trusted"
                    " here: name its authority's file in HEADRACE_CA_FILE, or its"
                    " fingerprint in HEADRACE_FINGERPRINT."
                ) from error
            raise FarmAway(
                f"No farm answers at {self.url} (HEADRACE_URL): {_detail(error)}."
                " Start one with 'headrace up', or correct the address."
            ) from error

    def _check(self, response: IResponse, body: bytes) -> None:
        """Raise `FarmRefused` unless the farm did what was asked."""
        if response.code < 300:
            return
        try:
            problem = msgspec.json.decode(body, type=_ProblemDocument)
        except (msgspec.DecodeError, RecursionError):
            problem = _ProblemDocument()
        sentence = problem.detail or problem.title
        if not sentence:
            phrase = response.phrase.decode("ascii", "replace")
            sentence = (
                f"What answers at {self.url} (HEADRACE_URL) said {response.code} {phrase}"
                " and gave no reason; is it a Headrace farm?"
            )
        if response.code == 401:
            sentence += " (Its token goes into HEADRACE_TOKEN or HEADRACE_TOKEN_FILE.)"
        raise FarmRefused(response.code, problem.code, sentence, problem.problems)

    def _read(self, document: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(document, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ClientError(
                f"What answers at {self.url} (HEADRACE_URL) sent something that is no"
                f" {kind.__name__} ({error}); is it a Headrace farm of this version?"
            ) from error


def _require_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and (parts.port is None or parts.port > 0)
        usable = usable and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise ClientError(
            f"{url!r} is no address of a farm: write it as http://HOST:PORT (HEADRACE_URL)."
        )


def _was_cancelled(error: BaseException) -> bool:
    if isinstance(error, ResponseFailed):
        return any(reason.check(CancelledError) for reason in error.reasons)
    return isinstance(error, CancelledError | ConnectingCancelledError)


def _is_distrust(error: BaseException) -> bool:
    """Whether TLS broke over the farm's certificate."""
    reasons = error.reasons if isinstance(error, ResponseFailed) else ()
    return any("certificate verify failed" in str(reason.value) for reason in reasons)


def _detail(error: BaseException) -> str:
    if isinstance(error, ResponseFailed) and error.reasons:
        error = error.reasons[0].value
    return str(error).rstrip(".") or type(error).__name__
