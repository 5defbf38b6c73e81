"""``headrace classify`` and ``rule``: say what failures are, or let rules find out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.table import Column, print_json, print_table

_CLASSES = ("known-issue", "infrastructure", "flaky")
_COLUMNS: Sequence[Column] = (
    ("RULE", lambda each: each.get("id")),
    ("CLASS", lambda each: str(each.get("classification")).replace("_", "-")),
    ("FAILURES", lambda each: each.get("failures")),
    ("PATTERN", lambda each: each.get("pattern")),
    ("PROJECT", lambda each: each.get("project")),
    ("JOB", lambda each: each.get("name")),
    ("NOTE", lambda each: each.get("note") or None),
    ("LINK", lambda each: each.get("link") or None),
)


def add(subparsers: Any) -> None:
    """Add both commands to the command line."""
    parser = subparsers.add_parser(
        "classify",
        help="say that a failure is no news, and why",
        description="Say what the failure of a job's current attempt is: lists and pages"
        " then show it apart from failures that nobody has looked at. 'none' takes it"
        " back.",
    )
    parser.add_argument("id", type=int, metavar="ID", help="number of the job")
    parser.add_argument(
        "classification",
        choices=(*_CLASSES, "none"),
        metavar="CLASS",
        help="known-issue, infrastructure, flaky, or none",
    )
    _add_words(parser)
    parser.set_defaults(act=_classify)
    parser = subparsers.add_parser(
        "rule",
        help="classify failures by what is in their logs",
        description="Rules look for a pattern in the last 4 MiB of the log of each failure,"
        " line by line, and in the reason of its end. The first rule that finds its"
        " pattern says what the failure is, unless somebody has said it.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adding = commands.add_parser("add", help="make one, for failures to come and of late")
    adding.add_argument(
        "classification",
        choices=_CLASSES,
        metavar="CLASS",
        help="known-issue, infrastructure or flaky",
    )
    adding.add_argument("pattern", metavar="PATTERN", help="a regular expression (RE2)")
    _add_words(adding)
    adding.add_argument(
        "--project", metavar="ADDRESS", help="only for repositories at or below it"
    )
    adding.add_argument("--name", metavar="JOB", help="only for jobs of this name")
    adding.add_argument(
        "--days",
        type=float,
        default=7.0,
        metavar="N",
        help="look at failures of so many days, too; 7 without it",
    )
    adding.set_defaults(act=_add)
    trying = commands.add_parser("try", help="look for a pattern in one job's log")
    trying.add_argument("pattern", metavar="PATTERN")
    trying.add_argument("id", type=int, metavar="ID", help="number of the job")
    trying.set_defaults(act=_try)
    removing = commands.add_parser("remove", help="end one")
    removing.add_argument("rule", type=int, metavar="RULE")
    removing.add_argument(
        "--forget", action="store_true", help="take back what it said of failures, too"
    )
    removing.set_defaults(act=_remove)
    listing = commands.add_parser("list", help="list them, and how much each has found")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(act=_list)


def _add_words(parser: Any) -> None:
    parser.add_argument("--note", default="", metavar="TEXT", help="what to tell people")
    parser.add_argument("--link", default="", metavar="URL", help="where more is told")


async def _classify(arguments: argparse.Namespace, context: Context) -> int:
    word = None if arguments.classification == "none" else _word(arguments)
    body = {"classification": word, "note": arguments.note, "link": arguments.link}
    await context.client().change(f"/api/v1/jobs/{arguments.id}/classify", body)
    said = "of no class" if word is None else arguments.classification
    context.console.say(f"The failure of job {arguments.id} is {said}.")
    return 0


async def _add(arguments: argparse.Namespace, context: Context) -> int:
    body = {
        "pattern": arguments.pattern,
        "classification": _word(arguments),
        "note": arguments.note,
        "link": arguments.link,
        "project": arguments.project,
        "name": arguments.name,
        "days": arguments.days,
    }
    told = await context.client().change("/api/v1/rules", body)
    context.console.say(
        f"Rule {told.get('id')} looks at failures from now on, and at those of the last"
        f" {arguments.days:g} days."
    )
    return 0


async def _try(arguments: argparse.Namespace, context: Context) -> int:
    body = {"pattern": arguments.pattern, "job": arguments.id}
    told = await context.client().change("/api/v1/rules/try", body)
    if not told.get("found"):
        context.console.say(f"The pattern is not in the end of job {arguments.id}'s log.")
        return 1
    context.console.say(f"Found: {told.get('text')}")
    return 0


async def _remove(arguments: argparse.Namespace, context: Context) -> int:
    path = f"/api/v1/rules/{arguments.rule}/remove"
    told = await context.client().change(path, {"forget": arguments.forget})
    more = (
        f" {told.get('forgotten')} failures are of no class now."
        if arguments.forget
        else ""
    )
    context.console.say(f"There is no rule {arguments.rule} any more.{more}")
    return 0


async def _list(arguments: argparse.Namespace, context: Context) -> int:
    listed = await context.client().listing("rules", limit=1000)
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, documents)
    elif not documents:
        context.console.say("There are no rules.")
    else:
        print_table(context.console, _COLUMNS, documents)
    return 0


def _word(arguments: argparse.Namespace) -> str:
    return str(arguments.classification).replace("-", "_")
