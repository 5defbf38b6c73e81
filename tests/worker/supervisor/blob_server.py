"""A master's blobs for tests: a real HTTP server on the loopback."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from protocol.order import Artifacts

TOKEN = "let-me-in"


class BlobServer:
    """Keeps what is PUT, if the token fits and the hash is right."""

    def __init__(
        self, test: SynchronousTestCase, tls: tuple[Path, Path] | None = None
    ) -> None:
        """``tls`` are the files of a certificate and its key."""
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []  #: "PUT 200", in order
        self.failures: list[int] = []  #: statuses to answer with before doing anything
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                outer.answer(self)

            do_GET = do_PUT = do_HEAD  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/artifacts"
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        test.addCleanup(thread.join)
        test.addCleanup(self._server.server_close)
        test.addCleanup(self._server.shutdown)

    @property
    def artifacts(self) -> Artifacts:
        """What an order says of it."""
        return Artifacts(url=self.url, token=TOKEN)

    def keep(self, content: bytes) -> str:
        """Put ``content`` among the blobs; its hash."""
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        status, content = self._decide(request, body)
        self.requests.append(f"{request.command} {status}")
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            # Who asked may have had enough.
            with contextlib.suppress(ConnectionError):
                request.wfile.write(content)

    def _decide(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if self.failures:
            return self.failures.pop(0), b""
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, b""
        digest = request.path.rpartition("/")[2]
        if request.command == "PUT":
            right = hashlib.sha256(body).hexdigest() == digest
            self.blobs.update({digest: body} if right else {})
            return (201 if right else 400), b""
        if digest not in self.blobs:
            return 404, b""
        return 200, self.blobs[digest]
