"""Workflows as JSON documents: a list, one, and the history of one."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database
from buildmaster.status.questions import LARGEST_LIMIT, Workflows, WorkflowTimeline
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page, tests_of
from buildmaster.store.events import CURSOR
from buildmaster.workflow.naming import is_number

_MICROSECONDS = "to_timestamp(({}) / 1000000.0)"

_MISSING = """(
    SELECT json_agg(wanted.member ORDER BY wanted.member)
      FROM workflow_collection_wait cw
     CROSS JOIN LATERAL unnest(cw.contains) AS wanted (member)
     WHERE wait.value ->> 'what' = 'collection'
       AND cw.workflow = w.id AND cw.generation = w.generation
       AND cw.seq = (wait.value ->> 'seq')::integer
       AND NOT EXISTS (
           SELECT FROM collection_member m
            WHERE m.collection = cw.collection AND m.trust_domain = cw.trust_domain
              AND m.member = wanted.member AND m.cell @> cw.cell))"""

_WAIT: Mapping[str, str] = {
    "what": "wait.value ->> 'what'",
    "name": "wait.value ->> 'name'",
    "since": at(_MICROSECONDS.format("(wait.value ->> 'since')::double precision")),
    "until": at(_MICROSECONDS.format("(wait.value ->> 'until')::double precision")),
    "seq": "(wait.value ->> 'seq')::integer",
    "job": "c.job",
    "run": "c.run",
    "workflow": "child.name",
    "missing": _MISSING,
}
_WAITS = f"""(
    SELECT coalesce(json_agg(json_build_object({pairs(_WAIT)}) ORDER BY wait.place), '[]')
      FROM jsonb_array_elements(w.waits) WITH ORDINALITY AS wait (value, place)
      LEFT JOIN workflow_command c
        ON c.workflow = w.id AND c.generation = w.generation
       AND c.seq = (wait.value ->> 'seq')::integer
      LEFT JOIN workflow child ON child.id = c.child
     WHERE wait.place <= {LARGEST_LIMIT})"""

_WORKFLOW: Mapping[str, str] = {
    "id": "w.id",
    "kind": "'workflow'",
    "name": "w.name",
    "workflow_class": "w.class",
    "version": "w.version",
    "state": "w.state",
    "result": "w.result",
    "reason": "w.reason",
    "owner": "w.owner",
    "requester": "w.requester",
    "generation": "w.generation",
    "events": "w.position",
    "waits": _WAITS,
    "parent": "(SELECT p.name FROM workflow p WHERE p.id = w.parent)",
    "created_at": at("w.created_at"),
    "changed_at": at("w.changed_at"),
    "finished_at": at("w.finished_at"),
    "deadline": at("w.deadline"),
    "next_try": at("w.next_try"),
}


def _some(column: str) -> str:
    return f"""(
        SELECT coalesce(json_agg(DISTINCT found.{column}), '[]')
          FROM (SELECT c.{column} FROM workflow_command c
                 WHERE c.workflow = w.id AND c.{column} IS NOT NULL
                 ORDER BY c.generation DESC, c.seq DESC LIMIT {LARGEST_LIMIT}) found)"""


_WHOLE: Mapping[str, str] = {
    **_WORKFLOW,
    "arguments": "w.arguments",
    "value": "w.value",
    "cause": "w.cause",
    "jobs": _some("job"),
    "runs": _some("run"),
    "children": f"""(
        SELECT coalesce(json_agg(found.name ORDER BY found.id), '[]')
          FROM (SELECT ch.id, ch.name FROM workflow ch WHERE ch.parent = w.id
                 ORDER BY ch.id LIMIT {LARGEST_LIMIT}) found)""",
    "cursor": CURSOR,
}


async def workflow_list(database: Database, asked: Workflows) -> Listing:
    """The workflows that are ``asked`` for."""
    tests, parameters = tests_of(
        asked, ("name", "owner"), {"state": "workflow_state", "result": "job_result"}
    )
    if asked.workflow_class is not None:
        tests.append("class = %s")
        parameters.append(asked.workflow_class)
    page = Page(
        "workflow s",
        "s.id",
        "JOIN workflow w ON w.id = shown.key",
        pairs(_WORKFLOW, asked.fields),
    )
    return await page.read(database, asked, tests, parameters)


def _found(name: str) -> str:
    """Names are no numbers, so the two are never confused."""
    return "w.id = %s::bigint" if is_number(name) else "w.name = %s"


async def workflow_document(database: Database, name: str) -> str | None:
    """One workflow, by its name or number, as JSON; None if there is none."""
    row = await database.row(
        f"""
        SELECT json_build_object({pairs(_WHOLE)})::text
          FROM workflow w WHERE {_found(name)} ORDER BY w.id DESC LIMIT 1
        """,
        (name,),
    )
    return None if row is None else str(row[0])


_SHORT = "CASE WHEN octet_length({0}::text) <= 2000 THEN {0} END"

_EVENT: Mapping[str, str] = {
    "n": "e.n",
    "at": at("e.at"),
    "what": "e.type",
    "kind": "NULL",
    "seq": "e.seq",
    "name": "e.name",
    "by": "e.by",
    "job": "NULL",
    "run": "NULL",
    "workflow": "NULL",
    "until": "NULL",
    "payload": _SHORT.format("e.payload"),
}
_COMMAND: Mapping[str, str] = {
    "n": "c.event",
    "at": at("c.given_at"),
    "what": "'asked'",
    "kind": "c.kind",
    "seq": "c.seq",
    "name": "c.name",
    "by": "NULL",
    "job": "c.job",
    "run": "c.run",
    "workflow": "(SELECT ch.name FROM workflow ch WHERE ch.id = c.child)",
    "until": at(_MICROSECONDS.format("(c.options ->> 'due')::double precision")),
    "payload": _SHORT.format("c.arguments"),
}


async def workflow_history(database: Database, asked: WorkflowTimeline) -> str | None:
    """A page of a history, by its events, as JSON; None if there is no such workflow."""
    after = -1 if asked.after is None else asked.after
    row = await database.row(
        f"""
        WITH w AS (
            SELECT w.id, coalesce(%s, w.generation) AS generation, w.state, w.position,
                   w.changed_at, w.history_removed_at
              FROM workflow w WHERE {_found(asked.workflow)} ORDER BY w.id DESC LIMIT 1
        ), page AS (
            SELECT e.* FROM workflow_event e, w
             WHERE e.workflow = w.id AND e.generation = w.generation AND e.n > %s
             ORDER BY e.n LIMIT %s
        ), moments AS (
            SELECT e.n, -1 AS seq, json_build_object({pairs(_EVENT)}) AS moment
              FROM page e
            UNION ALL
            SELECT c.event, c.seq, json_build_object({pairs(_COMMAND)})
              FROM workflow_command c, w
             WHERE c.workflow = w.id AND c.generation = w.generation
               AND c.event > %s AND c.event <= (SELECT max(n) FROM page)
        )
        SELECT json_build_object(
            'history', (SELECT coalesce(json_agg(moment ORDER BY n, seq), '[]')
                          FROM moments),
            'generation', w.generation, 'state', w.state, 'events', w.position,
            'changed_at', {at("w.changed_at")},
            'removed_at', {at("w.history_removed_at")},
            'next', (SELECT CASE WHEN count(*) = %s THEN max(n) END FROM page),
            'cursor', {CURSOR})::text
          FROM w
        """,
        (
            asked.generation,
            asked.workflow,
            after,
            asked.limit,
            after,
            asked.limit,
        ),
    )
    return None if row is None else str(row[0])
