"""An HTTP server on loopback that answers as a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

#: Answers a request; what it returns is the whole body, None leaves the request open.
Answer = Callable[[Any], bytes | None]


class ScriptedFarm(Resource):
    """Answers by ``"METHOD /path"``; everything else is 404. Remembers every request."""

    isLeaf = True  # noqa: N815 - twisted.web's name

    def __init__(self, test: TestCase) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}
        self.heard: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.open: list[Any] = []
        site = Site(self)
        site.displayTracebacks = False
        listen: Any = reactor.listenTCP
        port = listen(0, site, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        test.addCleanup(port.stopListening)
        test.addCleanup(self.close)

    def render(self, request: Any) -> bytes | int:
        """Look up the answer."""
        target = request.method.decode() + " " + request.uri.decode()
        content = request.content.read()
        self.heard.append((target, content))
        self.headers.append(
            {
                name.decode().lower(): values[0].decode()
                for name, values in request.requestHeaders.getAllRawHeaders()
            }
        )
        answer = self.answers.get(target) or self.answers.get(target.partition("?")[0])
        if answer is None:
            return problem(404, f"there is no {target}")(request) or b""
        body = answer(request)
        if body is None:
            self.open.append(request)
            request.notifyFinish().addErrback(lambda failure: None)
            return NOT_DONE_YET
        return body

    def close(self) -> None:
        """Let go of what is still open."""
        for request in self.open:
            if request.transport is not None:
                request.transport.abortConnection()


def document(content: object, status: int = 200) -> Answer:
    """A JSON document."""

    def answer(request: Any) -> bytes:
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json")
        return json.dumps(content).encode()

    return answer


def problem(status: int, detail: str, **more: object) -> Answer:
    """A problem document."""
    return document({"title": "no", "status": status, "detail": detail, **more}, status)


def streamed(*parts: bytes) -> Answer:
    """A body that has begun and goes on."""

    def answer(request: Any) -> None:
        for part in parts:
            request.write(part)

    return answer
