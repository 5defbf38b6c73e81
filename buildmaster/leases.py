"""Watches leases: breaks those that nobody renews, and makes cancelled jobs end in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from twisted.logger import Logger

from buildmaster import ending
from buildmaster.database import Cursor, Database, DatabaseAway
from buildmaster.desk import Desk
from buildmaster.ending import RetryPolicy
from buildmaster.roster import Roster
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store import reports as report_store
from buildmaster.store.queue import Lease
from buildmaster.store.step import AttemptEnd
from protocol.results import Result


@dataclass(frozen=True)
class LeaseRules:
    """Seconds on this master's own clock: a jump of the wall clock breaks nothing."""

    accept_within: float = 30.0
    resume_grace: float = 300.0  #: a lease not renewed for this long is broken
    #: A cancelled job is over on the books after this and the round that ends it; 5 in all.
    cancel_within: float = 4.0
    end_within: float = 120.0  #: beyond its limit: the worker should have ended it


@dataclass
class _Watched:
    """What this master has seen of a lease. A starting master gives a full grace."""

    renewals: int
    renewed_at: float
    first_seen_at: float
    cancelling_since: float | None = None


#: A lease, and not an earlier one of the same attempt that was given back.
_Key = tuple[int, int, str, datetime]


def _key(lease: Lease) -> _Key:
    return (lease.job, lease.attempt, lease.worker, lease.assigned_at)


class LeaseKeeper:
    """One round looks at every lease once.

    ``seconds`` is a clock that never jumps; ``look_after`` brings about a round when so
    many of its seconds are over, besides those that there are anyway.
    """

    log = Logger()

    def __init__(
        self,
        database: Database,
        desk: Desk,
        roster: Roster,
        seconds: Callable[[], float],
        look_after: Callable[[float], object],
        rules: LeaseRules,
        policy: RetryPolicy,
    ) -> None:
        self._database = database
        self._desk = desk
        self._roster = roster
        self._seconds = seconds
        self._look_after = look_after
        self._rules = rules
        self._policy = policy
        self._watched: dict[_Key, _Watched] = {}

    async def round(self) -> None:
        """Look at all leases, act on what is late, and queue what is due."""
        leases = await self._database.transaction(queue.leases)
        current = {_key(lease) for lease in leases}
        self._watched = {k: v for k, v in self._watched.items() if k in current}
        for lease in leases:
            try:
                await self._look_at(lease)
            except DatabaseAway:
                raise
            except Exception:  # The others, and what is due, must not wait for it.
                self.log.failure("job {job}: its lease is not kept", job=lease.job)
        await self._desk.promote_due()
        await self._desk.settle_workers()
        await self._database.transaction(queue.settle_cancels)
        await self._database.transaction(queue.fill_semaphores)
        await self._database.transaction(queue.forget_vain_refusals)

    async def _look_at(self, lease: Lease) -> None:
        now = self._seconds()
        watched = self._watched.setdefault(_key(lease), _Watched(lease.renewals, now, now))
        if watched.renewals != lease.renewals:
            watched.renewals, watched.renewed_at = lease.renewals, now
        if lease.cancelling:
            await self._cancel(lease, watched, now)
        elif not lease.accepted and now - watched.first_seen_at > self._rules.accept_within:
            await self._take_back(lease)
        elif now - watched.renewed_at > self._rules.resume_grace:
            seconds = round(self._rules.resume_grace)
            reason = f"worker {lease.worker} was not heard from for {seconds} seconds"
            await self._break(lease, Result.ERROR, reason)
        elif lease.run_limit is not None and (
            now - watched.first_seen_at > lease.run_limit + self._rules.end_within
        ):
            seconds = round(lease.run_limit)
            reason = f"it took longer than the {seconds} seconds that it may take"
            await self._break(lease, Result.TIMEOUT, reason)

    async def _cancel(self, lease: Lease, watched: _Watched, now: float) -> None:
        if watched.cancelling_since is None:
            watched.cancelling_since = now
            self._look_after(self._rules.cancel_within)
            session = self._roster.get(lease.worker)
            if session is not None:
                session.cancel(lease.job, lease.attempt, "somebody asked it to stop")
        elif now - watched.cancelling_since >= self._rules.cancel_within:
            await self._break(lease, Result.CANCELLED, "")

    async def _take_back(self, lease: Lease) -> None:
        seconds = round(self._rules.accept_within)
        reason = f"no answer within {seconds} seconds"
        self.log.warn(
            "job {job}, worker {worker}: {reason}",
            job=lease.job,
            worker=lease.worker,
            reason=reason,
        )
        await self._desk.refused(lease.worker, lease.job, lease.attempt, reason)
        self._tell_to_forget(lease)

    async def _break(self, lease: Lease, result: Result, reason: str) -> None:
        async def work(cursor: Cursor) -> None:
            held = await report_store.progress(
                cursor, lease.worker, lease.job, lease.attempt
            )
            if held is None or not held.leased:
                return
            [job] = await job_store.lock(cursor, [lease.job])
            why = reason or job.cancel_reason
            self.log.warn("job {job}: {why}", job=lease.job, why=why)
            end = AttemptEnd(
                lease.job,
                lease.attempt,
                result,
                why,
                lease.worker,
                lost=result is Result.ERROR,
            )
            await ending.end_attempt(cursor, end, self._policy)

        await self._database.transaction(work)
        self._tell_to_forget(lease)

    def _tell_to_forget(self, lease: Lease) -> None:
        session = self._roster.get(lease.worker)
        if session is not None:
            session.forget(lease.job, lease.attempt)
