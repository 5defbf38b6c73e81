"""2,000 workers at one master: how long they take to join, and what they cost it idle."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet import reactor
from twisted.internet.task import deferLater

from benchmarks.machine import processor_seconds
from benchmarks.protocol_parts.at_hand import Bench, Told, memory_of
from benchmarks.report import Bar, Figures, Measured
from buildmaster.requests import GitRequest, SubmissionRequest
from buildmaster.tokens import token_hash
from protocol.tls import make_certificate
from tests.farm import repository
from tests.masters import TOKEN, MasterHome
from tests.postgres import fresh_dsn

WORKERS = 2_000
FEW = 10
ORDERS = 40
IDLE_SECONDS = 20.0
CARRIERS = ("pb", "websocket")
BARS = tuple(
    bar
    for carrier in CARRIERS
    for bar in (
        Bar(f"{carrier}: 2,000 workers join, plain", "s", "<=", 4.0),
        Bar(f"{carrier}: memory for each of 2,000 workers, plain", "KB", "<=", 15.0),
        Bar(f"{carrier}: 2,000 workers join, TLS", "s", "<=", 8.0),
        Bar(f"{carrier}: memory for each of 2,000 workers, TLS", "KB", "<=", 50.0),
        Bar(f"{carrier}: 2,000 idle workers, of a core", "%", "<=", 10.0),
        Bar(f"{carrier}: dispatch with 2,000 workers to that with 10", "x", "<=", 1.5),
    )
)
_BUILD = """\
pipeline: [one]
jobs:
  one: {{series: bookworm, architectures: amd64, run: 'true # {}'}}
"""


async def measure(quick: bool) -> Measured:
    """Each carrier, plain and with TLS."""
    count = 50 if quick else WORKERS
    figures: Figures = {}
    values: dict[str, float] = {}
    for carrier in CARRIERS:
        few = await _crowd(carrier, FEW, tls=False, quick=quick)
        for tls in (False, True):
            found = await _crowd(carrier, count, tls=tls, quick=quick)
            kind = "TLS" if tls else "plain"
            figures[f"{carrier}, {kind}"] = found
            values[f"{carrier}: 2,000 workers join, {kind}"] = found["joined_s"]
            values[f"{carrier}: memory for each of 2,000 workers, {kind}"] = found[
                "memory_kb_each"
            ]
            if not tls:
                values[f"{carrier}: 2,000 idle workers, of a core"] = found["idle_percent"]
                values[f"{carrier}: dispatch with 2,000 workers to that with 10"] = (
                    found["dispatch_ms"] / few["dispatch_ms"]
                )
        figures[f"{carrier}, ten workers"] = few
    return Measured(figures, values)


async def _crowd(carrier: str, count: int, *, tls: bool, quick: bool) -> Figures:
    bench: Any = Bench()
    try:
        return await _measure(bench, carrier, count, tls, quick)
    finally:
        await bench.tidy()


async def _measure(bench: Any, carrier: str, count: int, tls: bool, quick: bool) -> Figures:
    dsn = fresh_dsn(bench)
    settings: dict[str, Any] = {}
    certificate = Path(bench.folder, "certificate.pem")
    if tls:
        key = Path(bench.folder, "key.pem")
        make_certificate(certificate, key, ["127.0.0.1"])
        settings["tls"] = {"certificate": str(certificate), "key": str(key)}
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO worker (name) SELECT 'w' || n FROM generate_series(0, %s) n",
            (count - 1,),
        )
        cursor.execute(
            "INSERT INTO worker_token (worker, sha256) SELECT name, %s FROM worker",
            (token_hash(TOKEN),),
        )
    master = MasterHome(bench, dsn, workers=(), **settings)
    master.trust_file = str(certificate) if tls else None
    daemon = await master.start()
    # Joins warm what they need.
    await deferLater(reactor, 1.0)
    before = memory_of(daemon.pid)
    used = processor_seconds(daemon.pid)
    scheme = {"pb": "pb", "websocket": "ws"}[carrier] + ("s" if tls else "")
    port = master.port if carrier == "pb" else master.http
    crowd = Told()
    command = [sys.executable, "-m", "benchmarks.protocol_parts.crowd"]
    command += [str(count), "1", f"{scheme}://127.0.0.1:{port}"]
    command += [str(certificate)] if tls else []
    reactor.spawnProcess(crowd, sys.executable, command, env=None, path=str(Path.cwd()))
    bench.addCleanup(crowd.end)
    joined = await crowd.until("joined")
    found: Figures = {"joined_s": joined["seconds"]}
    found["joining_cpu_s"] = processor_seconds(daemon.pid) - used
    await deferLater(reactor, 2.0)
    found["memory_kb_each"] = (memory_of(daemon.pid) - before) / count / 1000
    used, began = processor_seconds(daemon.pid), time.monotonic()
    await deferLater(reactor, 2.0 if quick else IDLE_SECONDS)
    took = time.monotonic() - began
    found["idle_percent"] = (processor_seconds(daemon.pid) - used) / took * 100
    found["dispatch_ms"] = await _dispatch(bench, master, crowd, 3 if quick else ORDERS)
    found["lost"] = sum("lost" in each for each in crowd.heard)
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM worker WHERE state = 'connected'")
        row = cursor.fetchone()
        found["connected_in_the_end"] = row[0] if row else None
    return found


async def _dispatch(bench: Any, master: MasterHome, crowd: Told, orders: int) -> float:
    """Median milliseconds from the answer to a submission to its order at a worker."""
    took = []
    tree = repository(bench, "\n".join([_BUILD.format("warm")]))
    client = master.client
    for number in range(orders):
        (tree / ".launchpad.yaml").write_text(_BUILD.format(number))
        _commit(tree)
        request = SubmissionRequest(source=GitRequest(repository=str(tree)))
        run = await client.submit(request)
        answered = time.monotonic()
        started = await crowd.until("start", run.jobs[0].id)
        took.append((started["at"] - answered) * 1000)
        await deferLater(reactor, 0.05)
    return float(max(0.1, statistics.median(took)))


def _commit(tree: Path) -> None:
    import subprocess

    who = ("-c", "user.name=b", "-c", "user.email=b@b")
    subprocess.run(["git", "-C", str(tree), *who, "commit", "-qam", "another"], check=True)
