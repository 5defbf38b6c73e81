"""Compares what the books hold of nodes, edges and runs with what an oracle says."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.direct import Direct
from tests.oracle import Job, Wrong
from tests.oracle_expansion import cell_text
from tests.oracle_reuse import NodeEdge
from tests.oracle_submission import NodeOracle

_STATE = """
    SELECT json_build_object(
        'jobs', (
            SELECT json_object_agg(job.id, json_build_object(
                'name', job.name, 'cell', job.cell, 'part', job.part,
                'of', json_build_array(job.repository, job.source_digest,
                                       job.trust_domain),
                'scope', node.scope, 'covers', node.covers,
                'state', job.state, 'result', job.result, 'root', job.root_cause,
                'attempt', job.attempt, 'blocked_by', job.blocked_by,
                'cancelling', job.state <> 'done' AND job.cancel_asked_at IS NOT NULL,
                'worker', running.worker,
                'reused_from', node.reused_from, 'reused_attempt', node.reused_attempt,
                'verifies', node.verifies))
            FROM job JOIN node ON node.job = job.id
            LEFT JOIN running ON running.job = job.id WHERE job.id = ANY (%(jobs)s)),
        'runs', (
            SELECT json_object_agg(id, json_build_array(state, result, open_jobs))
            FROM run WHERE id = ANY (%(runs)s)),
        'edges', (
            SELECT json_agg(json_build_array(up, down, up_stage, require, up_attempt,
                                             label IS NOT NULL, handed -> 0, choice))
            FROM edge WHERE down = ANY (%(jobs)s)))
"""


def compare(books: Direct, oracle: NodeOracle) -> None:
    """The books say what the oracle says; or `Wrong`."""
    found = books.value(_STATE, {"jobs": list(oracle.jobs), "runs": list(oracle.runs)})
    for number, job in oracle.jobs.items():
        same(f"job {number}", found["jobs"][str(number)], _expected(oracle, job))
    for run, entry in oracle.runs.items():
        left = sum(oracle.jobs[job].state != "done" for job in entry.jobs)
        same(f"run {run}", found["runs"][str(run)], [entry.state, entry.result, left])
    same("edges", *(_edges(one) for one in (found["edges"] or [], _rows(oracle))))


def _expected(oracle: NodeOracle, job: Job) -> dict[str, object]:
    facts = oracle.facts[job.id]
    origin = facts.origin
    reused = facts.reused_from or (None, None)
    return {
        "name": facts.node.name,
        "cell": cell_text(facts.node.cell),
        "part": 0,
        "of": [origin.repository, origin.commit, origin.domain],
        "scope": facts.scope,
        "covers": list(facts.covers),
        "state": job.state,
        "result": job.result,
        "root": job.root,
        "attempt": job.number,
        "blocked_by": len(oracle.open_edges(job.id)),
        "cancelling": job.cancelling and job.state != "done",
        "worker": job.worker,
        "reused_from": reused[0],
        "reused_attempt": reused[1],
        "verifies": facts.verifies,
    }


def _rows(oracle: NodeOracle) -> list[list[Any]]:
    rows = []
    for edge in oracle.edges:
        assert isinstance(edge, NodeEdge)
        handed: dict[str, Any] | None = None
        if edge.handed is not None:
            handed = {"job": edge.handed.job}  # in jsonb's own order: short keys first
            if edge.handed.whole:
                handed["whole"] = True
            if edge.handed.folder:
                handed["folder"] = edge.handed.folder
            if edge.handed.patterns is not None:
                handed["patterns"] = list(edge.handed.patterns)
        rows.append(
            [edge.up, edge.down, edge.stage, edge.require, edge.saw,
             edge.label is not None, handed, edge.choice]
        )  # fmt: skip
    return rows


def _edges(rows: list[list[Any]]) -> list[str]:
    """Edges in an order, with those of the same choice instead of its number."""
    choices = defaultdict(list)
    for up, down, *_, choice in rows:
        choices[down, choice].append(up)
    return sorted(
        str([*row, sorted(choices[row[1], choice]) if choice is not None else None])
        for *row, choice in rows
    )


def same(what: str, found: object, expected: object) -> None:
    """`Wrong` if they are not."""
    if found != expected:
        raise Wrong(f"{what}: the books have {found}, it should be {expected}")
