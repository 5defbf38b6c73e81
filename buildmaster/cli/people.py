"""``headrace people``: who is logged in, and lines for a file of passwords."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.problems import CommandFailed
from buildmaster.cli.table import Column, moment, print_json, print_table
from buildmaster.people.passwords import BadPassword, new_hash
from buildmaster.people.person import is_name

_COLUMNS: Sequence[Column] = (
    ("NAME", lambda stay: stay.get("who")),
    ("BY", lambda stay: stay.get("by")),
    ("FROM", lambda stay: stay.get("address")),
    ("SINCE", lambda stay: moment(stay.get("created_at"))),
    ("LAST USED", lambda stay: moment(stay.get("last_used_at"))),
    ("UNTIL", lambda stay: moment(stay.get("expires_at"))),
    ("GROUPS", lambda stay: ",".join(stay.get("groups") or ())),
)


def add(subparsers: Any) -> None:
    """Add ``people`` with its own commands to the command line."""
    parser = subparsers.add_parser(
        "people",
        help="see who is logged in, and end it",
        description="See who is logged in, and end it; make lines for a file of passwords."
        " All but hash needs the farm's token, or one with the scope admin.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="list who is logged in")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(act=_list)
    ending = commands.add_parser(
        "end",
        help="end all that somebody is logged in with",
        description="End all that somebody is logged in with, at every master. Roles that"
        " are taken out of the settings are gone without this.",
    )
    ending.add_argument("name", metavar="NAME", help="the person's name")
    ending.set_defaults(act=_end)
    hashing = commands.add_parser(
        "hash",
        help="make a line for a file of passwords",
        description="Ask for a password, or read it as a line from standard input, and"
        " print the line for the file that the setting people.htpasswd names.",
    )
    hashing.add_argument("name", metavar="NAME", help="the person's name")
    hashing.set_defaults(act=_hash)


async def _list(arguments: argparse.Namespace, context: Context) -> int:
    listed = await context.client().listing("stays", limit=1000)
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, documents)
    elif not documents:
        context.console.say("Nobody is logged in.")
    else:
        print_table(context.console, _COLUMNS, documents)
    return 0


async def _end(arguments: argparse.Namespace, context: Context) -> int:
    told = await context.client().change("/api/v1/stays/end", {"who": arguments.name})
    if not told["ended"]:
        raise CommandFailed(f"Nobody named {arguments.name} is logged in.")
    context.console.say(f"{arguments.name} has to log in again.")
    return 0


def _hash(arguments: argparse.Namespace) -> int:
    if not is_name(arguments.name) or ":" in arguments.name:
        raise CommandFailed("A name has 200 printable characters at most, and no colon.")
    try:
        print(f"{arguments.name}:{new_hash(_password())}")
    except BadPassword as error:
        raise CommandFailed(f"This password cannot be taken: {error}.") from error
    return 0


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().removesuffix("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise CommandFailed("The two are not the same.")
    return password
