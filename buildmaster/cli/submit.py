"""``headrace submit``: asks for the pipeline of a git repository to be run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from buildmaster.cli.context import Context
from buildmaster.cli.enqueue import see_through
from buildmaster.cli.submitting import add_submission_options, announce, chosen_options
from buildmaster.cli.table import print_json
from buildmaster.requests import GitRequest, SubmissionRequest


def add(subparsers: Any) -> None:
    """Add ``submit`` to the command line."""
    parser = subparsers.add_parser(
        "submit",
        help="run the pipeline of a git repository",
        description="Ask the farm to run the pipeline of a git repository. Exit"
        " status: 0 once the farm has it; with --wait 0 if all of it passed, 1 if not.",
    )
    parser.add_argument("repository", help="its URL, or a path where the farm allows it")
    parser.add_argument(
        "revision", nargs="?", default="HEAD", help="commit, branch or tag (default: HEAD)"
    )
    add_submission_options(parser)
    parser.add_argument("--owner", help="whose share of the farm it uses")
    parser.add_argument("--wait", action="store_true", help="show its log, until it ends")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=submit)


async def submit(arguments: argparse.Namespace, context: Context) -> int:
    """Submit; 0 once the farm has it, with ``--wait`` once all has passed."""
    repository = arguments.repository
    # A path means something to the farm only when it is absolute.
    if "://" not in repository and Path(repository).is_dir():
        repository = os.path.abspath(repository)
    request = SubmissionRequest(
        source=GitRequest(repository=repository, revision=arguments.revision),
        owner=arguments.owner,
        **chosen_options(arguments),
    )
    client = context.client()
    submitted = await client.submit(request)
    if arguments.wait:
        if not arguments.json:
            announce(context.console, submitted)
        return await see_through(arguments, context, client, submitted)
    if arguments.json:
        jobs = [
            {
                "id": job.id,
                "kind": job.kind,
                "state": job.state,
                "result": job.result,
                "attempt": job.attempt,
                "name": job.name,
                "architecture": job.architecture,
                "merged": job.merged,
                "run": submitted.run,
            }
            for job in submitted.jobs
        ]
        print_json(context.console, jobs)
    else:
        announce(context.console, submitted)
        context.console.say(f"Dashboard: {client.url}/")
    return 0
