"""Rows as a farm would have written them, for tests of what is read from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from unittest import TestCase

import zstandard
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from buildmaster.database import Database
from tests.postgres import fresh_database

COMMIT = "c0ffee" + "0" * 34
HOSTILE = "<script>alert('&')</script>\r\nX-Evil: 1\u2028\"\\"


async def connected(test: TestCase) -> Database:
    """A started database of the test's own, stopped when ``test`` ends."""
    database = Database(await fresh_database(test), reactor, size=3)
    await database.start()
    test.addCleanup(lambda: Deferred.fromCoroutine(database.stop()))
    return database


@dataclass(frozen=True)
class Rows:
    """Writes rows straight into the tables."""

    database: Database

    async def _id(self, sql: str, *parameters: Any) -> int:
        [number] = await self.database.one(sql, parameters)
        return int(number)

    async def configuration(self) -> bytes:
        digest = hashlib.sha256(b"pipeline: []").digest()
        await self.database.run(
            "INSERT INTO configuration VALUES (%s, 'pipeline: []') ON CONFLICT DO NOTHING",
            (digest,),
        )
        return digest

    async def run(self, **columns: Any) -> int:
        values = {
            "repository": "https://example.com/hello.git",
            "source_digest": COMMIT,
            "configuration": await self.configuration(),
            "requester": "ada",
            "owner": "ada",
            **columns,
        }
        names = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        return await self._id(
            f"INSERT INTO run ({names}) VALUES ({places}) RETURNING id", *values.values()
        )

    async def job(self, run: int | None = None, **columns: Any) -> int:
        """A build of one stage, in ``run`` if given."""
        job_class = await self._id(
            """
            INSERT INTO job_class (architecture, isolation, series, tags)
            VALUES ('amd64', 'chroot', '{bookworm}', '{}')
            ON CONFLICT ON CONSTRAINT class_once
            DO UPDATE SET tags = '{}' RETURNING id
            """
        )
        values = {
            "kind": "build",
            "name": "hello",
            "requester": "ada",
            "owner": "ada",
            "class": job_class,
            **({"parked_for": "a test"} if columns.get("state") == "parked" else {}),
            **columns,
        }
        names = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        job = await self._id(
            f"INSERT INTO job ({names}) VALUES ({places}) RETURNING id", *values.values()
        )
        await self.database.run(
            """
            INSERT INTO build (job, architecture, series, stages, stage_numbers,
                               configuration, source)
            VALUES (%s, 'amd64', 'bookworm', '[[["test", 0]]]', '{0}', %s,
                    '{"kind": "git"}')
            """,
            (job, await self.configuration()),
        )
        if run is not None:
            await self.database.run("INSERT INTO run_job VALUES (%s, %s)", (run, job))
        return job

    async def worker(self, name: str = "ant") -> str:
        await self.database.run(
            "INSERT INTO worker (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,)
        )
        return name

    async def attempt(self, job: int, number: int = 1, worker: str | None = None) -> None:
        """A try of ``job``, with its one pipeline job."""
        if worker is not None:
            await self.worker(worker)
        await self.database.run(
            """
            INSERT INTO attempt (job, number, worker, assigned_at)
            VALUES (%s, %s, %s, CASE WHEN %s THEN farm_now() END)
            """,
            (job, number, worker, worker is not None),
        )
        await self.database.run(
            """
            INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series)
            VALUES (%s, %s, 'test', 0, 0, 0, 'bookworm')
            """,
            (job, number),
        )

    async def end_attempt(self, job: int, number: int = 1, result: str = "success") -> None:
        await self.database.run(
            """
            UPDATE attempt SET result = %s, finished_at = farm_now()
             WHERE job = %s AND number = %s
            """,
            (result, job, number),
        )

    async def log(
        self,
        job: int,
        *parts: bytes,
        attempt: int = 1,
        start: int = 0,
        of: str | None = None,
    ) -> int:
        """Chunks one after the other; where the next one would begin."""
        for part in parts:
            await self.database.run(
                """
                INSERT INTO log_chunk (job, attempt, start, length, name, index, data)
                VALUES (%s, %s, %s, %s, %s, %s, %s)
                """,
                (
                    job,
                    attempt,
                    start,
                    len(part),
                    of,
                    None if of is None else 0,
                    zstandard.compress(part),
                ),
            )
            start += len(part)
        return start

    async def artifact(self, job: int, path: str, content: bytes) -> str:
        digest = hashlib.sha256(content)
        await self.database.run(
            "INSERT INTO blob VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (digest.digest(), len(content)),
        )
        await self.database.run(
            "INSERT INTO artifact VALUES (%s, 1, 'test', 0, %s, %s)",
            (job, path, digest.digest()),
        )
        return digest.hexdigest()

    async def event(
        self,
        kind: str,
        *,
        job: int | None = None,
        run: int | None = None,
        payload: str = "{}",
    ) -> str:
        [place] = await self.database.one(
            """
            INSERT INTO event (kind, job, run, payload) VALUES (%s, %s, %s, %s)
            RETURNING transaction::text || '-' || id
            """,
            (kind, job, run, payload),
        )
        return str(place)

    async def until_readable(self, place: str) -> None:
        """Wait for transactions that run elsewhere on the server and are older."""
        readable = False
        while not readable:
            [readable] = await self.database.one(
                "SELECT pg_snapshot_xmin(pg_current_snapshot()) > %s::text::xid8",
                (place.partition("-")[0],),
            )
