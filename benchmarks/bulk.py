"""What changing 100,000 queued jobs costs those who claim others meanwhile.

::

    python -m benchmarks.bulk --json

One claim after the other is timed, of jobs that have a line of their own: for a
while alone, then while all jobs of another one are rescored, then while they are cancelled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any
from unittest import TestCase

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from buildmaster.database import Database
from buildmaster.operations import Actor, Operations
from buildmaster.store.step import HungryWorker, step
from tests.postgres import fresh_dsn

#: How much longer a claim may take in the middle, and in one of a hundred cases.
BARS = {"p50": 3.0, "p99": 5.0}

_FILL = """
INSERT INTO job_class (architecture, isolation, series, tags)
VALUES ('amd64', 'native', '{}', '{}'), ('arm64', 'native', '{}', '{}');
INSERT INTO worker (name, state, session, master, slots)
VALUES ('w', 'connected', 's', 'm', 1);
INSERT INTO job (kind, name, requester, owner, class, state, virtual_start)
SELECT 'native', 'job', 'a', CASE WHEN n > 20000 THEN 'ann' ELSE 'bob' END,
       CASE WHEN n > 20000 THEN 2 ELSE 1 END, 'ready', n
FROM generate_series(1, 20000 + %(jobs)s) AS n;
INSERT INTO native_job (job) SELECT id FROM job;
INSERT INTO attempt (job, number) SELECT id, 1 FROM job;
INSERT INTO ready (class, position, job, attempt)
SELECT class, queue_position(score, virtual_start), id, 1 FROM job;
SELECT fold_counts();
VACUUM ANALYZE ready;
VACUUM ANALYZE job
"""


async def _claims(
    reactor: Any, database: Database, while_: Deferred[Any] | None, seconds: float
) -> dict[str, float]:
    """Milliseconds of claims, for so long or until something is done."""
    took = []
    ends = time.monotonic() + seconds
    while not while_.called if while_ is not None else time.monotonic() < ends:
        began = time.perf_counter()
        stepped = await step(
            database,
            workers=[HungryWorker("w", "s", 0, 1)],
            classes=[(0, 1, 0)],
            delays=[1.0],
            refused_for=1.0,
        )
        took.append(1000 * (time.perf_counter() - began))
        assert stepped.claims, "the line ran dry"
        await deferLater(reactor, 0.002)
    took.sort()
    return {
        "claims": len(took),
        "p50": round(statistics.median(took), 2),
        "p99": round(took[int(len(took) * 0.99)], 2),
    }


async def _bulk(operations: Operations, act: Any, score: int | None) -> int:
    who = Actor("benchmark", "", "to measure")
    after: int | None = 0
    changed = 0
    while after is not None:
        told = await operations.bulk(
            act, "owner=ann,state=ready", who, score=score, after=after
        )
        changed, after = changed + told.changed, told.next
    return changed


async def _main(reactor: Any, jobs: int, as_json: bool) -> None:
    case = TestCase()
    database = Database(fresh_dsn(case), reactor)
    await database.start()
    for statement in _FILL.replace("%(jobs)s", str(jobs)).split(";\n"):
        await database.run(statement)
    operations = Operations(database)
    figures: dict[str, Any] = {"alone": await _claims(reactor, database, None, 3.0)}
    for act, score in (("rescore", 400_000), ("cancel", None)):
        began = time.monotonic()
        doing = Deferred.fromCoroutine(_bulk(operations, act, score))
        figures[act] = await _claims(reactor, database, doing, 0)
        figures[act]["seconds"] = round(time.monotonic() - began, 1)
        figures[act]["jobs"] = await doing
    await database.stop()
    case.doCleanups()
    must = [
        {
            "name": f"{share} of a claim during a {act} of {jobs}, against alone",
            "value": round(figures[act][share] / figures["alone"][share], 2),
            "unit": "times",
            "bar": bar,
            "holds": figures[act][share] <= bar * figures["alone"][share],
        }
        for act in ("rescore", "cancel")
        for share, bar in BARS.items()
    ]
    if as_json:
        print(json.dumps({"figures": figures, "must_show": must}))
    else:
        for name, figure in figures.items():
            print(name, figure)
    if not all(each["holds"] for each in must):
        raise SystemExit(1)


def main() -> None:
    """Measure, print, and exit with 0 if what must hold does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, chosen.jobs, chosen.json)))


if __name__ == "__main__":
    main()
