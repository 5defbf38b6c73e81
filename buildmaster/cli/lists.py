"""``headrace runs``, ``jobs`` and ``workers``: what the farm has, newest first."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.table import Column, moment, print_json, print_table, short_source

_RUNS: Sequence[Column] = (
    ("ID", lambda run: run.get("id")),
    ("STATE", lambda run: run.get("state")),
    ("RESULT", lambda run: run.get("result")),
    ("JOBS", lambda run: run.get("job_count")),
    ("SOURCE", short_source),
    ("WHAT", lambda run: run.get("repository") or run.get("name") or None),
    ("BY", lambda run: run.get("requester")),
    ("CREATED", lambda run: moment(run.get("created_at"))),
)
_JOBS: Sequence[Column] = (
    ("ID", lambda job: job.get("id")),
    ("STATE", lambda job: job.get("state")),
    ("RESULT", lambda job: job.get("result")),
    ("ATTEMPT", lambda job: job.get("attempt")),
    ("KIND", lambda job: job.get("kind")),
    ("NAME", lambda job: job.get("name")),
    ("ON", lambda job: job.get("architecture")),
    ("SOURCE", short_source),
    ("WORKER", lambda job: job.get("worker")),
    ("REASON", lambda job: job.get("reason") or None),
)
_WORKERS: Sequence[Column] = (
    ("NAME", lambda worker: worker.get("name")),
    ("STATE", lambda worker: worker.get("state")),
    ("DUTY", lambda worker: _duty(worker)),
    ("MAY JOIN", lambda worker: "yes" if worker.get("may_join") else "no"),
    ("RUNNING", lambda worker: _running(worker)),
    ("OFFERS", lambda worker: _offers(worker)),
    ("LAST HEARD", lambda worker: moment(worker.get("last_heard_at"))),
)
_STATES = {
    "runs": ("open", "sealed", "done"),
    "jobs": ("waiting", "ready", "assigned", "running", "parked", "done"),
}


def add(subparsers: Any) -> None:
    """Add the three commands to the command line."""
    for kind, columns in (("runs", _RUNS), ("jobs", _JOBS), ("workers", _WORKERS)):
        parser = subparsers.add_parser(
            kind, help=f"list {kind}", description=f"List the {kind} of the farm."
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(state=None, limit=None, run=None)
        if kind != "workers":
            parser.add_argument("--limit", type=int, metavar="N", help="at most so many")
            parser.add_argument("--state", choices=_STATES[kind], help="only those")
        if kind == "jobs":
            parser.add_argument("--run", type=int, metavar="ID", help="only those of a run")
        parser.set_defaults(act=partial(_list, kind, columns))


async def list_workers(arguments: argparse.Namespace, context: Context) -> int:
    """``headrace worker list``, which is ``headrace workers``."""
    arguments.state = arguments.limit = arguments.run = None
    return await _list("workers", _WORKERS, arguments, context)


async def _list(
    kind: str, columns: Sequence[Column], arguments: argparse.Namespace, context: Context
) -> int:
    listed = await context.client().listing(
        kind, state=arguments.state, limit=arguments.limit, run=arguments.run
    )
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        if kind == "workers":
            documents = [
                {**each, "id": each.get("name"), "kind": "worker"} for each in documents
            ]
        print_json(context.console, documents)
    elif not documents:
        context.console.say(f"There are no {kind}.")
    else:
        print_table(context.console, columns, documents)
    return 0


def _running(worker: Mapping[str, Any]) -> str:
    running = worker.get("running") or []
    jobs = ", ".join(str(each.get("job")) for each in running)
    return f"{len(running)} of {worker.get('slots')}" + (f": {jobs}" if jobs else "")


def _duty(worker: Mapping[str, Any]) -> str:
    duty = worker.get("duty") or "active"
    if worker.get("quarantine_reason"):
        duty = f"{duty}, in quarantine ({worker['quarantine_reason']})"
    if worker.get("duty_reason"):
        duty += f" ({worker['duty_reason']})"
    if worker.get("duty_until"):
        duty += f" until {moment(worker['duty_until'])}"
    return duty


def _offers(worker: Mapping[str, Any]) -> str:
    offers = worker.get("offers") or []
    return ", ".join(
        f"{each.get('isolation')}/{each.get('architecture')}"
        f" ({' '.join(map(str, each.get('series') or []))})"
        for each in offers
    )
