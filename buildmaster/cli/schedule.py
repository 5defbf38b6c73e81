"""``headrace schedule``: begin workflows, pipelines and jobs at times of a calendar."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.problems import CommandFailed
from buildmaster.cli.table import Column, print_json, print_table

_COLUMNS: Sequence[Column] = (
    ("NAME", lambda each: each.get("name")),
    ("CRON", lambda each: each.get("cron")),
    ("ZONE", lambda each: each.get("zone")),
    ("STATE", lambda each: each.get("state")),
    ("NEXT", lambda each: each.get("next_at")),
    ("LAST", lambda each: _last(each.get("times") or [])),
    ("STARTS", lambda each: json.dumps(each.get("starts"))[:60]),
)


def add(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "schedule",
        help="begin workflows, pipelines and jobs at times of a calendar",
        description="Begin workflows, pipelines and jobs at times of a calendar.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adding = commands.add_parser("add", help="make one")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument(
        "cron", metavar="CRON", help="as '30 2 * * mon-fri', or @hourly, @daily ..."
    )
    adding.add_argument(
        "starts",
        metavar="WHAT",
        help='JSON: {"workflow": {"class": ..., "arguments": ...}}, {"run": ...} as the'
        ' body of POST /api/v1/runs, or {"jobs": {"jobs": [...]}}',
    )
    adding.add_argument(
        "--zone", default="UTC", metavar="ZONE", help="as Europe/Berlin; UTC without it"
    )
    adding.add_argument(
        "--overlap",
        choices=("skip", "queue", "replace"),
        default="skip",
        help="what to do while the last one is under way; skip without it",
    )
    adding.add_argument(
        "--catch-up",
        choices=("none", "last", "all"),
        default="last",
        help="which of the times that were missed are made up for; last without it",
    )
    adding.add_argument(
        "--limit", type=int, default=10, metavar="N", help="so many at most; 10 without it"
    )
    adding.set_defaults(act=_add)
    for word, what in (
        ("remove", "forget one; what it started goes on"),
        ("pause", "let its times pass"),
        ("resume", "go on with its first time from now on"),
    ):
        changing = commands.add_parser(word, help=what)
        changing.add_argument("name", metavar="NAME")
        changing.set_defaults(act=_change, word=word)
    listing = commands.add_parser("list", help="list them, and when they come next")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(act=_list)


async def _add(arguments: argparse.Namespace, context: Context) -> int:
    try:
        starts = json.loads(arguments.starts)
    except ValueError as error:
        raise CommandFailed(f"WHAT is not JSON: {error}.") from error
    body = {
        "name": arguments.name,
        "cron": arguments.cron,
        "zone": arguments.zone,
        "starts": starts,
        "overlap": arguments.overlap,
        "catch_up": arguments.catch_up,
        "catch_up_limit": arguments.limit,
    }
    told = await context.client().change("/api/v1/schedules", body)
    context.console.say(f"Schedule {told['name']} comes first at {told['next_at']}.")
    return 0


async def _change(arguments: argparse.Namespace, context: Context) -> int:
    name, word = arguments.name, arguments.word
    path = f"/api/v1/schedules/{quote(name, safe='')}/{word}"
    told = await context.client().change(path, {})
    said = {
        "remove": f"There is no schedule {name} any more.",
        "pause": f"Schedule {name} lets its times pass.",
        "resume": f"Schedule {name} comes next at {told.get('next_at')}.",
    }
    context.console.say(said[word])
    return 0


async def _list(arguments: argparse.Namespace, context: Context) -> int:
    listed = await context.client().listing("schedules", limit=1000)
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, documents)
    elif not documents:
        context.console.say("There are no schedules.")
    else:
        print_table(context.console, _COLUMNS, documents)
    return 0


def _last(times: Sequence[Any]) -> str | None:
    return f"{times[0]['at']} {times[0]['state']}" if times else None
