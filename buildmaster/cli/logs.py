"""``headrace logs``: prints the log of a job, as it comes with ``--follow``."""

from __future__ import annotations

import argparse
from typing import Any

from buildmaster.cli.context import Context
from buildmaster.cli.naming import pipeline_job


def add(subparsers: Any) -> None:
    """Add ``logs`` to the command line."""
    parser = subparsers.add_parser(
        "logs",
        help="print the log of a job",
        description="Print the log of a job, or of one of its pipeline jobs. To a terminal"
        " it is shown without control characters except for colours.",
    )
    parser.add_argument("id", type=int, metavar="ID", help="the job's number")
    parser.add_argument(
        "only", nargs="?", type=pipeline_job, metavar="NAME:INDEX", help="that part only"
    )
    parser.add_argument("--attempt", type=int, metavar="N", help="of an earlier attempt")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until the attempt ended"
    )
    parser.set_defaults(act=logs)


async def logs(arguments: argparse.Namespace, context: Context) -> int:
    """Print it."""
    console = context.console
    try:
        await context.client().log(
            arguments.id,
            lambda data: console.log("log", data),
            attempt=arguments.attempt,
            only=arguments.only,
            follow=arguments.follow,
        )
    finally:
        console.end_log("log")
    return 0
