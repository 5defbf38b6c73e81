"""What a session asks of the database: each call is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster import ending
from buildmaster.database import Cursor, Database
from buildmaster.ending import RetryPolicy
from buildmaster.joining import Door, Joined
from buildmaster.recording import Outcome, give_up, record
from buildmaster.store import queue
from buildmaster.store import workers as worker_store
from buildmaster.store.event_log import Event, write_events
from protocol.messages import Attempt, Goodbye, Hello, Holding, Report


async def tell_workers(cursor: Cursor, workers: Sequence[str], state: str) -> None:
    """Write the event that workers are in another state now."""
    payload = {"state": state}
    await write_events(
        cursor, [Event(f"worker.{state}", worker=one, payload=payload) for one in workers]
    )


@dataclass(frozen=True)
class Desk:
    """The master's books, as far as workers may write into them."""

    database: Database
    door: Door
    policy: RetryPolicy

    async def join(self, hello: Hello, session: str) -> Joined | Goodbye:
        """Open a session, or say why not."""
        return await self.database.transaction(
            lambda cursor: self.door.join(cursor, hello, session)
        )

    async def leave(self, worker: str, session: str) -> None:
        """Note that a session is over."""

        async def work(cursor: Cursor) -> None:
            state = await worker_store.disconnect(cursor, worker, session)
            if state is not None:
                await tell_workers(cursor, [worker], state)

        await self.database.transaction(work)

    async def settle_workers(self) -> None:
        """Call workers offline that were unreachable and hold nothing any more."""

        async def work(cursor: Cursor) -> None:
            await tell_workers(cursor, await worker_store.settle(cursor), "offline")

        await self.database.transaction(work)

    async def refused(self, worker: str, job: int, attempt: int, reason: str) -> None:
        """Note that a worker would not take an attempt."""
        await self.database.transaction(
            lambda cursor: ending.refused(cursor, worker, job, attempt, reason, self.policy)
        )

    async def record(self, worker: str, reports: Sequence[Report]) -> Outcome:
        """Record reports of one attempt; raises `BadReport`."""
        return await self.database.transaction(
            lambda cursor: record(cursor, worker, reports, self.policy)
        )

    async def give_up(self, worker: str, job: int, attempt: int, reason: str) -> None:
        """End an attempt whose reports cannot be recorded."""
        await self.database.transaction(
            lambda cursor: give_up(cursor, worker, job, attempt, reason, self.policy)
        )

    async def renew(self, worker: str, holding: Sequence[Holding]) -> list[Attempt]:
        """Renew the worker's leases; the attempts that it should forget."""

        async def work(cursor: Cursor) -> list[Attempt]:
            await worker_store.heard(cursor, worker)
            living = [(held.job, held.attempt) for held in holding if held.lives]
            if living:
                await queue.renew(cursor, worker, living)
            leased = {
                (lease.job, lease.attempt)
                for lease in await queue.leases_of(cursor, worker)
            }
            return [
                Attempt(held.job, held.attempt)
                for held in holding
                if (held.job, held.attempt) not in leased
            ]

        return await self.database.transaction(work)

    async def promote_due(self) -> None:
        """Queue the jobs whose time to wait is over."""

        async def work(cursor: Cursor) -> None:
            while await queue.make_due_ready(cursor, 1000) == 1000:
                pass

        await self.database.transaction(work)
