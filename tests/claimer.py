"""A master reduced to its greed: claims, ends, cancels and retries at random, for ever.

A process of its own, ``python -m tests.claimer DSN SEED``, so that it can be killed at any
moment. It believes what it likes about sessions and room, and looks after every commit
whether some worker has more than it offers. It prints a line for each twenty acts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random

import psycopg2

from buildmaster import intervention
from buildmaster.database.access import DEADLOCK_RETRIES
from buildmaster.requests import Refusal
from buildmaster.store import queue
from buildmaster.store import workers as worker_store
from buildmaster.store.step import AttemptEnd, HungryWorker
from protocol.results import Result
from tests.direct import Direct, DirectCursor

_TOO_MUCH = """
    SELECT worker.name, sum(c.slots), worker.slots, sum(c.cpu), worker.cpu, sum(c.memory),
           worker.memory, sum(c.disk), worker.disk
    FROM running JOIN job_class AS c ON c.id = running.class
    JOIN worker ON worker.name = running.worker
    GROUP BY worker.name
    HAVING sum(c.slots) > worker.slots OR sum(c.cpu) > worker.cpu
        OR sum(c.memory) > worker.memory OR sum(c.disk) > worker.disk
"""


class Claimer:
    """One of several who want the same workers."""

    def __init__(self, dsn: str, seed: int) -> None:
        self.books = Direct(dsn)
        self.random = Random(seed)
        self.deadlocks = 0
        self.jobs = [int(one) for (one,) in self.books.rows("SELECT id FROM job")]
        self.sessions = {
            name: session
            for name, session in self.books.rows("SELECT name, session FROM worker")
        }
        self.classes = [int(one) for (one,) in self.books.rows("SELECT id FROM job_class")]

    def act(self) -> None:
        """Do something; what ended as part of a deadlock again, as masters do."""
        work: Callable[[], object] = self.random.choice(
            [
                *[self.claim] * 6,
                *[self.end] * 4,
                self.accept,
                self.give_back,
                self.join,
                self.cancel,
                self.retry,
            ]
        )
        for _ in range(DEADLOCK_RETRIES):
            try:
                work()
                break
            except psycopg2.errors.DeadlockDetected:
                self.deadlocks += 1
        else:
            raise SystemExit(f"{DEADLOCK_RETRIES} deadlocks one after the other")
        too_much = self.books.rows(_TOO_MUCH)
        if too_much:
            raise SystemExit(f"overcommitted: {too_much}")

    def claim(self) -> None:
        """As a master whose picture of the workers may be old, or wrong."""
        chance = self.random
        names = chance.sample(sorted(self.sessions), chance.randint(1, len(self.sessions)))

        def perhaps(most: int) -> int | None:
            return None if chance.random() < 0.3 else chance.randint(0, most)

        hungry = [
            HungryWorker(
                name,
                self.sessions[name],
                chance.randint(0, 1),
                chance.randint(0, 9),
                perhaps(900),
                perhaps(9000),
                perhaps(9000),
            )
            for name in names
        ]
        self.books.step(workers=hungry, classes=self.classes)

    def _leases(self) -> list[tuple[int, int, str]]:
        rows = self.books.rows("SELECT job, attempt, worker FROM running")
        leases = [(int(job), int(attempt), str(worker)) for job, attempt, worker in rows]
        return self.random.sample(leases, self.random.randint(0, len(leases)))

    def end(self) -> None:
        """Some of what runs ends, well or not."""
        results = [Result.SUCCESS, Result.SUCCESS, Result.SUCCESS, Result.ERROR]
        self.books.step(
            [
                AttemptEnd(job, attempt, self.random.choice(results), "it broke", worker)
                for job, attempt, worker in self._leases()
            ]
        )

    def accept(self) -> None:
        """Some of what runs is told to have begun."""
        self.books.step(accepted=self._leases())

    def cancel(self) -> None:
        """Somebody stops a job."""
        job = self.random.choice(self.jobs)
        self.books.act(partial(intervention.cancel_job, job=job, by="ann", why=""))

    def retry(self) -> None:
        """Somebody tries a job again, which may be refused."""
        job = self.random.choice(self.jobs)
        with suppress(Refusal):
            self.books.act(partial(intervention.retry_job, job=job, by="ann"))

    def give_back(self) -> None:
        """Some of it was never accepted."""
        for job, attempt, worker in self._leases()[:2]:
            self.books.act(
                partial(queue.give_back, worker=worker, job=job, attempt=attempt)
            )

    def join(self) -> None:
        """A worker comes to this master; the others do not know."""
        name = self.random.choice(sorted(self.sessions))
        session = f"s-{self.random.random()}"

        async def work(cursor: DirectCursor) -> None:
            await worker_store.lock(cursor, name)
            await cursor.run(
                "UPDATE worker SET session = %s WHERE name = %s", (session, name)
            )

        self.books.act(work)
        self.sessions[name] = session


def main() -> None:
    claimer = Claimer(sys.argv[1], int(sys.argv[2]))
    while True:
        for _ in range(20):
            claimer.act()
        print("20 acts,", claimer.deadlocks, "deadlocks", flush=True)


if __name__ == "__main__":
    main()
