"""Logs from a command on a worker until the master's database, and a reader, have them."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet import reactor
from twisted.internet.task import deferLater

from benchmarks.latency import quantile
from benchmarks.machine import processor_seconds
from benchmarks.protocol_parts.at_hand import Bench, peak_of, resident_of
from benchmarks.report import Bar, Figures, Measured
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome

SIZE = 100 * 10**6
LINES = 20
SECRETS = [f"hunter-{number}-of-the-north" for number in range(5)]
RATE = Bar("a log of 100 MB until stored", "MB/s", ">=", 80.0)
REDACTED = Bar("the same with five secrets redacted", "MB/s", ">=", 60.0)
PROCESSOR = Bar("a log of 100 MB, the master's processor", "s", "<=", 0.5)
MASTER_MEMORY = Bar("a log of 100 MB, the master's memory at most", "MB more", "<=", 32.0)
WORKER_MEMORY = Bar("a log of 100 MB, the worker's memory at most", "MB more", "<=", 32.0)
FIRST_LINE = Bar("a line after a silence until a reader has it, 95 %", "ms", "<=", 100.0)
BARS = (RATE, REDACTED, PROCESSOR, MASTER_MEMORY, WORKER_MEMORY, FIRST_LINE)
_BUILD = """\
pipeline: [speak]
jobs:
  speak: {{series: bookworm, architectures: [amd64, arm64], run: '{}'}}
"""
_STAMPS = f"for line in $(seq {LINES}); do sleep 0.3; date +at%s.%N; done"


async def measure(quick: bool) -> Measured:
    """A build that speaks, after a short one that warms everything; then with secrets."""
    size = SIZE // 50 if quick else SIZE
    plain, redacted, lines = (
        await _with(_speak, size, ()),
        await _with(_speak, size, SECRETS),
        await _with(_lines, 3 if quick else LINES),
    )
    return Measured(
        {"plain": plain, "redacted": redacted, "lines": lines},
        {
            RATE.name: plain["mb_per_s"],
            REDACTED.name: redacted["mb_per_s"],
            PROCESSOR.name: plain["master_cpu_s"],
            MASTER_MEMORY.name: plain["master_memory_mb_more"],
            WORKER_MEMORY.name: plain["worker_memory_mb_more"],
            FIRST_LINE.name: lines["p95_ms"],
        },
    )


async def _with(what: Any, *given: Any) -> Figures:
    bench: Any = Bench()
    try:
        found: Figures = await what(bench, *given)
        return found
    finally:
        await bench.tidy()


async def _speak(bench: Any, size: int, secrets: list[str]) -> Figures:
    dsn = fresh_dsn(bench)
    master = MasterHome(bench, dsn)
    daemon = await master.start()
    worker = _worker(bench, master, secrets)
    await master.worker("ant", "connected")
    short, long = Path(bench.folder, "short"), Path(bench.folder, "long")
    short.write_bytes(text(10_000))
    long.write_bytes(text(size))
    [warm] = await master.submit(bench, _BUILD.format(f"cat {short}"))
    await master.done(warm)
    before, used = resident_of(daemon.pid), processor_seconds(daemon.pid)
    theirs, busy = resident_of(worker.pid), processor_seconds(worker.pid)
    [job] = await master.submit(bench, _BUILD.format(f"cat {long}"))
    with closing(psycopg2.connect(dsn)) as books, books.cursor() as cursor:
        books.autocommit = True
        took, stored, kept = await _stored(cursor, job)
    figures: Figures = {
        "bytes": size,
        "bytes_of_log": stored,
        "bytes_in_the_database": kept,
        "seconds": took,
        "mb_per_s": size / took / 1e6,
        "master_cpu_s": processor_seconds(daemon.pid) - used,
        "worker_cpu_s": processor_seconds(worker.pid) - busy,
        "master_memory_mb_more": (peak_of(daemon.pid) - before) / 1e6,
        "worker_memory_mb_more": (peak_of(worker.pid) - theirs) / 1e6,
    }
    log = await master.logged(job)
    figures["secrets_in_the_log"] = sum(secret in log for secret in secrets)
    figures["masks_in_the_log"] = log.count("***")
    return figures


async def _stored(cursor: Any, job: int) -> tuple[float, int, int]:
    """Seconds from the step's start to its end on the books; the log's bytes, compressed.

    The books are asked, not the master, whose processor is measured.
    """
    while True:
        cursor.execute(
            """
            SELECT extract(epoch FROM finished_at - started_at)::float8
            FROM pipeline_job WHERE job = %s AND state = 'done'
            """,
            (job,),
        )
        if (row := cursor.fetchone()) is not None:
            break
        await deferLater(reactor, 0.02)
    cursor.execute(
        """
        SELECT sum(length)::bigint, sum(length(data))::bigint
        FROM log_chunk WHERE job = %s
        """,
        (job,),
    )
    return (row[0], *cursor.fetchone())


async def _lines(bench: Any, lines: int) -> Figures:
    """Milliseconds from a line's being written to its being read from the master."""
    master = MasterHome(bench, fresh_dsn(bench))
    await master.start()
    _worker(bench, master, ())
    await master.worker("ant", "connected")
    [job] = await master.submit(bench, _BUILD.format(_STAMPS))
    heard: list[tuple[float, bytes]] = []
    follow = lambda data: heard.append((time.time(), data))  # noqa: E731
    await master.client.log(job, follow, follow=True)
    took = [
        (at - float(line[2:])) * 1000
        for at, data in heard
        for line in data.split()
        if line.startswith(b"at1")
    ]
    return {
        "lines": len(took),
        "p50_ms": quantile(took, 0.5),
        "p95_ms": quantile(took, 0.95),
        "longest_ms": max(took),
    }


def _worker(bench: Any, master: MasterHome, secrets: Any) -> Any:
    settings = {"secrets_file": "secrets.yaml"} if secrets else {}
    home = WorkerHome(bench, master.port, **settings)
    if secrets:
        path = home.folder / "secrets.yaml"
        path.touch(0o600)
        path.write_text("".join(f"s{n}: {secret}\n" for n, secret in enumerate(secrets)))
    return home.start()


def text(size: int) -> bytes:
    """Lines as a compiler writes them; about every thousandth gives a secret away."""
    chance = random.Random(0)
    lines = []
    for number in range(40_000):
        name, digest = chance.randrange(10**6), f"{chance.getrandbits(80):020x}"
        lines.append(
            f"[{number:6}/40000] cc -O2 -g -Wall -c src/part{name % 97}/module{name}.c"
            f" -o build/{digest}.o ({chance.random():.3f} s)\n"
        )
        if number % 1000 == 999:
            lines.append(f"the token is {chance.choice(SECRETS)}, and it should not be\n")
    block = "".join(lines).encode()
    return (block * (size // len(block) + 1))[:size]
