"""``headrace show``: everything about one job."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from buildmaster.cli.console import Console, tone
from buildmaster.cli.context import Context
from buildmaster.cli.narration import in_words, seconds_between
from buildmaster.cli.table import Column, moment, print_json, print_table
from buildmaster.client.documents import JobDocument

_ATTEMPTS: tuple[Column, ...] = (
    ("ATTEMPT", lambda each: each["number"]),
    ("RESULT", lambda each: each["result"]),
    ("WORKER", lambda each: each["worker"]),
    ("STARTED", lambda each: moment(each["started_at"])),
    ("LOG", lambda each: f"{each['log_length'] or 0} bytes"),
    ("EXIT", lambda each: each["exit_status"]),
    ("OUTPUT", lambda each: _as_json(each["output"])),
    ("REASON", lambda each: each["reason"] or None),
)
_PIPELINE_JOBS: tuple[Column, ...] = (
    ("STAGE", lambda each: "-" if each["stage"] is None else each["stage"] + 1),
    ("JOB", lambda each: f"{each['name']}:{each['index']}"),
    ("STATE", lambda each: each["state"]),
    ("RESULT", lambda each: each["result"]),
    (
        "TOOK",
        lambda each: seconds_between(each["started_at"], each["finished_at"])[4:] or None,
    ),
    ("REASON", lambda each: each["reason"] or None),
)


def add(subparsers: Any) -> None:
    """Add ``show`` to the command line."""
    parser = subparsers.add_parser(
        "show", help="show a job", description="Show everything about one job."
    )
    parser.add_argument("id", type=int, metavar="ID", help="the job's number")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=show)


async def show(arguments: argparse.Namespace, context: Context) -> int:
    """Print the job."""
    client = context.client()
    if arguments.json:
        document = await client.document(f"/api/v1/jobs/{arguments.id}")
        print_json(context.console, [msgspec.json.decode(document, type=dict[str, Any])])
        return 0
    job = await client.job(arguments.id)
    _print_head(context.console, job)
    _print_part(context.console, _PIPELINE_JOBS, job.pipeline_jobs)
    _print_part(context.console, _ATTEMPTS, job.attempts)
    return 0


def _print_head(console: Console, job: JobDocument) -> None:
    state = in_words(job.result) if job.state == "done" else job.state
    console.say(f"{job.kind} {job.id}: {job.name}, {state}", tone(job.result) or "bold")
    facts = (
        ("why", job.reason),
        ("root cause", job.root_cause and f"job {job.root_cause}"),
        ("performs", job.performs),
        ("arguments", _as_json(job.arguments or None)),
        ("source", job.repository),
        ("commit or tree", job.source_digest),
        ("runs on", _place(job)),
        ("worker", job.worker),
        ("created", moment(job.created_at)),
        ("started", moment(job.started_at)),
        ("finished", moment(job.finished_at)),
        ("held", _held(job)),
    )
    for name, value in facts:
        if value:
            console.say(f"  {name + ':':16}{value}")


def _place(job: JobDocument) -> str:
    series = f" ({job.series})" if job.series else ""
    return f"{job.architecture or 'any architecture'}{series}, {job.isolation}"


def _held(job: JobDocument) -> str | None:
    """Which environment was held, and until when; that may be past."""
    for each in job.pipeline_jobs:
        if each.lingers_until is not None:
            until = moment(each.lingers_until)
            return f"{each.name}:{each.index} until {until} UTC: headrace shell {job.id}"
    return None


def _as_json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _print_part(console: Console, columns: tuple[Column, ...], parts: Any) -> None:
    if parts:
        console.say("")
        print_table(console, columns, [msgspec.to_builtins(each) for each in parts])
