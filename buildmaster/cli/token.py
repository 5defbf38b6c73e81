"""``headrace token``: which clients may ask, and for what."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.table import Column, moment, print_json, print_table

_SCOPES = ("read", "submit", "cancel", "operate", "admin")
_COLUMNS: Sequence[Column] = (
    ("NAME", lambda token: token.get("name")),
    ("STATE", lambda token: token.get("state")),
    ("SCOPES", lambda token: ",".join(token.get("scopes") or ())),
    ("PROJECT", lambda token: token.get("project")),
    ("MADE BY", lambda token: token.get("created_by")),
    ("MADE", lambda token: moment(token.get("created_at"))),
    ("LAST USED", lambda token: moment(token.get("last_used_at"))),
)


def add(subparsers: Any) -> None:
    """Add ``token`` with its own commands to the command line."""
    parser = subparsers.add_parser(
        "token",
        help="let clients ask the farm, and stop them",
        description="Let clients ask the farm, and stop them. Needs the farm's token, or"
        " one with the scope admin.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adding = commands.add_parser(
        "add",
        help="make a token",
        description="Make a token for a client, and print it once (HEADRACE_TOKEN).",
    )
    adding.add_argument("name", metavar="NAME", help="what to call it; for good")
    adding.add_argument(
        "--scope",
        action="append",
        choices=_SCOPES,
        required=True,
        dest="scopes",
        help="what it permits; may be repeated",
    )
    adding.add_argument(
        "--project",
        metavar="ADDRESS",
        help="only for repositories below this address: https://example.com/team",
    )
    adding.set_defaults(act=_add)
    revoking = commands.add_parser("revoke", help="end a token at once")
    revoking.add_argument("name", metavar="NAME", help="the token's name")
    revoking.set_defaults(act=_revoke)
    listing = commands.add_parser("list", help="list tokens, also those that were revoked")
    listing.set_defaults(act=_list)
    for each in (adding, listing):
        each.add_argument("--json", action="store_true", help="print JSON")


async def _add(arguments: argparse.Namespace, context: Context) -> int:
    body = {
        "name": arguments.name,
        "scopes": sorted(set(arguments.scopes)),
        "project": arguments.project,
    }
    made = await context.client().change("/api/v1/tokens", body)
    if arguments.json:
        print_json(context.console, [{"id": arguments.name, "kind": "token", **made}])
    else:
        # Nothing else on standard output: it can go straight into a file.
        context.console.say(str(made["token"]))
    return 0


async def _revoke(arguments: argparse.Namespace, context: Context) -> int:
    path = f"/api/v1/tokens/{quote(arguments.name, safe='')}/revoke"
    await context.client().change(path, {})
    context.console.say(f"The token {arguments.name} is good for nothing any more.")
    return 0


async def _list(arguments: argparse.Namespace, context: Context) -> int:
    listed = await context.client().listing("tokens", limit=1000)
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, documents)
    elif not documents:
        context.console.say("There are no tokens but the farm's own.")
    else:
        print_table(context.console, _COLUMNS, documents)
    return 0
