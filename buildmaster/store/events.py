"""Reading the event log after a cursor, so that nothing is missed or told twice.

``schema/0004_events.sql`` explains the order: (transaction, id), and only transactions
older than every one still in progress. An event that is committed but not yet readable
is *held back*; it becomes readable when the transactions before it have ended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from buildmaster.database import Database
from buildmaster.status.news import Happened
from buildmaster.store.documents.fragments import at

#: Events of one reading; also what one page of the JSON form may hold.
PAGE = 1000

_EVENT_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,19})\Z")
_LARGEST = 2**63 - 1

# Everything older than this is decided: nothing can still be committed before it.
_HORIZON = "pg_snapshot_xmin(pg_current_snapshot())"

#: The newest readable event as text, for the ``cursor`` of a document made by the same
#: statement: whatever the document does not show yet is told after it.
CURSOR = f"""coalesce(
    (SELECT cursor.transaction::text || '-' || cursor.id FROM event cursor
      WHERE cursor.transaction < {_HORIZON}
      ORDER BY cursor.transaction DESC, cursor.id DESC LIMIT 1), '0-0')"""

_EVENT = f"""
    e.transaction::text, e.id, e.kind, e.job, array_remove(
        array_append(ARRAY(SELECT x.run FROM run_job x WHERE x.job = e.job), e.run), NULL),
    coalesce(e.worker, CASE WHEN e.kind = 'job.done' THEN (
        SELECT a.worker FROM attempt a
         WHERE a.job = e.job AND a.number = (e.payload ->> 'attempt')::integer) END),
    j.kind, j.name, c.architecture,
    coalesce(j.repository, r.repository, CASE WHEN j.id IS NOT NULL THEN (
        SELECT q.repository FROM run_job x JOIN run q ON q.id = x.run
         WHERE x.job = j.id AND q.repository IS NOT NULL LIMIT 1) END),
    coalesce(j.source_digest, r.source_digest),
    coalesce(j.owner, r.owner), coalesce(j.requester, r.requester), j.limits IS NOT NULL,
    json_build_object(
        'id', e.transaction::text || '-' || e.id, 'kind', e.kind, 'at', {at("e.at")},
        'run', e.run, 'job', e.job, 'worker', e.worker, 'payload', e.payload)::text
"""


class BadEventId(Exception):
    """The client sent a cursor that is not one of ours, or not of this farm."""


@dataclass(frozen=True, order=True)
class EventId:
    """The place of an event in the log; as text it is opaque to clients."""

    transaction: int
    id: int

    def __str__(self) -> str:
        return f"{self.transaction}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """The event id that ``text`` writes, or `BadEventId`."""
        found = _EVENT_ID.match(text)
        if found is None:
            raise BadEventId("an event id looks like 1234-56, as the farm gave it")
        transaction, number = int(found[1]), int(found[2])
        if transaction > _LARGEST or number > _LARGEST:
            raise BadEventId("this event id is larger than any that the farm gives")
        return cls(transaction, number)


#: Before every event.
START = EventId(0, 0)


@dataclass(frozen=True, slots=True)
class About:
    """What an event's job, or else its run, is from its beginning to its end."""

    worker: str | None = None  #: of the event itself, or of the attempt that ended
    kind: str | None = None
    name: str | None = None
    architecture: str | None = None
    repository: str | None = None  #: of a job without one: of its run
    source_digest: str | None = None
    owner: str | None = None
    requester: str | None = None
    is_limited: bool = False  #: the job names semaphores


@dataclass(frozen=True)
class Event:
    """One event; ``document`` is its JSON, as every reader gets it."""

    id: EventId
    kind: str
    job: int | None
    runs: tuple[int, ...]  #: its own run, and those that its job belongs to
    document: str
    about: About = About()

    @cached_property
    def happened(self) -> Happened:
        """The event as followers get it."""
        return Happened(str(self.id), self.kind, self.document.encode())


@dataclass(frozen=True)
class Reading:
    """Events in order, and where the next reading goes on."""

    events: tuple[Event, ...]
    position: EventId  #: everything up to here has been told
    is_full: bool  #: there may be more at once
    holds_back: bool  #: committed events wait for an older transaction to end

    def document(self) -> bytes:
        """The events as a document."""
        events = ",".join(event.document for event in self.events)
        return f'{{"events":[{events}],"cursor":"{self.position}"}}'.encode()


async def newest(database: Database) -> EventId:
    """The place after which everything is news."""
    [text] = await database.one(f"SELECT {CURSOR}")
    return EventId.parse(text)


async def events_after(
    database: Database,
    after: EventId,
    *,
    until: EventId | None = None,
    run: int | None = None,
    job: int | None = None,
    limit: int = PAGE,
    within: tuple[str, ...] | None = None,
) -> Reading:
    """At most ``limit`` readable events after ``after``, oldest first.

    ``until`` is the last that may be told. With ``run`` only events of that run and of
    the jobs that belong to it; with ``job`` only those of that job; with
    ``within`` only those about these projects. `BadEventId` if
    ``after`` lies ahead of everything that this database can have told.
    """
    tests, parameters = _tests(after, until, run, job)
    if within is not None:
        tests.append("is_within(coalesce(j.repository, r.repository), %s::text[])")
        parameters.append(list(within))
    rows = await database.rows(
        f"""
        SELECT {CURSOR}, {_HORIZON}::text,
               EXISTS (SELECT FROM event WHERE transaction >= {_HORIZON}),
               page.*
          FROM (SELECT) always LEFT JOIN (
            SELECT {_EVENT} FROM event e
              LEFT JOIN job j ON j.id = e.job LEFT JOIN job_class c ON c.id = j.class
              LEFT JOIN run r ON r.id = e.run
             WHERE {" AND ".join(tests)} AND e.transaction < {_HORIZON}
             ORDER BY e.transaction, e.id LIMIT %s
        ) page ON true
        """,
        (*parameters, limit),
    )
    latest, horizon, holds_back = rows[0][:3]
    if after.transaction >= int(horizon):
        raise BadEventId(
            "this event id lies in the future of this farm: it came from another farm or"
            " from before its database was restored; read the status again"
        )
    events = tuple(_event(row[3:]) for row in rows if row[3] is not None)
    is_full = len(events) == limit
    if is_full:
        position = events[-1].id
    else:
        position = max(after, until or EventId.parse(latest))
    return Reading(events, position, is_full, holds_back)


def _tests(
    after: EventId, until: EventId | None, run: int | None, job: int | None
) -> tuple[list[str], list[Any]]:
    tests = ["(e.transaction, e.id) > (%s::text::xid8, %s)"]
    parameters: list[Any] = [str(after.transaction), after.id]
    if until is not None:
        tests.append("(e.transaction, e.id) <= (%s::text::xid8, %s)")
        parameters += [str(until.transaction), until.id]
    if run is not None:
        tests.append(
            "(e.run = %s OR e.job = ANY(ARRAY(SELECT job FROM run_job WHERE run = %s)))"
        )
        parameters += [run, run]
    if job is not None:
        tests.append("e.job = %s")
        parameters.append(job)
    return tests, parameters


def _event(row: Sequence[Any]) -> Event:
    transaction, number, kind, job, runs, *about, document = row
    place = EventId(int(transaction), number)
    return Event(place, kind, job, tuple(runs), document, About(*about))
