"""``headrace status``: every question of the status, as it can be asked in other ways."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from buildmaster.cli.context import Context
from buildmaster.cli.problems import CommandFailed
from buildmaster.cli.status_tables import print_document
from buildmaster.cli.table import print_table
from buildmaster.client.status import HttpStatus
from buildmaster.status.asking import entry_fields, from_texts
from buildmaster.status.methods import METHODS, Method
from buildmaster.status.problems import StatusProblem

#: Columns of a table, unless ``--fields`` says which.
_COLUMNS = ("id", "kind", "name", "state", "result", "attempt", "worker", "created_at")
#: Those of questions about something else.
_OTHERS = {
    "audit": ("id", "at", "who", "address", "act", "outcome", "run", "job", "worker"),
    "stays": ("id", "who", "by", "address", "created_at", "last_used_at", "expires_at"),
}


def add(subparsers: Any) -> None:
    """Add ``status`` and its questions to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="ask anything of the farm's status",
        description="Ask the farm's status. The questions, their parameters and the JSON"
        " are those of /api/v1 and of Perspective Broker.",
    )
    questions = parser.add_subparsers(title="questions", metavar="QUESTION", required=True)
    for method in METHODS.values():
        _add_question(questions, method)


def _add_question(questions: Any, method: Method) -> None:
    parser = questions.add_parser(
        method.name, help=method.summary.rstrip(".").lower(), description=method.meaning
    )
    for field in method.fields:
        if field.required:
            parser.add_argument(_dest(field.name), metavar=field.name.upper())
        else:
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                dest=_dest(field.name),
                metavar="VALUE",
                help=_help(field.type),
            )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=partial(_ask, method))


def _dest(name: str) -> str:
    # A command keeps what it does in the same place, as ``act``.
    return f"asked_{name}"


def _help(kind: Any) -> str | None:
    """What the type says of itself."""
    for each in (kind, *getattr(kind, "__args__", ())):
        for meta in getattr(each, "__metadata__", ()):
            if meta.description:
                return str(meta.description)
    return None


async def _ask(method: Method, arguments: argparse.Namespace, context: Context) -> int:
    given = {
        field.name: str(value)
        for field in method.fields
        if (value := getattr(arguments, _dest(field.name))) is not None
    }
    try:
        question = from_texts(method, given)
        told = await getattr(HttpStatus(context.client()), method.name)(question)
    except StatusProblem as error:
        raise CommandFailed(f"{error}.".replace("..", ".")) from error
    document = told.plain()
    entries = document.get(method.name) if entry_fields(method.document) else None
    if arguments.json:
        # ASCII only, so that nothing in a name reaches a terminal as it is.
        for line in json.dumps(document, indent=2).splitlines():
            context.console.say(line)
    elif print_document(method.name, context.console, document):
        pass
    elif isinstance(entries, list):
        _print_list(context, entries, document, _OTHERS.get(method.name, _COLUMNS))
    else:
        _print_facts(context, document)
    return 0


def _print_list(
    context: Context,
    entries: list[Mapping[str, Any]],
    document: Mapping[str, Any],
    known: Sequence[str],
) -> None:
    if not entries:
        context.console.say("There is nothing of this sort.")
        return
    names = [name for name in known if name in entries[0]] or list(entries[0])
    columns = [(name.upper(), partial(_field, name)) for name in names]
    print_table(context.console, columns, entries)
    if document.get("next") is not None:
        context.console.say(f"There are more: --after {document['next']}")


def _print_facts(context: Context, document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            context.console.say(f"{name}:")
            columns = [(each.upper(), partial(_field, each)) for each in value[0]]
            print_table(context.console, columns, value)
        elif value not in (None, "", [], {}):
            context.console.say(f"{name + ':':20}{value}")


def _field(name: str, entry: Mapping[str, Any]) -> object:
    return entry.get(name)
