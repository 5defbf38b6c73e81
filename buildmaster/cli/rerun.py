"""``headrace rerun`` and ``headrace release``: run jobs of a run again, and let one go."""

from __future__ import annotations

import argparse
from typing import Any

from buildmaster.cli.context import Context
from buildmaster.cli.table import print_json


def add(subparsers: Any) -> None:
    """Add the commands to the command line."""
    parser = subparsers.add_parser(
        "rerun",
        help="run jobs of a run again",
        description="Queue another attempt of jobs of a run, and of what is in their way."
        " What passed, and is not meant, is kept. Exit status: 1 if nothing is meant.",
    )
    parser.add_argument("run", type=int, metavar="RUN", help="number of the run")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument(
        "--failed",
        action="store_true",
        help="what ended badly, was cancelled or never ran (the default)",
    )
    scope.add_argument(
        "--from-here",
        metavar="JOB",
        help="the job of this identifier, and all that waits for it",
    )
    scope.add_argument(
        "--job", metavar="JOB", help="the job of this identifier, however it ended"
    )
    parser.add_argument("--package", metavar="NAME", help="only this package's")
    parser.add_argument(
        "--cell", metavar="AXIS=VALUE,...", help="only in this cell, as in arch=amd64"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=rerun)
    parser = subparsers.add_parser(
        "release",
        help="let a job go that waits for somebody",
        description="Let a job go that waits until somebody does so: a job with"
        " 'manual: true' in a .headrace.yaml.",
    )
    parser.add_argument("id", type=int, metavar="JOB", help="number of the job")
    parser.set_defaults(act=release)


async def rerun(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once the new attempts are queued."""
    scope = "failed"
    if arguments.from_here:
        scope = "from-here"
    elif arguments.job:
        scope = "node"
    body = {
        "scope": scope,
        "job": arguments.from_here or arguments.job,
        "package": arguments.package,
        "cell": arguments.cell,
    }
    done = await context.client().change(f"/api/v1/runs/{arguments.run}/rerun", body)
    if arguments.json:
        print_json(context.console, [done])
        return 0
    count = len(done["jobs"])
    what = "job is" if count == 1 else "jobs are"
    context.console.say(f"{count} {what} run again.")
    for sentence in done["added"]:
        context.console.say(f"  {sentence}", "void")
    return 0


async def release(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once it may go."""
    await context.client().change(f"/api/v1/jobs/{arguments.id}/release", {})
    context.console.say(f"Job {arguments.id} may go.")
    return 0
