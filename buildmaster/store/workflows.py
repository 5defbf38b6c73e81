"""Workflows in the database: their steps, their events, and what masters do for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

from buildmaster.database import Cursor, Database
from buildmaster.workflow.history import Command, Ending, HistoryEvent, Wait
from buildmaster.workflow.naming import is_number

#: Where masters hear that there is something to do; a hint, as all notifications.
CHANNEL = "headrace_workflows"


class WorkflowState(Enum):
    """How far a workflow is."""

    OPEN = "open"  #: it waits, or is about to take a step
    PARKED = "parked"  #: its code failed, and is tried again from time to time
    DONE = "done"


#: Workflow, generation and seq: which command it is.
Place = tuple[int, int, int]


class WantedCollection(msgspec.Struct, frozen=True, kw_only=True):
    """What is waited for: all these members, each with a cell that has these values."""

    collection: str
    contains: tuple[str, ...]
    cell: dict[str, str] = {}


class PendingEvent(HistoryEvent, frozen=True, kw_only=True):
    """An event that has no place in the history yet."""

    id: int


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow whose row the transaction has, with what it is to deal with."""

    id: int
    name: str
    class_: str = msgspec.field(name="class")
    version: int
    generation: int
    position: int
    state: str
    tries: int
    owner: str
    pending: tuple[PendingEvent, ...]
    history: tuple[HistoryEvent, ...] | None  #: None: the caller has it
    commands: tuple[Command, ...] | None

    def place(self, seq: int) -> Place:
        """Which command one of its generation is."""
        return (self.id, self.generation, seq)

    @property
    def events(self) -> list[HistoryEvent]:
        """What is to be dealt with, in its places."""
        return [
            msgspec.structs.replace(each, n=self.position + number)
            for number, each in enumerate(self.pending)
        ]


async def due_workflows(database: Database, after: int, limit: int) -> list[int]:
    """Some workflows that have something to deal with, with ids above ``after``."""
    rows = await database.rows("SELECT due_workflows(%s, %s)", (after, limit))
    return [int(each) for (each,) in rows]


async def take(
    cursor: Cursor, workflow: int, known: tuple[int, int], most: int
) -> Taken | None:
    """Have the workflow until the transaction ends; None if another has it.

    ``known`` are the generation and the position up to which the caller has its history.
    """
    (text,) = await cursor.one(
        "SELECT take_workflow(%s, %s, %s, %s)::text", (workflow, *known, most)
    )
    return None if text is None else msgspec.json.decode(text, type=Taken)


async def record_step(
    cursor: Cursor,
    taken: Taken,
    dealt_with: int,
    commands: Sequence[Command],
    dropped: Sequence[int],
    waits: Sequence[Wait],
) -> list[int]:
    """Write what came of the first ``dealt_with`` events; the runs to cancel."""
    rows = await cursor.rows(
        "SELECT record_step(%s, %s::bigint[], %s::jsonb, %s::integer[], %s::jsonb)",
        (
            taken.id,
            [each.id for each in taken.pending[:dealt_with]],
            msgspec.json.encode(commands).decode(),
            list(dropped),
            msgspec.json.encode(waits).decode(),
        ),
    )
    return [int(run) for (run,) in rows]


async def end(cursor: Cursor, workflow: int, ending: Ending) -> list[int]:
    """End the workflow, or let it go on as new; the runs that are to be cancelled."""
    value = json.dumps(ending.value)
    if ending.result == "continued":
        rows = await cursor.rows(
            "SELECT continue_workflow(%s, %s::jsonb)", (workflow, value)
        )
    else:
        rows = await cursor.rows(
            "SELECT end_workflow(%s, %s::job_result, %s::jsonb, %s)",
            (workflow, ending.result, value, ending.reason),
        )
    return [int(run) for (run,) in rows]


