"""A database with a farm's books in it, and short ways to write builds into them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster.admission import settled_workers
from buildmaster.database import Cursor, Database
from buildmaster.ending import RetryPolicy
from buildmaster.matching import Needs
from buildmaster.recording import Outcome, record
from buildmaster.store import queue
from buildmaster.store import submissions as store
from buildmaster.store import workers as worker_store
from buildmaster.store.step import Claim, HungryWorker, step
from buildmaster.store.submissions import Identity, NewBuild, NewRun
from buildmaster.tokens import token_hash
from protocol import PROTOCOL_VERSION
from protocol.messages import (
    Ended,
    Hello,
    LogChunk,
    Offer,
    PipelineJobEnded,
    PipelineJobStarted,
    Report,
    ReportBody,
)
from protocol.order import TAKEN, GitSource
from protocol.results import Result
from protocol.stages import Stages
from tests.postgres import fresh_database

CONFIGURATION = """\
pipeline: [[unit, lint], ship]
jobs:
  unit: {series: bookworm, architectures: amd64, run: make}
  lint: {series: bookworm, architectures: amd64, run: make}
  ship: {series: bookworm, architectures: amd64, run: make}
"""
STAGES: Stages = ((("unit", 0), ("lint", 0)), (("ship", 0),))
TOKEN = "the-token"
NO_DELAY = RetryPolicy(delays=(0.0,))
Work = Callable[[Cursor], Awaitable[Any]]


@dataclass
class Books:
    """A farm's books; every method is a transaction of its own."""

    database: Database
    policy: RetryPolicy = NO_DELAY

    def __post_init__(self) -> None:
        self._numbers = count(1)

    async def worker(self, name: str, isolation: Any = "native", slots: int = 4) -> None:
        """A worker that is connected."""

        await settled_workers(self.database, {name: token_hash(TOKEN)})

        async def work(cursor: Cursor) -> None:
            await worker_store.connect(
                cursor, [(hello(name, isolation, slots), f"s-{name}")], "m"
            )

        await self.database.transaction(work)

    async def run(
        self, *needs: tuple[int, int], builds: int = 1, stages: Stages = STAGES
    ) -> tuple[int, list[int]]:
        """A run with so many new builds, each waiting for (build, stage) in ``needs``."""

        async def work(cursor: Cursor) -> tuple[int, list[int]]:
            digest = await store.add_configuration(cursor, CONFIGURATION)
            class_id = await queue.class_for(
                cursor, Needs("amd64", "native", ("bookworm",))
            )
            commit = f"{next(self._numbers):040x}"
            run = await store.add_run(cursor, _new_run(commit, digest))
            jobs = [
                await store.add_build(
                    cursor, _new_build(commit, part, class_id, digest, stages)
                )
                for part in range(builds)
            ]
            await store.add_to_run(cursor, run, {job.id: job.merged for job in jobs})
            ids = [job.id for job in jobs]
            for job in ids:
                for up, stage in needs:
                    await store.add_edge(cursor, up, stage, job)
            await queue.make_ready(cursor, ids)
            return run, ids

        return await self.database.transaction(work)

    async def add_to(self, run: int, *needs: tuple[int, int]) -> int:
        """One more build in ``run`` that waits for (build, stage)."""
        other, [job] = await self.run(*needs)
        await self.database.run("DELETE FROM run_job WHERE run = %s", (other,))
        await self.database.run("DELETE FROM run WHERE id = %s", (other,))
        await self.database.run(
            "INSERT INTO run_job (run, job) VALUES (%s, %s)", (run, job)
        )
        await self.database.run(
            "UPDATE run SET open_jobs = open_jobs + 1 WHERE id = %s", (run,)
        )
        return job

    async def claim(self, worker: str = "ant", slots: int = 1) -> list[Claim]:
        """What the worker is leased of everything it could run."""

        return await self.database.transaction(lambda cursor: claim(cursor, worker, slots))

    async def begin(self, worker: str = "ant") -> Claim:
        """A claim that the worker has accepted."""
        [claim] = await self.claim(worker)
        await self.database.transaction(
            lambda cursor: queue.accept(cursor, worker, claim.job, claim.attempt)
        )
        return claim

    async def meanwhile(self, first: Work, second: Work) -> list[Any]:
        """Begin ``second`` while ``first`` is done but not committed; both outcomes.

        ``first`` is committed when ``second`` waits for it, or has ended.
        """
        is_done: Deferred[None] = Deferred()
        commit: Deferred[None] = Deferred()

        async def held(cursor: Cursor) -> Any:
            outcome = await first(cursor)
            is_done.callback(None)
            await commit
            return outcome

        begun = [Deferred.fromCoroutine(self.database.transaction(held))]
        await is_done
        begun.append(Deferred.fromCoroutine(self.database.transaction(second)))
        while not begun[1].called and not await self.database.rows(
            """
            SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'
            """
        ):
            pass
        commit.callback(None)
        outcomes: list[Any] = await gatherResults(begun, consumeErrors=True)
        return outcomes

    async def let_time_pass(self, job: int) -> None:
        """End the wait of a job before its next attempt."""

        async def work(cursor: Cursor) -> None:
            await cursor.run("DELETE FROM delayed WHERE job = %s", (job,))
            await cursor.run("UPDATE job SET not_before = NULL WHERE id = %s", (job,))
            await queue.make_ready(cursor, [job])

        await self.database.transaction(work)

    async def report(
        self, claim: Claim, *bodies: ReportBody, first: int = 1, worker: str = "ant"
    ) -> Outcome:
        """Record reports numbered from ``first``."""
        reports = [
            Report(job=claim.job, attempt=claim.attempt, number=number, body=body)
            for number, body in enumerate(bodies, first)
        ]
        return await self.database.transaction(
            lambda cursor: record(cursor, worker, reports, self.policy)
        )

    async def state(self, job: int) -> tuple[str, str | None, int]:
        """State, result and attempt of a job."""
        row = await self.database.one(
            "SELECT state::text, result::text, attempt FROM job WHERE id = %s", (job,)
        )
        return (row[0], row[1], row[2])

    async def run_result(self, run: int) -> str | None:
        """The result of a run."""
        (result,) = await self.database.one(
            "SELECT result::text FROM run WHERE id = %s", (run,)
        )
        return str(result) if result else None


