"""An apt archive for tests, on the loopback, for those only who know the password."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.worker.supervisor.attempts import folder

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmine\n-----END PGP PUBLIC KEY BLOCK-----\n"
PACKAGE = "headrace-test-package"
USER, PASSWORD = "ann", "tOkEn-0815"


class ArchiveServer:
    """Serves one package in the suite jammy; and the key of a PPA, which is no real one."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self._files = _archive(folder(test))
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content = outer._answer(self)
                outer.requests.append(f"{self.path} {status}")
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        test.addCleanup(thread.join)
        test.addCleanup(self._server.server_close)
        test.addCleanup(self._server.shutdown)

    def _answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        if request.path.startswith("/api/"):
            known = (
                request.path == "/api/~ann/+archive/ubuntu/tools?ws.op=getSigningKeyData"
            )
            return (200, json.dumps(KEY).encode()) if known else (404, b"")
        wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            return 401, b""
        content = self._files.get(request.path)
        return (404, b"") if content is None else (200, content)


def _archive(place: Path) -> dict[str, bytes]:
    """The files of the archive, by their paths."""
    control = (
        f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: Ann <ann@example.org>\nDescription: for a test\n"
    )
    (place / "tree/DEBIAN").mkdir(parents=True)
    (place / "tree/DEBIAN/control").write_text(control)
    (place / "tree/opt").mkdir()
    (place / "tree/opt/from-package").touch()
    deb = place / "package.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(place / "tree"), str(deb)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    content = deb.read_bytes()
    packages = (
        f"{control}Filename: pool/package.deb\nSize: {len(content)}\n"
        f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
    ).encode()
    name = "main/binary-amd64/Packages"
    release = (
        "Suite: jammy\nCodename: jammy\nArchitectures: amd64\nComponents: main\n"
        "Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
        f"SHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} {name}\n"
    ).encode()
    return {
        "/pool/package.deb": content,
        f"/dists/jammy/{name}": packages,
        "/dists/jammy/Release": release,
    }
