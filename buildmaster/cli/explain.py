"""``headrace explain`` and ``forecast``: why a job waits or ended, and when it starts."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from buildmaster.cli.console import tone
from buildmaster.cli.context import Context
from buildmaster.cli.table import Column, moment, print_json, print_table

_SCORES: Sequence[Column] = (
    ("CLASS", lambda score: score.get("class") or "all"),
    ("WHAT", lambda score: _what(score)),
    ("FORECASTS", lambda score: score.get("forecasts")),
    ("CAME TRUE", lambda score: _percent(score.get("share"))),
    ("PROMISED", lambda score: _percent(score.get("nominal"))),
    ("EARLY", lambda score: score.get("early")),
    ("LATE", lambda score: score.get("late")),
)


def add(subparsers: Any) -> None:
    """Add both commands to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="say why a job waits, or why it ended",
        description="Say what a job waits for and when it should start; of one that runs,"
        " when it should end; of one that is done, why it ended so.",
    )
    parser.add_argument("id", type=int, metavar="ID", help="the job's number")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=explain)
    parser = subparsers.add_parser(
        "forecast",
        help="show how good forecasts were",
        description="Show how often jobs started within the time that 'explain' had told.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=forecast)


async def explain(arguments: argparse.Namespace, context: Context) -> int:
    """Print why."""
    document = await context.client().document(f"/api/v1/jobs/{arguments.id}/explain")
    told = msgspec.json.decode(document, type=dict[str, Any])
    if arguments.json:
        print_json(context.console, [told])
        return 0
    say = context.console.say
    state = told.get("result") or told.get("state")
    say(f"{told['kind']} {told['id']}: {told['name']}, {state}", tone(told.get("result")))
    say(f"  {told['summary']}")
    blocks = told.get("blocked_by") or []
    if len(blocks) > 1:
        say("  What stands in the way:")
        for block in blocks:
            say(f"    {block['kind']:18}{block['sentence']}")
    facts = (
        ("before it", _before(told.get("position"))),
        ("starts", _interval(told.get("start"))),
        ("ends", _interval(told.get("end"))),
    )
    for name, value in facts:
        if value:
            say(f"  {name + ':':12}{value}")
    return 0


async def forecast(arguments: argparse.Namespace, context: Context) -> int:
    """Print the scores."""
    listed = await context.client().listing("forecast")
    scores = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, scores)
    elif not scores:
        context.console.say("No forecast has come true, or failed to, yet.")
    else:
        print_table(context.console, _SCORES, scores)
    return 0


def _before(position: Mapping[str, Any] | None) -> str | None:
    if not position:
        return None
    own, all_ = position["of_class"], position["of_workers"]
    return f"{_number(own)} of its class, {_number(all_)} that its workers could take"


def _number(before: Mapping[str, Any]) -> str:
    return ("" if before["exact"] else "about ") + str(before["before"])


def _interval(interval: Mapping[str, Any] | None) -> str | None:
    if not interval:
        return None
    return (
        f"about {moment(interval['likely'])} UTC, between {moment(interval['earliest'])}"
        f" and {moment(interval['latest'])} ({_percent(interval['share'])})"
    )


def _percent(share: object) -> str:
    return f"{100 * float(str(share)):.0f} %"


def _what(score: Mapping[str, Any]) -> str | None:
    parts = (score.get("architecture"), score.get("isolation"), score.get("performs"))
    return " ".join(str(part) for part in parts if part) or None
