"""``headrace books``: whether the queue's books contradict themselves."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.table import Column, print_json, print_table

_COLUMNS: list[Column] = [
    ("WHAT", lambda one: one.get("what")),
    ("JOB", lambda one: one.get("job")),
    ("RUN", lambda one: one.get("run")),
    ("WORKER", lambda one: one.get("worker")),
    ("NAME", lambda one: one.get("name")),
    ("KEPT", lambda one: one.get("kept")),
    ("SHOULD BE", lambda one: one.get("should_be")),
]


def add(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "books",
        help="compare the queue's books with the facts",
        description="Work out anew all that the queue keeps beside the facts, and print"
        " where the two differ. The exit status is 1 if they do: that is a defect of the"
        " farm.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=_compare)


async def _compare(arguments: argparse.Namespace, context: Context) -> int:
    told = msgspec.json.decode(await context.client().document("/api/v1/books"))
    differences: list[dict[str, Any]] = told["differences"]
    if arguments.json:
        print_json(context.console, [{**one, "kind": "difference"} for one in differences])
    elif not differences:
        context.console.say("The books of the queue agree with the facts.")
    else:
        print_table(context.console, _COLUMNS, differences)
    return 1 if differences else 0