async def claim(
    cursor: Cursor, worker: str = "ant", slots: int = 1, classes: Any = None
) -> list[Claim]:
    """What a worker with so many free slots is leased."""
    known = [c.id for c in await queue.classes_but(cursor, [])]
    stepped = await step(
        cursor,
        workers=[HungryWorker(worker, f"s-{worker}", 0, slots)],
        classes=[(0, each, 0) for each in (known if classes is None else classes)],
        delays=NO_DELAY.delays,
        refused_for=NO_DELAY.refusal,
    )
    return list(stepped.claims)


async def fresh_books(test: TestCase) -> Books:
    """Empty books with one connected worker named ant."""
    database = Database(await fresh_database(test), reactor)
    await database.start()
    test.addCleanup(database.stop)
    books = Books(database)
    await books.worker("ant")
    return books


def hello(name: str, isolation: Any = "native", slots: int = 4, **other: Any) -> Hello:
    """The first word of a worker."""
    fields: dict[str, Any] = {
        "oldest_version": 1,
        "newest_version": PROTOCOL_VERSION,
        "worker": name,
        "token": TOKEN,
        "boot": "boot-1",
        "software": "test",
        "offers": (Offer(isolation=isolation, architecture="amd64", series=("*",)),),
        "slots": slots,
        "takes": TAKEN,
    }
    return Hello(**{**fields, **other})


def started(name: str, index: int = 0) -> PipelineJobStarted:
    """A report that a pipeline job began."""
    return PipelineJobStarted(name=name, index=index, at=0.0)


def ended(
    name: str, result: Result = Result.SUCCESS, reason: str = "", **other: Any
) -> PipelineJobEnded:
    """A report that a pipeline job ended."""
    return PipelineJobEnded(
        name=name, index=0, at=0.0, result=result, reason=reason, **other
    )


def log(start: int, text: bytes = b"x") -> LogChunk:
    """A report of some log."""
    return LogChunk(start=start, length=len(text), data=text)


def over(result: Result = Result.SUCCESS, reason: str = "", final: bool = False) -> Ended:
    """The last report."""
    return Ended(at=0.0, result=result, reason=reason, final=final)


PASSED = (ended("unit"), ended("lint"), ended("ship"), over())
FAILED = (
    ended("unit", Result.FAILURE, "exit status 3"),
    ended("lint"),
    ended("ship", Result.UNRUN, "unit:0 failed"),
    over(Result.FAILURE, "unit:0 failed (exit status 3)"),
)


def _new_run(commit: str, configuration: bytes) -> NewRun:
    return NewRun(
        repository="https://git.example/p.git",
        source_digest=commit,
        refs=(),
        trust_domain="trusted",
        configuration=configuration,
        cross_architecture="orchestrate",
        requester="ann",
        owner="ann",
        name="",
    )


def _new_build(
    commit: str, part: int, class_id: int, configuration: bytes, stages: Stages
) -> NewBuild:
    return NewBuild(
        identity=Identity(
            "https://git.example/p.git",
            commit,
            "trusted",
            "pipeline",
            "arch=amd64,series=bookworm",
            part,
        ),
        refs=("refs/heads/main",),
        requester="ann",
        owner="ann",
        class_id=class_id,
        virtual_start=0,
        architecture="amd64",
        series="bookworm",
        stages=stages,
        stage_numbers=tuple(range(len(stages))),
        series_of={cell: "bookworm" for stage in stages for cell in stage},
        configuration=configuration,
        source=GitSource(repository="https://git.example/p.git", commit=commit),
        run_limit=None,
        idle_limit=None,
    )


def as_json(value: Any) -> Any:
    """``value`` as plain lists and mappings."""
    return msgspec.to_builtins(value)
