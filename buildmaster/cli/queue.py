"""``headrace queue``: keep jobs from starting, and let them start again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.moments import until
from buildmaster.cli.table import Column, moment, print_json, print_table

_HOLDS: Sequence[Column] = (
    ("HELD", lambda hold: hold.get("id")),
    ("BY", lambda hold: hold.get("by")),
    ("SINCE", lambda hold: moment(hold.get("created_at"))),
    ("UNTIL", lambda hold: moment(hold.get("until"))),
    ("REASON", lambda hold: hold.get("reason")),
)


def add(subparsers: Any) -> None:
    """Add ``queue`` with its own commands to the command line."""
    parser = subparsers.add_parser(
        "queue",
        help="keep jobs from starting",
        description="Keep jobs from starting, and let them start again. What runs, runs on."
        " Needs the farm's token, or one with the scope admin.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    holding = commands.add_parser("hold", help="keep jobs from starting")
    holding.add_argument("--until", type=until, metavar="TIME", help="2h, or a time")
    holding.set_defaults(act=_hold)
    releasing = commands.add_parser("release", help="let them start again")
    releasing.set_defaults(act=_release, until=None)
    for each in (holding, releasing):
        each.add_argument(
            "what",
            type=_what,
            metavar="WHAT",
            help="farm, arch:NAME, or project:ADDRESS of a repository",
        )
        each.add_argument(
            "--reason", required=each is holding, default="over", metavar="TEXT", help="why"
        )
    listing = commands.add_parser("list", help="list what is held")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(act=_list)


def _what(text: str) -> tuple[str, str]:
    kind, _, name = text.partition(":")
    scopes = {"farm": "farm", "arch": "architecture", "project": "project"}
    if kind not in scopes or (kind == "farm") != (name == ""):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of farm, arch:NAME and project:ADDRESS"
        )
    return scopes[kind], name


async def _hold(arguments: argparse.Namespace, context: Context) -> int:
    scope, name = arguments.what
    body = {
        "scope": scope,
        "name": name,
        "reason": arguments.reason,
        "until": arguments.until,
    }
    await context.client().change("/api/v1/holds", body)
    context.console.say(f"{_named(scope, name)} is held: nothing of it starts any more.")
    return 0


async def _release(arguments: argparse.Namespace, context: Context) -> int:
    scope, name = arguments.what
    body = {"scope": scope, "name": name, "reason": arguments.reason}
    await context.client().change("/api/v1/holds/release", body)
    context.console.say(f"{_named(scope, name)} is let go.")
    return 0


async def _list(arguments: argparse.Namespace, context: Context) -> int:
    listed = await context.client().listing("holds")
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, documents)
    elif not documents:
        context.console.say("Nothing is held.")
    else:
        print_table(context.console, _HOLDS, documents)
    return 0


def _named(scope: str, name: str) -> str:
    return "The farm" if scope == "farm" else f"The {scope} {name}"
