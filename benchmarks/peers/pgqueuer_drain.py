"""Fills a PgQueuer queue and drains it: DATABASE COUNT -> one JSON object.

With the settings that were found to be the fastest: asyncpg on uvloop, one process,
batches of 1,000; durable tables and the autovacuum settings that PgQueuer recommends.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from time import perf_counter

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

BATCH = 1000


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

    start = perf_counter()
    await manager.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    drained = perf_counter() - start
    assert seen == count, (seen, count)
    print(
        json.dumps(
            {
                "version": version("pgqueuer"),
                "jobs": count,
                "enqueue_per_s": count / enqueued,
                "drain_per_s": count / drained,
            }
        )
    )


uvloop.run(main(sys.argv[1], int(sys.argv[2])))
