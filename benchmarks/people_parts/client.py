"""A process whose threads log in without a pause, until it is ended; says how often."""

from __future__ import annotations

import http.client
import signal
import sys
from collections import Counter
from threading import Event, Thread
from typing import Any

FORM = "user=ada&password=lace"


def log_in(port: int, password: str = "lace") -> tuple[int, str]:
    """The status of the answer, and the cookie that it sets."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            "POST",
            "/login",
            f"user=ada&password={password}",
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"http://127.0.0.1:{port}",
            },
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status, (answer.getheader("Set-Cookie") or "").partition(";")[0]
    finally:
        connection.close()


def main(port: int, threads: int) -> None:
    """Log in, again and again."""
    over, seen = Event(), Counter[int]()

    def work() -> None:
        while not over.is_set():
            seen[log_in(port)[0]] += 1

    def end(*_: Any) -> None:
        over.set()

    signal.signal(signal.SIGTERM, end)
    working = [Thread(target=work) for _ in range(threads)]
    for each in working:
        each.start()
    for each in working:
        each.join()
    print(dict(seen), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
