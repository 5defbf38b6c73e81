"""``headrace worker drain``, ``pause``, ``resume`` and ``retire``: who takes work."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import msgspec
from twisted.internet.task import deferLater

from buildmaster.cli.context import Context
from buildmaster.cli.moments import until

#: Seconds between two looks at what still runs.
_LOOK = 1.0

_DUTIES = {
    "drain": ("draining", "let a worker take nothing new, and empty itself"),
    "pause": ("paused", "let a worker take nothing new for now"),
    "resume": ("active", "let a worker take work again, and end its quarantine"),
    "retire": ("retired", "let a worker end what it runs, and join no more"),
}


def add_to(commands: Any) -> None:
    """Add the four commands to those of ``headrace worker``."""
    for name, (duty, help_) in _DUTIES.items():
        parser = commands.add_parser(
            name,
            help=help_,
            description=f"{help_[0].upper()}{help_[1:]}. This is kept over restarts.",
        )
        parser.add_argument(
            "selector",
            metavar="WORKERS",
            help="a name, which may have * and ?; tag:TAG; arch:ARCHITECTURE; or all",
        )
        is_resume = name == "resume"
        parser.add_argument(
            "--reason",
            required=not is_resume,
            default="back to work",
            metavar="TEXT",
            help="why, for all to read",
        )
        parser.set_defaults(act=partial(_set, duty), until=None, wait=False)
        if not is_resume:
            parser.add_argument(
                "--until",
                type=until,
                metavar="TIME",
                help="2h, or a time: active from then",
            )
            parser.add_argument(
                "--wait",
                action="store_true",
                help="return when nothing runs there any more",
            )


async def _set(duty: str, arguments: argparse.Namespace, context: Context) -> int:
    body = {
        "workers": arguments.selector,
        "duty": duty,
        "reason": arguments.reason,
        "until": arguments.until,
    }
    told = await context.client().change("/api/v1/duty", body)
    names = list(told["workers"])
    context.console.say(f"{', '.join(names)}: {duty}.")
    if arguments.wait:
        await _wait(context, set(names))
    return 0


async def _wait(context: Context, names: set[str]) -> None:
    said = None
    while left := await _running(context, names):
        line = f"Still running there: {left}."
        if line != said:
            context.console.say(line)
            said = line
        await deferLater(context.reactor, _LOOK)
    context.console.say("Nothing runs there any more.")


async def _running(context: Context, names: set[str]) -> str:
    listed = await context.client().listing("workers", limit=1000)
    workers = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    jobs = [
        f"job {one['job']} on {worker['name']}"
        for worker in workers
        if worker.get("name") in names
        for one in worker.get("running") or ()
    ]
    return ", ".join(jobs)
