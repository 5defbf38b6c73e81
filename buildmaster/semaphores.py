"""What operators do to semaphores and to the caps of owners."""

from __future__ import annotations

from dataclasses import dataclass

from buildmaster.database import Cursor, Database
from buildmaster.requests import Refusal
from buildmaster.store import semaphores as store
from buildmaster.store.event_log import Event, write_events

#: As good as no cap, and still a number.
NO_CAP = 2**31 - 1
#: Ids of jobs that one transaction looks through.
BATCH = 10_000


@dataclass(frozen=True)
class Semaphores:
    """Each call is whole or nothing, but that of a cap on many jobs."""

    database: Database

    async def set(self, name: str, capacity: int, by: str) -> None:
        """Make a semaphore, or change how many jobs may hold it at a time."""

        async def work(cursor: Cursor) -> None:
            await store.set_capacity(cursor, name, capacity)
            payload = {"state": "set", "name": name, "capacity": capacity, "by": by}
            await write_events(cursor, [Event("semaphore.set", payload=payload)])

        await self.database.transaction(work)

    async def remove(self, name: str, by: str) -> None:
        """Remove a semaphore that no unfinished job names."""

        async def work(cursor: Cursor) -> None:
            problem = await store.remove(cursor, name)
            if problem is not None:
                raise Refusal(
                    409, "semaphore_in_use", f"The semaphore {name} stays: {problem}."
                )
            payload = {"state": "removed", "name": name, "by": by}
            await write_events(cursor, [Event("semaphore.removed", payload=payload)])

        await self.database.transaction(work)

    async def cap(self, owner: str, architecture: str, jobs: int | None, by: str) -> int:
        """Let so many jobs of an owner run at a time; how many wait or run that heed it.

        Those queued from now on heed it at once, the others batch by batch.
        """
        name = store.cap_name(owner, architecture)
        await self.set(name, NO_CAP if jobs is None else jobs, by)
        last = await self.database.transaction(store.last_job)
        count = 0
        for after in range(0, last, BATCH):

            async def work(cursor: Cursor, after: int = after) -> int:
                jobs = await store.cap_jobs(
                    cursor, owner, architecture, after, after + BATCH
                )
                if jobs:
                    # Those that run hold it from now on.
                    payload = {"state": "set", "name": name, "jobs": jobs, "by": by}
                    await write_events(cursor, [Event("semaphore.set", payload=payload)])
                return jobs

            count += await self.database.transaction(work)
        return count
