"""What follows when an attempt ends, inside the transaction that ends it.

The rules are functions of the database (``schema/0007_ending.sql``): an attempt that the
farm failed is followed by another one until its limit; else the job is done, its edges are
resolved, jobs downstream are queued or end themselves, and runs get their result.
"""

from __future__ import annotations

from dataclasses import dataclass

from buildmaster.database import Cursor
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.step import AttemptEnd, end_attempts
from buildmaster.store.text import storable
from protocol.results import Result


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after how many seconds, the farm tries again by itself."""

    delays: tuple[float, ...] = (2.0, 10.0, 60.0)  #: the last one repeats
    refusal: float = 900.0  #: seconds for which a worker is passed over


async def end_attempt(cursor: Cursor, end: AttemptEnd, policy: RetryPolicy) -> str:
    """End an attempt: "done", "again" (another one waits) or "stale" (no such lease)."""
    became = await end_attempts(
        cursor, [end], delays=policy.delays, refused_for=policy.refusal
    )
    return became[end.job, end.attempt]


async def refused(
    cursor: Cursor, worker: str, job: int, attempt: int, reason: str, policy: RetryPolicy
) -> None:
    """Act on a worker that would not take an order: nobody's fault while another can.

    With no other worker left it counts as the farm's failure, so that the job is tried
    again later, and not for ever. Nothing happens if the lease is not the worker's, or
    it has accepted.
    """
    if not await queue.is_unaccepted(cursor, worker, job, attempt):
        return
    reason = storable(reason)
    [locked] = await job_store.lock(cursor, [job])
    if locked.cancelling or not await queue.refuse(
        cursor, job, worker, reason, policy.refusal
    ):
        reason = f"worker {worker} refused it: {reason}"
        end = AttemptEnd(job, attempt, Result.ERROR, reason, worker)
        await end_attempt(cursor, end, policy)
        return
    payload = {"state": "ready", "attempt": attempt, "reason": reason}
    await write_events(
        cursor, [Event("job.refused", job=job, worker=worker, payload=payload)]
    )
    await queue.give_back(cursor, worker, job, attempt)
