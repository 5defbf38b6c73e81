"""What an explanation costs, by the depth of the line.

::

    python -m benchmarks explain --json
    python -m benchmarks explain --depths 1000 100000 1000000

Each depth is a farm of its own: 500 workers on duty with two slots, all busy, 20 classes on
four architectures. Jobs all over the line are explained one after the other, first with
one picture of the farm for all (as the jobs of a page are), then with a new one each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any
from unittest import TestCase

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from buildmaster.database import Database
from buildmaster.forecasting import Forecaster
from tests.postgres import fresh_dsn

#: Milliseconds that one explanation may take where they share a picture, at 100,000 ready.
BAR = 20.0

_FILL = """
INSERT INTO job_class (architecture, isolation, series, tags)
SELECT arch, 'chroot', ARRAY['s' || n], '{}'
FROM unnest('{amd64,arm64,s390x,riscv64}'::text[]) AS arch, generate_series(1, 5) AS n;
INSERT INTO worker (name, state, session, master, offers, slots)
SELECT 'w' || n, 'connected', 's' || n, 'm', jsonb_build_array(jsonb_build_object(
           'isolation', 'chroot', 'series', '["*"]'::jsonb, 'architecture',
           ('{amd64,arm64,s390x,riscv64}'::text[])[1 + n % 4])), 2
FROM generate_series(1, 500) AS n;
INSERT INTO job (kind, name, requester, owner, class, state, virtual_start)
SELECT 'native', 'job' || n % 100, 'a', 'o' || n % 7, 1 + n % 20, 'ready', n
FROM generate_series(1, %(jobs)s) AS n;
INSERT INTO attempt (job, number) SELECT id, 1 FROM job;
INSERT INTO ready (class, position, job, attempt)
SELECT class, queue_position(score, virtual_start), id, 1 FROM job;
WITH taken AS (
    DELETE FROM ready WHERE job IN (
        SELECT id FROM job ORDER BY id LIMIT 1000) RETURNING *),
named AS (
    SELECT taken.*, row_number() OVER (PARTITION BY (class - 1) / 5 ORDER BY job) AS n
    FROM taken),
leased AS (
    INSERT INTO running (job, attempt, worker, class, assigned_at)
    SELECT job, attempt, 'w' || (1 + job %% 500), class,
           farm_now() - interval '1 s' * (job %% 100) FROM named)
UPDATE job SET state = 'running' WHERE id IN (SELECT job FROM taken);
SELECT fold_counts();
"""


async def measure(reactor: Any, depth: int, asked: int) -> dict[str, float]:
    """Milliseconds of an explanation at this depth."""
    case = TestCase()
    database = Database(fresh_dsn(case), reactor)
    await database.start()
    for statement in _FILL.split(";\n"):
        if statement.strip():
            text = statement.replace("%(jobs)s", str(depth + 1000))
            await database.run(text if "%%" in text else text.replace("%", "%%"))
    await database.run("VACUUM ANALYZE ready")
    await database.run("VACUUM ANALYZE job")
    jobs = [1001 + depth * place // asked for place in range(asked)]
    shared = Forecaster(database, reactor, seen_for=3600.0, played_for=3600.0)
    await shared.explain(jobs[0])
    alone = Forecaster(database, reactor, seen_for=-1.0, played_for=-1.0)
    found = {
        "shared_ms": await _median(shared, jobs),
        "alone_ms": await _median(alone, jobs[:: max(1, asked // 10)]),
    }
    took = []
    for _ in jobs:
        began = time.perf_counter()
        await database.one("SELECT 1")
        took.append(1000 * (time.perf_counter() - began))
    found["select_1_ms"] = round(statistics.median(took), 2)  # the reference
    await database.stop()
    case.doCleanups()
    return found


async def _median(forecaster: Forecaster, jobs: Sequence[int]) -> float:
    took = []
    for job in jobs:
        began = time.perf_counter()
        told = await forecaster.explain(job)
        took.append(1000 * (time.perf_counter() - began))
        assert told is not None and told.start is not None, told
    return round(statistics.median(took), 2)


async def _main(reactor: Any, depths: Sequence[int], as_json: bool) -> None:
    figures: dict[str, Any] = {}
    for depth in depths:
        figures[str(depth)] = await measure(reactor, depth, 100)
        if not as_json:
            print(depth, figures[str(depth)], flush=True)
    at = figures.get("100000", {}).get("shared_ms")
    must = [
        {
            "name": "one explanation at 100,000 ready, picture shared",
            "value": at,
            "unit": "ms",
            "bar": BAR,
            "holds": at is not None and at <= BAR,
        }
    ]
    if as_json:
        print(json.dumps({"figures": figures, "must_show": must}))
    if not all(each["holds"] for each in must):
        raise SystemExit(1)


def run(arguments: list[str]) -> int:
    """Measure and print; 0 if what must hold does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        react(
            lambda reactor: Deferred.fromCoroutine(
                _main(reactor, chosen.depths, chosen.json)
            )
        )
    except SystemExit as end:
        return int(end.code or 0)
    return 0
