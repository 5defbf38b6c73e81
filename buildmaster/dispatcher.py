"""Gives ready jobs to workers that have room."""

from __future__ import annotations

from twisted.logger import Logger

from buildmaster import ending
from buildmaster.database import Cursor, Database, DatabaseAway
from buildmaster.ending import RetryPolicy
from buildmaster.matching import JobClass, suits
from buildmaster.orders import NoOrder, OrderMaker
from buildmaster.roster import Roster
from buildmaster.session import Session
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store import workers as worker_store
from buildmaster.store.event_log import Event, write_events
from protocol.order import Order
from protocol.results import Result


class Dispatcher:
    """One round: claim for every session with room, then send the orders."""

    log = Logger()

    def __init__(
        self, database: Database, roster: Roster, orders: OrderMaker, policy: RetryPolicy
    ) -> None:
        self._database = database
        self._roster = roster
        self._orders = orders
        self._policy = policy
        self._classes: list[JobClass] = []

    async def round(self) -> None:
        """Claim and send until the sessions are full or the queue has nothing for them."""
        sessions = self._roster.with_room()
        if not sessions:
            return
        known = [each.id for each in self._classes]
        self._classes += await self._database.transaction(
            lambda cursor: queue.classes_but(cursor, known)
        )
        for session in sessions:
            try:
                await self._fill(session)
            except DatabaseAway:
                raise
            except Exception:  # The others must not wait for it.
                self.log.failure("worker {worker} gets nothing", worker=session.worker)
                session.close()

    async def _fill(self, session: Session) -> None:
        classes = [c.id for c in self._classes if suits(c, session.offers, session.tags)]
        worker, slots = session.worker, session.free
        if not classes or worker is None or slots <= 0:
            return
        claimed = await self._database.transaction(
            lambda cursor: self._claim(cursor, worker, session.id, classes, slots)
        )
        if claimed is None:
            # The worker is elsewhere, or counted as gone; if it hears this, it comes back.
            session.close()
            return
        orders, claims = claimed
        session.attempts |= claims
        for order in orders:
            session.start(order)
            self.log.info(
                "job {job} attempt {attempt} goes to worker {worker}",
                job=order.job,
                attempt=order.attempt,
                worker=worker,
            )

    async def _claim(
        self, cursor: Cursor, worker: str, session: str, classes: list[int], slots: int
    ) -> tuple[list[Order], set[tuple[int, int]]] | None:
        """Orders and leases for a session; None if it is not the worker's any more."""
        if not await worker_store.is_session(cursor, worker, session):
            return None
        orders: list[Order] = []
        for claim in await queue.claim(cursor, worker, classes, slots):
            try:
                orders.append(await self._orders.make(cursor, claim))
            except NoOrder as error:
                await self._fail(cursor, claim.job, str(error))
            else:
                payload = {"state": "assigned", "attempt": claim.attempt, "worker": worker}
                event = Event("job.assigned", job=claim.job, worker=worker, payload=payload)
                await write_events(cursor, [event])
        return orders, {(order.job, order.attempt) for order in orders}

    async def _fail(self, cursor: Cursor, job: int, reason: str) -> None:
        [locked] = await job_store.lock(cursor, [job])
        await ending.end_attempt(
            cursor, locked, Result.ERROR, reason, self._policy, final=True
        )
