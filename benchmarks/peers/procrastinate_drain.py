"""Fills a procrastinate queue and drains it: DATABASE COUNT -> one JSON object.

With the settings that were found to be the fastest: one process, 50 jobs at once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.metadata import version
from time import perf_counter

import procrastinate

BATCH = 1000
AT_ONCE = 50


async def main(dsn: str, count: int) -> None:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    seen = 0

    @app.task(name="nothing")  # type: ignore[untyped-decorator, unused-ignore]
    async def nothing() -> None:
        nonlocal seen
        seen += 1

    async with app.open_async():
        if not await app.connector.execute_query_all_async(
            "SELECT FROM pg_class WHERE relname = 'procrastinate_jobs'"
        ):
            await app.schema_manager.apply_schema_async()
        start = perf_counter()
        for begin in range(0, count, BATCH):
            size = min(BATCH, count - begin)
            await nothing.batch_defer_async(*({} for _ in range(size)))
        enqueued = perf_counter() - start
        await app.connector.execute_query_async("ANALYZE")
        await app.connector.execute_query_async("CHECKPOINT")

        start = perf_counter()
        await app.run_worker_async(
            concurrency=AT_ONCE, wait=False, install_signal_handlers=False
        )
        drained = perf_counter() - start
    assert seen == count, (seen, count)
    print(
        json.dumps(
            {
                "version": version("procrastinate"),
                "jobs": count,
                "enqueue_per_s": count / enqueued,
                "drain_per_s": count / drained,
            }
        )
    )


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
