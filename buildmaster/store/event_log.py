"""Writes the event log: what changed, in the transaction that changes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from buildmaster.database import Cursor


@dataclass(frozen=True)
class Event:
    """A change of state that followers want to hear of."""

    kind: str  #: as in job.ready, run.done, worker.connected
    run: int | None = None
    job: int | None = None
    worker: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)


async def write_events(cursor: Cursor, events: Iterable[Event]) -> None:
    """Add ``events``, in their order, to the log."""
    rows = [
        {
            "kind": event.kind,
            "run": event.run,
            "job": event.job,
            "worker": event.worker,
            "payload": event.payload,
        }
        for event in events
    ]
    if rows:
        await cursor.run(
            """
            INSERT INTO event (kind, run, job, worker, payload)
            SELECT row.value ->> 'kind', (row.value ->> 'run')::bigint,
                   (row.value ->> 'job')::bigint, row.value ->> 'worker',
                   row.value -> 'payload'
            FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS row (value, place)
            ORDER BY row.place
            """,
            (json.dumps(rows),),
        )


async def tell_of_logs(cursor: Cursor, job: int) -> None:
    """Wake those who follow the log of ``job``, once this transaction is committed."""
    await cursor.run("SELECT pg_notify('headrace_logs', %s)", (str(job),))