async def park(
    cursor: Cursor, workflow: int, reason: str, cause: str, first: float, longest: float
) -> float:
    """Note why a step failed; the seconds after which it is tried again.

    ``first`` for the first time, then twice as long each time, and ``longest`` at most.
    """
    (was, seconds) = await cursor.one(
        """
        UPDATE workflow AS w
        SET state = 'parked', reason = %s, cause = %s, tries = w.tries + 1,
            next_try = farm_now() + make_interval(secs => pause.seconds),
            changed_at = farm_now()
        FROM (SELECT id, state, least(%s, %s * 2 ^ least(tries, 20)) AS seconds
              FROM workflow WHERE id = %s) AS pause
        WHERE w.id = pause.id RETURNING pause.state::text, pause.seconds
        """,
        (_text(reason, 4000), _text(cause, 20_000), longest, first, workflow),
    )
    if was != WorkflowState.PARKED.value:
        await cursor.rows(
            "SELECT tell_of_workflow('workflow.parked', w) FROM workflow AS w"
            " WHERE w.id = %s",
            (workflow,),
        )
    return float(seconds)


async def let_go(database: Database, master: str) -> None:
    """Let this master, which has just started, try what it left, and what is parked."""
    await database.run(
        "UPDATE workflow SET next_try = farm_now() WHERE state = 'parked'",
    )
    await database.run(
        "UPDATE workflow_outbox SET due = farm_now(), taken_by = NULL WHERE taken_by = %s",
        (master,),
    )


async def await_job(cursor: Cursor, place: Place, job: int, run: int) -> None:
    """Let the end of a job be told to the workflow, as what came of this command."""
    await cursor.run("SELECT await_job(%s, %s, %s, %s, %s)", (*place, job, run))


async def put_out(cursor: Cursor, place: Place) -> None:
    """Let some master see to a command after the commit, as it does to submissions."""
    await cursor.run(
        """
        INSERT INTO workflow_outbox (workflow, generation, seq, kind)
        VALUES (%s, %s, %s, 'build')
        """,
        place,
    )


async def await_collection(
    cursor: Cursor, place: Place, domain: str, wanted: WantedCollection
) -> None:
    """Tell the workflow when all members are there that it wants."""
    await cursor.run(
        "SELECT await_collection(%s, %s, %s, %s, %s, %s::text[], %s::jsonb)",
        (
            *place,
            wanted.collection,
            domain,
            list(wanted.contains),
            json.dumps(wanted.cell),
        ),
    )


async def refuse_command(cursor: Cursor, taken: Taken, seq: int, why: str) -> None:
    """Tell a workflow that the farm does not do what it asked for."""
    await add_event(
        cursor,
        taken.id,
        taken.generation,
        seq,
        "failed",
        {"message": why, "kind": "Refusal"},
    )


async def add_event(
    cursor: Cursor, workflow: int, generation: int, seq: int, kind: str, payload: Any
) -> None:
    """Tell a workflow what came of a command; the first time counts."""
    await cursor.run(
        """
        INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        VALUES (%(workflow)s, %(generation)s, %(kind)s, %(seq)s, %(payload)s::jsonb,
                command_key(%(generation)s, %(seq)s))
        ON CONFLICT DO NOTHING
        """,
        {
            "workflow": workflow,
            "generation": generation,
            "kind": kind,
            "seq": seq,
            "payload": json.dumps(payload),
        },
    )


async def savepoint(cursor: Cursor) -> None:
    """Remember this moment of the transaction."""
    await cursor.run("SAVEPOINT asked")


async def back(cursor: Cursor) -> None:
    """Take back what was done since `savepoint`."""
    await cursor.run("ROLLBACK TO SAVEPOINT asked")


async def fire_timers(database: Database, most: int) -> int:
    """Make events of timers that are due; how many."""
    (count,) = await database.one("SELECT fire_timers(%s)", (most,))
    return int(count)


async def next_time(database: Database) -> float | None:
    """Seconds until something is due without anybody telling."""
    (seconds,) = await database.one("SELECT next_workflow_time()")
    return None if seconds is None else float(seconds)


