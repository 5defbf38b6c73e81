"""What the cookie of a person costs beside a token, and what noting an act costs."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from time import perf_counter

from twisted.internet.threads import deferToThread

from benchmarks.bench import Bench
from benchmarks.farm import Farm
from benchmarks.latency import Latencies
from benchmarks.parts import Part
from benchmarks.people_parts.client import log_in
from benchmarks.people_parts.storm import people
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from buildmaster.people.passwords import new_hash

_ASKED = 3000
_RATIO = Bar("asking with a cookie, of asking with a token", "times", "<=", 1.3)


async def _measure(bench: Bench) -> Measured:
    dsn = bench.server.database("asking")
    settings = {"people": people(bench.folder / "htpasswd", new_hash("lace"))}
    farm = Farm(bench, dsn, workers=1, slots=1, settings=settings)
    try:
        await farm.start_master()
        folder = farm.folder / "master"
        port = int(farm.addresses.http.rpartition(":")[2])
        _, cookie = await deferToThread(log_in, port)
        token = (folder / "token").read_text().strip()
        count = bench.count(_ASKED, 10)
        bearer = {"Authorization": f"Bearer {token}"}
        figures: Figures = {}
        for name, method, path, headers in (
            ("warm", "GET", "/api/v1/me", bearer),
            ("token", "GET", "/api/v1/me", bearer),
            ("cookie", "GET", "/api/v1/me", {"Cookie": cookie}),
            ("noted", "POST", "/api/v1/jobs/1/cancel", bearer),
        ):
            say(f"asking: {name}")
            taken = await deferToThread(_ask, port, method, path, headers, count)
            figures[name] = {"p50_ms": taken.p50, "p99_ms": taken.p99}
    finally:
        await farm.stop()
        bench.server.drop("asking")
    ratio = figures["cookie"]["p50_ms"] / figures["token"]["p50_ms"]
    return Measured(figures, {_RATIO.name: ratio})


def _ask(
    port: int, method: str, path: str, headers: Mapping[str, str], count: int
) -> Latencies:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = Latencies()
    for _ in range(count):
        start = perf_counter()
        connection.request(method, path, headers=dict(headers))
        connection.getresponse().read()
        found.add(perf_counter() - start)
    connection.close()
    return found


PART = Part("asking", (_RATIO,), _measure)
