"""Fills a PgQueuer queue and drains it: DATABASE COUNT -> one JSON object.

With the settings that were found to be the fastest: asyncpg on uvloop, one process,
batches of 1,000; durable tables and the autovacuum settings that PgQueuer recommends.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

BATCH = 1000


def processor_seconds(pid: int) -> float:
    """What a process of this machine has used since it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main(dsn: str, count: int) -> None:
    connection = await asyncpg.connect(dsn)
    queries = Queries(AsyncpgDriver(connection))
    if not await queries.schema_is_installed():
        await queries.install()
        await queries.optimize_autovacuum()

    start = perf_counter()
    for begin in range(0, count, BATCH):
        size = min(BATCH, count - begin)
        await queries.enqueue(["nothing"] * size, [None] * size, [0] * size)
    enqueued = perf_counter() - start
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")

    seen = 0
    manager = QueueManager(queries)

    @manager.entrypoint("nothing")  # type: ignore[untyped-decorator, unused-ignore]
    async def nothing(job: Job) -> None:
        nonlocal seen
        seen += 1

    backend = await connection.fetchval("SELECT pg_backend_pid()")
    start, own, of_server = perf_counter(), process_time(), processor_seconds(backend)
    await manager.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    drained, own = perf_counter() - start, process_time() - own
    of_server = processor_seconds(backend) - of_server
    assert seen == count, (seen, count)
    print(
        json.dumps(
            {
                "version": version("pgqueuer"),
                "jobs": count,
                "enqueue_per_s": count / enqueued,
                "drain_per_s": count / drained,
                "client_processor_us_per_job": 1e6 * own / count,
                "postgresql_processor_us_per_job": 1e6 * of_server / count,
            }
        )
    )


uvloop.run(main(sys.argv[1], int(sys.argv[2])))
