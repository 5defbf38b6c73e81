"""Finds the jobs of a filter, and the workers of a selector, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildmaster.database import Cursor
from buildmaster.patterns import FIELDS, Condition, Selector, Sort, like

#: Rows that one batch looks at, at most: few may be meant.
LOOKED_AT = 20_000

_COLUMNS: Mapping[str, str] = {
    "id": "j.id",
    "state": "j.state::text",
    "result": "coalesce(j.result::text, '')",
    "kind": "j.kind",
    "name": "j.name",
    "owner": "j.owner",
    "requester": "j.requester",
    "project": "coalesce(j.repository, '')",
    "group": "coalesce(j.concurrency_group, '')",
    "parked": "j.parked_for",
    "reason": "j.reason",
    "arch": "c.architecture",
    "isolation": "c.isolation::text",
    "performs": "c.performs",
    "worker": "coalesce((SELECT w.worker FROM running AS w WHERE w.job = j.id), '')",
    "run": "x.run",
    "series": "c.series",
    "tag": "c.tags",
}
_TESTS: Mapping[tuple[Sort, str], str] = {
    (Sort.TEXT, "="): "{column} = ANY (%s::text[])",
    (Sort.TEXT, "~"): "{column} LIKE ANY (%s::text[])",
    (Sort.NUMBER, "="): "{column} = ANY (%s::bigint[])",
    (Sort.NUMBER, "<"): "{column} < ALL (%s::bigint[])",
    (Sort.NUMBER, ">"): "{column} > ALL (%s::bigint[])",
    (Sort.LIST, "="): "{column} && %s::text[]",
    (Sort.LIST, "~"): (
        "EXISTS (SELECT FROM unnest({column}) AS one WHERE one LIKE ANY (%s::text[]))"
    ),
}


def _test(condition: Condition) -> tuple[str, list[Any]]:
    """A piece of SQL from the tables above, and its parameter."""
    sort = FIELDS[condition.field]
    operator = condition.operator.removeprefix("!")
    test = _TESTS[sort, operator].format(column=_COLUMNS[condition.field])
    if condition.field == "run":
        test = f"EXISTS (SELECT FROM run_job AS x WHERE x.job = j.id AND {test})"
    if condition.operator.startswith("!"):
        test = f"NOT ({test})"
    values = list(condition.values)
    if operator == "~":
        values = [like(str(value)) for value in values]
    return test, [values]


def _tests(conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    tests, parameters = [], list[Any]()
    for condition in conditions:
        test, values = _test(condition)
        tests.append(test)
        parameters += values
    return " AND ".join(tests), parameters


def _source(conditions: Sequence[Condition]) -> str:
    """The smallest table that has all of them; what is of a state may stand in one."""
    for condition in conditions:
        if condition.field == "state" and condition.operator == "=":
            states = set(condition.values)
            if states == {"ready"}:
                return "(SELECT job AS id FROM ready UNION ALL SELECT job FROM aside)"
            if states <= {"assigned", "running"}:
                return "(SELECT job AS id FROM running)"
    return "job"


@dataclass(frozen=True)
class Batch:
    """Some of the jobs that are meant, by id."""

    jobs: tuple[int, ...]
    following: (
        int | None
    )  #: the id after which the next batch begins; None: it was the last


async def matching_jobs(
    cursor: Cursor, conditions: Sequence[Condition], after: int, most: int
) -> Batch:
    """The first jobs after ``after`` that meet all ``conditions``."""
    tests, parameters = _tests(conditions)
    found, last, looked_at = await cursor.one(
        f"""
        WITH looked_at AS MATERIALIZED (
            SELECT s.id FROM {_source(conditions)} AS s WHERE s.id > %s
            ORDER BY s.id LIMIT {LOOKED_AT}
        ), found AS (
            SELECT j.id FROM looked_at AS l JOIN job AS j ON j.id = l.id
            JOIN job_class AS c ON c.id = j.class
            WHERE {tests} ORDER BY j.id LIMIT %s
        )
        SELECT (SELECT coalesce(array_agg(id ORDER BY id), '{{}}') FROM found),
               (SELECT max(id) FROM looked_at), (SELECT count(*) FROM looked_at)
        """,
        (after, *parameters, most),
    )
    jobs = tuple(int(job) for job in found)
    if len(jobs) == most:
        return Batch(jobs, jobs[-1])
    return Batch(jobs, int(last) if looked_at == LOOKED_AT else None)


async def still_matching(
    cursor: Cursor, conditions: Sequence[Condition], jobs: Sequence[int]
) -> list[int]:
    """Those of ``jobs`` that meet the conditions now, by id; nobody changes them meanwhile.

    The caller has locked what of the line is theirs.
    """
    tests, parameters = _tests(conditions)
    await cursor.rows(
        """
        SELECT id FROM job WHERE id = ANY (%s::bigint[]) ORDER BY id FOR NO KEY UPDATE
        """,
        (list(jobs),),
    )
    rows = await cursor.rows(
        f"""
        SELECT j.id FROM job AS j JOIN job_class AS c ON c.id = j.class
        WHERE j.id = ANY (%s::bigint[]) AND {tests} ORDER BY j.id
        """,
        (list(jobs), *parameters),
    )
    return [int(job) for (job,) in rows]


_SELECTED: Mapping[str, str] = {
    "all": "%s = ''",
    "name": "w.name LIKE %s",
    "tag": "%s = ANY (w.tags)",
    "arch": (
        "EXISTS (SELECT FROM jsonb_array_elements(w.offers) AS offer"
        " WHERE offer ->> 'architecture' = %s)"
    ),
}


async def selected_workers(cursor: Cursor, selector: Selector) -> list[str]:
    """The names of the workers that are meant."""
    value = like(selector.value) if selector.kind == "name" else selector.value
    rows = await cursor.rows(
        f"""
        SELECT w.name FROM worker AS w WHERE {_SELECTED[selector.kind]}
        ORDER BY w.name LIMIT 10000
        """,
        (value,),
    )
    return [str(name) for (name,) in rows]
