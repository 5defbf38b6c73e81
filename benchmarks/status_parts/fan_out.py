"""How soon an event reaches a thousand followers."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from pathlib import Path
from time import monotonic

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from benchmarks.bench import Bench
from benchmarks.farm import Farm
from benchmarks.latency import quantile
from benchmarks.parts import Part
from benchmarks.report import Bar, Measured

_FOLLOWERS, _EVENTS, _PAUSE = 1000, 50, 0.1
_REACHED = Bar("an event reaches 1,000 followers, p99", "ms", "<=", 150)
_MISSED = Bar("events that a follower missed", "", "<=", 0)


class _Followers(ProcessProtocol):
    """The process that follows; what it says."""

    def __init__(self) -> None:
        self.said = b""
        self.following: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.said += data
        if b"following" in self.said and not self.following.called:
            self.following.callback(None)

    def errReceived(self, data: bytes) -> None:
        sys.stderr.write(data.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        if not self.following.called:
            self.following.errback(reason)
        self.ended.callback(None)


async def _measure(bench: Bench) -> Measured:
    followers = bench.count(_FOLLOWERS, 5)
    events = bench.count(_EVENTS, 2)
    dsn = bench.server.database("fan_out")
    farm = Farm(bench, dsn, workers=1, slots=1)
    try:
        await farm.start_master()
        port = farm.addresses.http.rpartition(":")[2]
        process = _Followers()
        checkout = Path(__file__).resolve().parent.parent.parent
        command = [sys.executable, "-m", "benchmarks.status_parts.client", "follow", port]
        command += ["/api/v1/events", str(followers), str(events)]
        environ = {**os.environ, "PYTHONPATH": str(checkout)}
        bench.reactor.spawnProcess(process, command[0], command, env=environ)
        await process.following
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for _ in range(events):
                    payload = json.dumps({"told_at": monotonic()})
                    cursor.execute(
                        "INSERT INTO event (kind, payload) VALUES ('bench', %s)", (payload,)
                    )
                    await deferLater(bench.reactor, _PAUSE)
        await process.ended
    finally:
        await farm.stop()
        bench.server.drop("fan_out")
    found = json.loads(process.said.partition(b"\n")[2])
    p99 = 1000 * quantile(found["seconds"], 0.99)
    figures = {
        "followers": followers,
        "events": events,
        "p50_ms": 1000 * quantile(found["seconds"], 0.5),
        "p99_ms": p99,
        "missed": found["missed"],
    }
    return Measured(figures, {_REACHED.name: p99, _MISSED.name: found["missed"]})


PART = Part("fan-out", (_REACHED, _MISSED), _measure)
