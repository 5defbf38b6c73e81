"""``headrace semaphore`` and ``cap``: how many jobs may be at work at a time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.table import Column, print_json, print_table

_COLUMNS: Sequence[Column] = (
    ("NAME", lambda each: each.get("name")),
    ("CAPACITY", lambda each: each.get("capacity")),
    ("HELD BY", lambda each: ", ".join(map(str, each.get("held_by") or ())) or None),
    ("ASIDE", lambda each: each.get("aside")),
)


def add(subparsers: Any) -> None:
    """Add both commands to the command line."""
    parser = subparsers.add_parser(
        "semaphore",
        help="limit how many jobs that name a semaphore run at a time",
        description="Limit how many of the jobs that name a semaphore run at a time.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    setting = commands.add_parser("set", help="make one, or change its capacity")
    setting.add_argument("name", metavar="NAME")
    setting.add_argument("capacity", metavar="CAPACITY", type=int)
    setting.set_defaults(act=_set)
    removing = commands.add_parser("remove", help="remove one that no open job names")
    removing.add_argument("name", metavar="NAME")
    removing.set_defaults(act=_remove)
    listing = commands.add_parser("list", help="list them, and who holds them")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(act=_list)
    parser = subparsers.add_parser(
        "cap",
        help="limit how many jobs of an owner run at a time",
        description="Limit how many jobs of an owner run at a time for an architecture;"
        " 'any' is that of jobs which run on any, 'none' takes the limit away.",
    )
    parser.add_argument("owner", metavar="OWNER")
    parser.add_argument("architecture", metavar="ARCHITECTURE")
    parser.add_argument("jobs", metavar="JOBS", type=number_or_none)
    parser.set_defaults(act=_cap)


def number_or_none(text: str) -> int | None:
    """What JOBS is on the command line."""
    return None if text == "none" else int(text)


async def _set(arguments: argparse.Namespace, context: Context) -> int:
    body = {"name": arguments.name, "capacity": arguments.capacity}
    await context.client().change("/api/v1/semaphores", body)
    context.console.say(f"{arguments.capacity} jobs may hold {arguments.name} at a time.")
    return 0


async def _remove(arguments: argparse.Namespace, context: Context) -> int:
    path = f"/api/v1/semaphores/{quote(arguments.name, safe='')}/remove"
    await context.client().change(path, {})
    context.console.say(f"There is no semaphore {arguments.name} any more.")
    return 0


async def _list(arguments: argparse.Namespace, context: Context) -> int:
    listed = await context.client().listing("semaphores", limit=1000)
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, documents)
    elif not documents:
        context.console.say("There are no semaphores.")
    else:
        print_table(context.console, _COLUMNS, documents)
    return 0


async def _cap(arguments: argparse.Namespace, context: Context) -> int:
    architecture = "" if arguments.architecture == "any" else arguments.architecture
    body = {
        "owner": arguments.owner,
        "architecture": architecture,
        "jobs": arguments.jobs,
    }
    told = await context.client().change("/api/v1/caps", body)
    limit = "any number of" if arguments.jobs is None else arguments.jobs
    context.console.say(
        f"{arguments.owner} may have {limit} jobs at work for {arguments.architecture};"
        f" {told.get('changed')} that were queued before heed it now, too."
    )
    return 0
