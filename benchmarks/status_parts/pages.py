"""What the documents of pages cost, with many builds remembered and a long line."""

from __future__ import annotations

import gzip
from functools import partial

import treq

from benchmarks.bench import Bench
from benchmarks.farm import Farm
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from benchmarks.status_parts.lists import FRESH, ask
from benchmarks.status_parts.plans import looked_through
from benchmarks.status_parts.rows import add_builds, add_grid, add_line
from buildmaster.database import Database

BUILDS, RUNS, JOBS, QUEUED = 1_000_000, 1000, 10, 100_000

_SCANS = Bar("large tables looked through for a page", "", "<=", 0)


async def _measure(bench: Bench) -> Measured:
    builds = bench.count(BUILDS, 2000)
    dsn = bench.server.database("pages")
    say(f"{builds:,} builds that are over, and a line")
    add_builds(dsn, 1, builds)
    add_grid(dsn, bench.count(RUNS, 20), JOBS)
    add_line(dsn, bench.count(QUEUED, 500))
    figures: Figures = {}
    farm = Farm(bench, dsn, workers=1, slots=1)
    try:
        await farm.start_master()
        port = int(farm.addresses.http.rpartition(":")[2])
        asking = partial(ask, bench, farm.pids[0], port)
        for name, path in _paths(builds).items():
            count = bench.count(30, 3)
            await asking(path, 3, 1, FRESH)  # warms it up
            body = await _body(port, path)
            figures[name] = {
                **await asking(path, count, 1, FRESH),
                "kb": len(body) / 1024,
                "kb_gzip": len(gzip.compress(body, 6)) / 1024,
            }
            remembered = await asking(path, count, 1)
            figures[name]["remembered_p50_ms"] = remembered["p50_ms"]
    finally:
        await farm.stop()
    scans = 0
    if not bench.quick:
        database = Database(dsn, bench.reactor, size=1)
        await database.start()
        try:
            async for name, tables in looked_through(database, builds // 4, builds):
                if tables:
                    say(f"{name} looks through {', '.join(tables)}")
                scans += len(tables)
        finally:
            await database.stop()
    bench.server.drop("pages")
    return Measured(figures, {_SCANS.name: scans})


def _paths(builds: int) -> dict[str, str]:
    return {
        "grid_10000_builds": "/api/v1/grid?limit=1000",
        "grid_200_runs": "/api/v1/grid",
        "grid_pipeline_jobs": "/api/v1/grid?cells=pipeline_jobs&limit=1000",
        "graph": f"/api/v1/runs/{builds // 4}/graph",
        "build": f"/api/v1/jobs/{builds}/whole",
        "queue": "/api/v1/queue",
        "queue_of_an_owner": "/api/v1/queue?owner=team-7",
        "history": "/api/v1/history",
        "history_of_a_name": "/api/v1/history?name=build-3",
        "timeline": "/api/v1/timeline",
        "worker": "/api/v1/workers/worker-3",
    }


async def _body(port: int, path: str) -> bytes:
    response = await treq.get(f"http://127.0.0.1:{port}{path}", persistent=False)
    assert response.code == 200, path
    body: bytes = await response.content()
    return body


PART = Part("pages", (_SCANS,), _measure)
