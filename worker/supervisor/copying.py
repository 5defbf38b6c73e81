"""Copying: the farm's files on this machine, for a supervisor that belongs to no farm.

A small HTTP server on the loopback that takes the place of a master's blobs. What a job
makes is kept here; what it needs is fetched from the farm, once.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from protocol.order import Artifacts
from protocol.trust import Trust
from worker.supervisor.blobs import Blobs, NoSuchBlob
from worker.supervisor.endings import CannotRun

_NAME = re.compile(r"/files/([0-9a-f]{64})\Z")
_BLOCK = 1 << 20
#: Bytes of one file, as farms take them.
_LIMIT = 4 * 1024**3
#: Seconds that the farm may be away.
_PATIENCE = 30.0


class Copying:
    """A context in which ``artifacts`` can be used, by this account."""

    def __init__(
        self, folder: Path, wanted: Mapping[str, int], farm: str, token: str, trust: Trust
    ) -> None:
        """``wanted`` are the files that may be fetched from ``farm``, with their sizes."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._wanted = wanted
        url = f"{farm.rstrip('/')}/api/v1/artifacts"
        self._farm = Blobs(url, token, print, _PATIENCE, trust)
        self._token = secrets.token_urlsafe(32)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                outer.answer(self)

            do_GET = do_PUT = do_HEAD  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def artifacts(self) -> Artifacts:
        """What an order says of it."""
        port = self._server.server_address[1]
        return Artifacts(url=f"http://127.0.0.1:{port}/files", token=self._token)

    def __enter__(self) -> Copying:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        named = _NAME.search(request.path)
        given = request.headers.get("Authorization") or ""
        if named is None or not secrets.compare_digest(
            given.encode(), f"Bearer {self._token}".encode()
        ):
            self._say(request, 403)
        elif request.command == "PUT":
            self._say(request, self._take(request, named[1]))
        elif request.command == "HEAD":
            # Whether it was made here before; what the farm has is not asked.
            self._say(request, 200 if (self._folder / named[1]).exists() else 404)
        else:
            self._give(request, named[1])

    def _take(self, request: BaseHTTPRequestHandler, sha256: str) -> int:
        left = int(request.headers.get("Content-Length") or 0)
        if left > _LIMIT:
            return 413
        new = self._folder / f".{sha256}.{secrets.token_hex(4)}"
        digest = hashlib.sha256()
        try:
            with new.open("xb") as file:
                while left and (block := request.rfile.read(min(left, _BLOCK))):
                    left -= len(block)
                    digest.update(block)
                    file.write(block)
            if left or digest.hexdigest() != sha256:
                return 422
            os.replace(new, self._folder / sha256)
        finally:
            new.unlink(missing_ok=True)
        return 201

    def _give(self, request: BaseHTTPRequestHandler, sha256: str) -> None:
        file = self._folder / sha256
        if not file.exists() and sha256 not in self._wanted:
            return self._say(request, 404)
        if not file.exists():
            new = self._folder / f".{sha256}.{secrets.token_hex(4)}"
            try:
                self._farm.download(sha256, self._wanted[sha256], new)
                os.replace(new, file)
            except NoSuchBlob:
                return self._say(request, 404)
            except CannotRun as error:
                print(f"-- {error}")
                return self._say(request, 403)
            finally:
                new.unlink(missing_ok=True)
        with file.open("rb") as stream, suppress(ConnectionError):
            request.send_response(200)
            request.send_header("Content-Length", str(file.stat().st_size))
            request.end_headers()
            shutil.copyfileobj(stream, request.wfile)

    def _say(self, request: BaseHTTPRequestHandler, status: int) -> None:
        with suppress(ConnectionError):
            request.send_response(status)
            request.send_header("Content-Length", "0")
            request.end_headers()
