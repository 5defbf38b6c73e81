"""A process that asks one address again and again, or follows it many times over.

Plain sockets and no library: what is measured is the farm.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from time import monotonic, perf_counter


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = bytearray()
        self.missing = -1  # bytes of the answer; -1: its head is not there yet
        self.asked_at = 0.0

    def ask(self, request: bytes) -> None:
        self.head.clear()
        self.missing = -1
        self.asked_at = perf_counter()
        self.socket.sendall(request)

    def take(self) -> bool:
        """Read what is there; whether the answer is complete."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise SystemExit("the farm hung up")
        if self.missing >= 0:
            self.missing -= len(data)
            return self.missing == 0
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = 0
        for line in bytes(self.head[:end]).lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.missing = end + 4 + length - len(self.head)
        return self.missing == 0


def ask(port: int, path: str, count: int, clients: int, headers: list[str]) -> None:
    """Ask ``count`` times, each of ``clients`` one question at a time.

    A number in braces in ``path`` is one less in each question, and the first again after
    1,000: nobody asks for the same at the same time.
    """
    begin, _, rest = path.partition("{")
    first, _, end = rest.partition("}")
    others = [f"Host: 127.0.0.1:{port}", *headers, "", ""]

    def request(number: int) -> bytes:
        place = f"{begin}{int(first) - number % 1000}{end}" if first else path
        return "\r\n".join([f"GET {place} HTTP/1.1", *others]).encode()

    chosen = selectors.DefaultSelector()
    waiting = [_Connection(port) for _ in range(clients)]
    for each in waiting:
        chosen.register(each.socket, selectors.EVENT_READ, each)
    seconds: list[float] = []
    statuses: set[str] = set()
    began = perf_counter()
    asked = 0
    for each in waiting[:count]:
        each.ask(request(asked))
        asked += 1
    size = 0
    while len(seconds) < count:
        for key, _ in chosen.select():
            connection: _Connection = key.data
            if connection.take():
                seconds.append(perf_counter() - connection.asked_at)
                statuses.add(connection.head[9:12].decode())
                size = len(connection.head)
                if asked < count:
                    connection.ask(request(asked))
                    asked += 1
    took = perf_counter() - began
    told = {"seconds": seconds, "per_second": count / took, "statuses": sorted(statuses)}
    print(json.dumps({**told, "bytes_of_head": size}))


def follow(port: int, path: str, followers: int, events: int) -> None:
    """Follow ``followers`` times; the seconds in which ``events`` reached each of them."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    request = "\r\n".join([*lines, "Accept: text/event-stream", "", ""]).encode()
    chosen = selectors.DefaultSelector()
    left = {}
    for number in range(followers):
        connection = _Connection(port)
        connection.socket.sendall(request)
        chosen.register(connection.socket, selectors.EVENT_READ, number)
        left[number] = b""
    greeted: set[int] = set()
    counts = dict.fromkeys(left, 0)
    seconds: list[float] = []
    while any(count < events for count in counts.values()):
        ready = chosen.select(timeout=60)
        if not ready:
            break
        for key, _ in ready:
            number = key.data
            data = left[number] + key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            now = monotonic()
            *whole, left[number] = data.split(b"\n\n")
            for each in whole:
                if b": the events" in each:
                    greeted.add(number)
                    if len(greeted) == followers:
                        print("following", flush=True)
                elif (at := each.find(b'"told_at"')) >= 0:
                    counts[number] += 1
                    text = each[at + 9 :].lstrip(b" :").partition(b"}")[0]
                    seconds.append(now - float(text.partition(b",")[0]))
    print(
        json.dumps({"seconds": seconds, "missed": sum(events - c for c in counts.values())})
    )


if __name__ == "__main__":
    what, port, path, *numbers = sys.argv[1:]
    if what == "ask":
        ask(int(port), path, int(numbers[0]), int(numbers[1]), numbers[2:])
    else:
        follow(int(port), path, int(numbers[0]), int(numbers[1]))
