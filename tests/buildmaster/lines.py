"""Jobs of any class, written into the line of a farm's books in one go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildmaster.database import Cursor, Database
from buildmaster.matching import Needs
from buildmaster.store import queue

AMD64 = Needs("amd64", "native", ("bookworm",))


@dataclass
class Lines:
    """Each method is a transaction of its own."""

    database: Database

    async def jobs(self, number: int, needs: Needs = AMD64, **columns: Any) -> list[int]:
        """So many new jobs, queued one behind the other unless something holds them."""
        values = {"kind": "native", "name": "tick", "owner": "ann", **columns}

        async def work(cursor: Cursor) -> list[int]:
            class_id = await queue.class_for(cursor, needs)
            names = ", ".join(["requester", "class", *values])
            places = ", ".join(["'ann'", "%s", *["%s"] * len(values)])
            rows = await cursor.rows(
                f"""
                INSERT INTO job ({names}, virtual_start)
                SELECT {places}, coalesce((SELECT max(virtual_start) FROM job), 0) + n
                FROM generate_series(1, %s) AS n RETURNING id
                """,
                (class_id, *values.values(), number),
            )
            ids = sorted(int(row[0]) for row in rows)
            await cursor.run(
                "INSERT INTO attempt (job, number) SELECT unnest(%s::bigint[]), 1", (ids,)
            )
            await cursor.run(
                "INSERT INTO native_job (job) SELECT unnest(%s::bigint[])", (ids,)
            )
            await queue.make_ready(cursor, ids)
            return ids

        return await self.database.transaction(work)

    async def job(self, needs: Needs = AMD64, **columns: Any) -> int:
        """One new job."""
        [job] = await self.jobs(1, needs, **columns)
        return job

    async def edge(self, up: int, down: int, require: str = "good") -> None:
        """Let one job wait for another; it leaves the line."""
        await self.database.run("SELECT leave_queue(%s)", (down,))
        await self.database.run(
            "INSERT INTO edge (up, down, require) VALUES (%s, %s, %s)", (up, down, require)
        )
        await self.database.run(
            "UPDATE job SET state = 'waiting', blocked_by = blocked_by + 1 WHERE id = %s",
            (down,),
        )

    async def semaphore(self, name: str, capacity: int) -> None:
        """A semaphore."""
        await self.database.run("INSERT INTO semaphore VALUES (%s, %s)", (name, capacity))