# The outbox.


class Chore(msgspec.Struct, frozen=True, kw_only=True):
    """Something of the outbox that this master does."""

    workflow: int
    generation: int
    seq: int
    tries: int  #: this one included; the fencing token
    kind: str  #: of the command
    name: str
    workflow_name: str
    owner: str
    arguments: Any
    options: dict[str, Any]
    is_late: bool  #: the time for all tries is over

    @property
    def key(self) -> str:
        """The same for every try of this command, and for no other."""
        return f"{self.workflow}/{self.generation}.{self.seq}"

    @property
    def place(self) -> Place:
        """Which command it is."""
        return (self.workflow, self.generation, self.seq)


async def take_chores(
    database: Database, kind: str, master: str, most: int, seconds: float
) -> list[Chore]:
    """Some that are due, which nobody else takes for so many seconds."""
    rows = await database.rows(
        """
        WITH due AS (
            SELECT o.workflow, o.generation, o.seq FROM workflow_outbox AS o
            WHERE o.kind = %s AND o.due <= farm_now()
            ORDER BY o.due LIMIT %s FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE workflow_outbox AS o
            SET tries = o.tries + 1, taken_by = %s,
                due = farm_now() + make_interval(secs => %s)
            FROM due
            WHERE (o.workflow, o.generation, o.seq)
                  = (due.workflow, due.generation, due.seq)
            RETURNING o.*
        )
        SELECT json_build_object(
            'workflow', t.workflow, 'generation', t.generation, 'seq', t.seq,
            'tries', t.tries, 'kind', c.kind, 'name', c.name,
            'workflow_name', w.name, 'owner', w.owner,
            'arguments', c.arguments, 'options', c.options,
            'is_late', coalesce(t.ends_at < farm_now(), false))::text
        FROM taken AS t JOIN workflow AS w ON w.id = t.workflow
        JOIN workflow_command AS c
          ON (c.workflow, c.generation, c.seq) = (t.workflow, t.generation, t.seq)
        ORDER BY t.workflow, t.seq
        """,
        (kind, most, master, seconds),
    )
    return [msgspec.json.decode(text, type=Chore) for (text,) in rows]


async def renew_chores(database: Database, chores: Sequence[Chore], seconds: float) -> None:
    """Keep them from others for so many seconds more."""
    await database.run(
        """
        UPDATE workflow_outbox AS o SET due = farm_now() + make_interval(secs => %s)
        FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::integer[])
            AS mine (workflow, generation, seq, tries)
        WHERE (o.workflow, o.generation, o.seq, o.tries)
              = (mine.workflow, mine.generation, mine.seq, mine.tries)
        """,
        (
            seconds,
            [each.workflow for each in chores],
            [each.generation for each in chores],
            [each.seq for each in chores],
            [each.tries for each in chores],
        ),
    )


async def settle_chore(cursor: Cursor, chore: Chore) -> bool:
    """Strike it off; False if somebody else has it, or nobody wants it any more."""
    gone = await cursor.run(
        """
        DELETE FROM workflow_outbox
        WHERE workflow = %s AND generation = %s AND seq = %s AND tries = %s
        """,
        (*chore.place, chore.tries),
    )
    return bool(gone)


async def finish_chore(database: Database, chore: Chore, kind: str, payload: Any) -> bool:
    """Strike it off, and tell its workflow what came of it; False as in `settle_chore`."""

    async def work(cursor: Cursor) -> bool:
        if not await settle_chore(cursor, chore):
            return False
        await add_event(cursor, *chore.place, kind, payload)
        return True

    return await database.transaction(work)


async def postpone_chore(database: Database, chore: Chore, seconds: float) -> None:
    """Let it be tried again, after so many seconds."""
    await database.run(
        """
        UPDATE workflow_outbox
        SET due = farm_now() + make_interval(secs => %s), taken_by = NULL
        WHERE workflow = %s AND generation = %s AND seq = %s AND tries = %s
        """,
        (seconds, *chore.place, chore.tries),
    )


