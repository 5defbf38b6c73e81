"""``headrace cancel`` and ``retry``: change what the farm does with a job."""

from __future__ import annotations

import argparse
from typing import Any

from buildmaster.cli.context import Context
from buildmaster.cli.naming import pipeline_job
from protocol.stages import title


def add(subparsers: Any) -> None:
    """Add both commands to the command line."""
    parser = subparsers.add_parser(
        "cancel", help="stop a job", description="Ask the farm to stop a job, or a run."
    )
    parser.add_argument("id", type=int, metavar="ID", help="the number of the job")
    parser.add_argument("--run", action="store_true", help="the number is that of a run")
    parser.add_argument(
        "--why", default="", metavar="TEXT", help="what to note as the reason"
    )
    parser.set_defaults(act=cancel)
    parser = subparsers.add_parser(
        "retry",
        help="run a job again",
        description="Queue another attempt of a job that is done. Stages that passed are"
        " kept unless --from-start is given.",
    )
    parser.add_argument("id", type=int, metavar="ID", help="the number of the job")
    parser.add_argument(
        "only",
        nargs="?",
        type=pipeline_job,
        metavar="JOB:INDEX",
        help="run that pipeline job, and what has not passed, and nothing else",
    )
    parser.add_argument("--from-start", action="store_true", help="run all stages again")
    parser.set_defaults(act=retry)


async def cancel(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once the farm has noted it."""
    kind = "run" if arguments.run else "job"
    await context.client().cancel(kind, arguments.id, arguments.why)
    context.console.say(f"The farm is stopping {kind} {arguments.id}.")
    return 0


async def retry(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once the new attempt is queued."""
    only = None if arguments.only is None else title(*arguments.only)
    retried = await context.client().retry(arguments.id, only, arguments.from_start)
    context.console.say(
        f"Job {retried.id} is {retried.state} again, as attempt {retried.attempt}."
    )
    return 0
