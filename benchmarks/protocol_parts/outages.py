"""PostgreSQL that goes away under load: seconds until work is given out again."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import closing
from typing import Any

import psycopg2
from twisted.internet import reactor
from twisted.internet.task import deferLater

from benchmarks.protocol_parts.at_hand import Bench
from benchmarks.report import Bar, Figures, Measured
from tests.direct import Direct, NewJob
from tests.masters import TOKEN, MasterHome
from tests.paper_workers import PaperWorker
from tests.postgres import OwnServer

WORKERS, SLOTS = 5, 4
JOBS = 6_000
KILLED = Bar("all backends killed: until dispatch, the longest of 5", "s", "<=", 2.0)
RESTARTED = Bar("PostgreSQL restarted: until dispatch from when it answers", "s", "<=", 2.0)
CRASHED = Bar("PostgreSQL crashed: until dispatch from when it answers", "s", "<=", 2.0)
LOST = Bar("jobs lost, repeated or performed twice in all that", "jobs", "<=", 0)
BARS = (KILLED, RESTARTED, CRASHED, LOST)


async def measure(quick: bool) -> Measured:
    """One farm whose workers answer at once, and a line that never runs dry."""
    bench: Any = Bench()
    try:
        return await _measure(bench, JOBS // 6 if quick else JOBS, 1 if quick else 5)
    finally:
        await bench.tidy()


async def _measure(bench: Any, jobs: int, times: int) -> Measured:
    server = OwnServer(bench)
    names = [f"paper-{number}" for number in range(WORKERS)]
    master = MasterHome(bench, server.dsn, workers=names)
    await master.start()
    _fill(server.dsn, jobs)
    workers = [
        PaperWorker(name, TOKEN, [master.port], SLOTS, seed)
        for seed, name in enumerate(names)
    ]
    for worker in workers:
        bench.addCleanup(worker.stop)
        worker.start()
    killed = []
    for _ in range(times):
        await deferLater(reactor, 0.7)
        server.kill_backends()
        killed.append(await _until_dispatch(server.dsn))
    after = {}
    for name, how in (("restarted", signal.SIGINT), ("crashed", signal.SIGQUIT)):
        await deferLater(reactor, 0.7)
        server.stop(how)
        await deferLater(reactor, 1.0)
        server.start()
        after[name] = await _until_dispatch(server.dsn)
    while await _left(server.dsn):
        await deferLater(reactor, 0.1)
    performed: Counter[tuple[int, int]] = sum(
        (worker.performed for worker in workers), Counter()
    )
    figures: Figures = {
        "jobs": jobs,
        "killed_s": killed,
        **{f"{name}_s": seconds for name, seconds in after.items()},
        "not_in_the_first_attempt": _not_well(server.dsn),
        "performed_twice": sum(count > 1 for count in performed.values()),
        "sessions": sum(worker.sessions for worker in workers),
    }
    lost = jobs - len(performed)
    lost += figures["not_in_the_first_attempt"] + figures["performed_twice"]
    return Measured(
        figures,
        {
            KILLED.name: max(killed),
            RESTARTED.name: after["restarted"],
            CRASHED.name: after["crashed"],
            LOST.name: lost,
        },
    )


def _fill(dsn: str, jobs: int) -> None:
    books = Direct(dsn)
    try:
        line = books.job_class()
        for _ in range(jobs // 1000):
            books.add_graph(line, [NewJob() for _ in range(1000)], [])
    finally:
        books.close()


async def _until_dispatch(dsn: str) -> float:
    """Seconds from now until a job is assigned; RuntimeError if none waits."""
    began = time.monotonic()
    since = _value(dsn, "SELECT clock_timestamp()")
    while True:
        found = _value(
            dsn,
            """
            SELECT extract(epoch FROM min(at) - %s)::float8 FROM event
            WHERE kind = 'job.assigned' AND at > %s
            """,
            (since, since),
        )
        if found is not None:
            return float(found)
        if not _value(dsn, "SELECT count(*) FROM ready"):
            raise RuntimeError("all jobs were done too soon")
        if time.monotonic() - began > 60:
            raise RuntimeError("nothing was dispatched for a minute")
        await deferLater(reactor, 0.02)


async def _left(dsn: str) -> int:
    return int(_value(dsn, "SELECT count(*) FROM job WHERE state <> 'done'"))


def _not_well(dsn: str) -> int:
    return int(
        _value(
            dsn,
            """
            SELECT count(*) FROM job
            WHERE attempt <> 1 OR result IS DISTINCT FROM 'success'
            """,
        )
    )


def _value(dsn: str, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
    """One value, over a connection of its own: those that were there are gone."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
        assert row is not None
        return row[0]
