"""``headrace worker``: which workers may join, and which take work."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any
from urllib.parse import quote

from buildmaster.cli import duty
from buildmaster.cli.context import Context
from buildmaster.cli.lists import list_workers
from buildmaster.cli.table import print_json


def add(subparsers: Any) -> None:
    """Add ``worker`` with its own commands to the command line."""
    parser = subparsers.add_parser(
        "worker",
        help="let workers join and take work, and stop them",
        description="Let workers join and take work, and stop them. All but 'list' needs"
        " the farm's token, or one with the scope admin.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adding = commands.add_parser(
        "add",
        help="make a token for a new worker",
        description="Let a worker join. Its token is printed once: put it into the worker's"
        " token_file, mode 0600.",
    )
    adding.set_defaults(act=partial(_make, "add"), within=None)
    rotating = commands.add_parser(
        "rotate",
        help="make another token",
        description="Make another token, and print it once. The old one stays good until"
        " the worker has joined with the new one.",
    )
    rotating.add_argument(
        "--within",
        type=float,
        metavar="HOURS",
        help="after which the old one ends in any case (default: 24)",
    )
    rotating.set_defaults(act=partial(_make, "rotate"))
    revoking = commands.add_parser(
        "revoke",
        help="let a worker join no more",
        description="Let a worker join no more. Its session ends at once; what it runs is"
        " given to others after the grace.",
    )
    revoking.set_defaults(act=_revoke)
    for each in (adding, rotating, revoking):
        each.add_argument("name", metavar="NAME", help="the worker's name")
    duty.add_to(commands)
    listing = commands.add_parser("list", help="list workers")
    listing.set_defaults(act=list_workers)
    for each in (adding, rotating, listing):
        each.add_argument("--json", action="store_true", help="print JSON")


async def _make(what: str, arguments: argparse.Namespace, context: Context) -> int:
    name = arguments.name
    if what == "add":
        made = await context.client().change("/api/v1/workers", {"name": name})
    else:
        body = {} if arguments.within is None else {"within": arguments.within * 3600}
        made = await context.client().change(f"{_path(name)}/rotate", body)
    if arguments.json:
        print_json(context.console, [{"id": name, "kind": "worker-token", **made}])
    else:
        # Nothing else on standard output: it can go straight into the file.
        context.console.say(str(made["token"]))
    return 0


async def _revoke(arguments: argparse.Namespace, context: Context) -> int:
    await context.client().change(f"{_path(arguments.name)}/revoke", {})
    context.console.say(f"Worker {arguments.name} may not join any more.")
    return 0


def _path(name: str) -> str:
    return f"/api/v1/workers/{quote(name, safe='')}"