async def await_run(cursor: Cursor, chore: Chore, run: int) -> None:
    """Let the end of a run be told to the workflow."""
    await cursor.run("SELECT await_run(%s, %s, %s, %s)", (*chore.place, run))


# From outside.


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow, in short."""

    id: int
    name: str
    class_: str = msgspec.field(name="class")
    version: int
    state: str
    result: str | None
    generation: int = 1
    position: int = 0
    history_removed_at: str | None = None


async def find(cursor: Cursor | Database, name: str) -> Found | None:
    """The workflow of that name, the newest if there were several, or of that number."""
    column = "id = %s::bigint" if is_number(name) else "name = %s"
    row = await cursor.row(
        f"""
        SELECT json_build_object(
            'id', id, 'name', name, 'class', class, 'version', version, 'state', state,
            'result', result, 'generation', generation, 'position', position,
            'history_removed_at', to_char(history_removed_at AT TIME ZONE 'UTC',
                                          'YYYY-MM-DD HH24:MI UTC'))::text
        FROM workflow WHERE {column} ORDER BY id DESC LIMIT 1
        """,
        (name,),
    )
    return None if row is None else msgspec.json.decode(row[0], type=Found)


async def start(
    cursor: Cursor,
    *,
    name: str,
    class_: str,
    version: int,
    arguments: Any,
    seed: str,
    by: str,
    owner: str,
    timeout: float | None,
) -> int | None:
    """A new workflow; None if an open one has that name."""
    (made,) = await cursor.one(
        "SELECT start_workflow(%s, %s, %s, %s::jsonb, %s, %s, %s, %s)",
        (name, class_, version, json.dumps(arguments), seed, by, owner, timeout),
    )
    return None if made is None else int(made)


async def send(
    cursor: Cursor,
    workflow: int,
    kind: str,
    name: str | None,
    payload: Any,
    key: str,
    by: str,
) -> bool:
    """Add a signal or a cancel; False if it was there before, by its key."""
    added = await cursor.run(
        """
        INSERT INTO workflow_event (workflow, type, name, payload, dedupe_key, by, late)
        SELECT w.id, %s, %s, %s::jsonb, %s, %s, w.state = 'done' FROM workflow AS w
        WHERE w.id = %s ON CONFLICT DO NOTHING
        """,
        (kind, name, json.dumps(payload), key, by, workflow),
    )
    return bool(added)


async def history(
    database: Database, workflow: int, generation: int
) -> tuple[list[HistoryEvent], list[Command]]:
    """All of one generation that was dealt with."""
    (text,) = await database.one(
        """
        SELECT json_build_object(
            'events', coalesce((
                SELECT json_agg(event_json(e) ORDER BY e.n) FROM workflow_event AS e
                WHERE e.workflow = %(workflow)s AND e.generation = %(generation)s
                  AND e.n IS NOT NULL), '[]'),
            'commands', coalesce((
                SELECT json_agg(command_json(c) ORDER BY c.seq) FROM workflow_command AS c
                WHERE c.workflow = %(workflow)s AND c.generation = %(generation)s), '[]')
        )::text
        """,
        {"workflow": workflow, "generation": generation},
    )
    found = msgspec.json.decode(text, type=_History)
    return found.events, found.commands


async def forget_histories(cursor: Cursor, seconds: float, most: int) -> bool:
    """Remove some of what ended so long ago; whether there may be more of it."""
    (is_more,) = await cursor.one("SELECT forget_histories(%s, %s)", (seconds, most))
    return bool(is_more)


class _History(msgspec.Struct):
    events: list[HistoryEvent]
    commands: list[Command]


def _text(text: str, most: int) -> str:
    return text.replace("\0", "")[:most] or "no reason given"
