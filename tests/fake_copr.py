"""A Copr server of a test, in a process of its own, that treats its messages badly.

``python -m tests.fake_copr PORT HOOK SECRET SEED`` takes builds, ends them a moment later,
and sends a signed message of each end to HOOK: lost, twice, or late, as chance has it.
What was submitted twice with one key is one build. ``/log`` tells what it was asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any
from urllib.request import Request, urlopen


class Copr:
    """Its builds, and what people were shown."""

    def __init__(self, hook: str, secret: bytes, seed: int) -> None:
        self._hook = hook
        self._secret = secret
        self._random = Random(seed)
        self._lock = threading.Lock()
        self.builds: dict[int, dict[str, Any]] = {}
        self.keys: dict[str, int] = {}
        self.calls: list[str] = []  # with repeated ones
        self.statuses: dict[str, dict[str, Any]] = {}
        self.sent = self.lost = self.repeated = 0

    def submit(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A build; the same for the same key."""
        with self._lock:
            key = asked["key"]
            self.calls.append(key)
            if key not in self.keys:
                number = len(self.builds) + 1
                self.keys[key] = number
                chroots = dict.fromkeys(asked["chroots"], "running")
                self.builds[number] = {**asked, "build": number, "chroots": chroots}
                for chroot in chroots:
                    self._later(self._random.random() * 0.3, self._end, number, chroot)
            return {"build": self.keys[key]}

    def show(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A status beside a commit."""
        with self._lock:
            self.calls.append(asked["key"])
            self.statuses[asked["key"]] = asked
            return {}

    def _end(self, number: int, chroot: str) -> None:
        with self._lock:
            build = self.builds[number]
            ok = not fails(build["project"], chroot)
            build["chroots"][chroot] = "succeeded" if ok else "failed"
            message = {
                "build": number,
                "project": build["project"],
                "chroot": chroot,
                "ok": ok,
            }
            chance = self._random.random()
            times = 0 if chance < 0.25 else 2 if chance > 0.7 else 1
            self.lost += times == 0
            self.repeated += times == 2
            for _ in range(times):
                # Each takes its own time: they come in any order.
                self._later(self._random.random() * 0.5, self._send, message)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        try:
            urlopen(Request(self._hook, body, headers), timeout=5).close()
            self.sent += 1
        except OSError:
            self.lost += 1  # the farm is away, and nobody sends it again

    def _later(self, seconds: float, call: Any, *arguments: Any) -> None:
        timer = threading.Timer(seconds, call, arguments)
        timer.daemon = True
        timer.start()

    def log(self) -> dict[str, Any]:
        """All that it knows."""
        with self._lock:
            return {
                "builds": list(self.builds.values()),
                "statuses": list(self.statuses.values()),
                "calls": len(self.calls),
                "sent": self.sent,
                "lost": self.lost,
                "repeated": self.repeated,
            }


def fails(project: str, chroot: str) -> bool:
    """Which builds fail, for all that the server and the test know of it."""
    number = int(project.rpartition("-")[2])
    return number % 5 == 4 if chroot == "srpm-builds" else (number % 7 == 3)


def main() -> None:
    """Serve until killed."""
    port, hook, secret, seed = sys.argv[1:]
    copr = Copr(hook, secret.encode(), int(seed))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = copr.submit(asked) if self.path == "/builds" else copr.show(asked)
            if Random(time.monotonic_ns()).random() < 0.1:
                self.connection.close()  # it was done, and nobody hears of it
                return
            self._answer(answer)

        def do_GET(self) -> None:
            if self.path == "/log":
                self._answer(copr.log())
            else:
                self._answer(copr.builds[int(self.path.rpartition("/")[2])])

        def _answer(self, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 200

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: clients are killed in the middle."""

    Server(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
