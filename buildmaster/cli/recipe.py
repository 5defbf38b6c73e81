"""``headrace recipe``: a job makes a source, and its pipeline builds it; one run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from buildmaster.cli.console import Console, tone
from buildmaster.cli.context import Context
from buildmaster.cli.enqueue import conclude, followed, read_document
from buildmaster.cli.problems import FAILED, CommandFailed
from buildmaster.cli.submitting import add_submission_options, announce, chosen_options
from buildmaster.cli.table import print_json
from buildmaster.client.http import Client
from buildmaster.requests import (
    JobRequest,
    MadeRequest,
    SubmissionRequest,
    Submitted,
    Text,
)

_DESCRIPTION = """\
Ask the farm for a recipe: a native job makes a source, and then its pipeline is run. FILE
is YAML (or JSON) with

  name      what the run is called
  sources   the job, as in a graph: performs, arguments, requirements, limits ...
  pipeline  a path beside FILE of the pipeline's file (default: .launchpad.yaml)
"""


class _Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    sources: JobRequest
    pipeline: Annotated[str, Meta(min_length=1, max_length=1000)] = ".launchpad.yaml"


def add(subparsers: Any) -> None:
    """Add ``recipe`` to the command line."""
    parser = subparsers.add_parser(
        "recipe",
        help="let a job make a source, and run its pipeline",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the recipe")
    add_submission_options(parser, with_file=False)
    parser.add_argument("--owner", help="whose share of the farm it uses")
    parser.add_argument("--wait", action="store_true", help="show its log, until it ends")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=recipe)


async def recipe(arguments: argparse.Namespace, context: Context) -> int:
    """Submit; 0 once the farm has it, with ``--wait`` once all has passed."""
    request = SubmissionRequest(
        source=read_recipe(arguments.file),
        owner=arguments.owner,
        **chosen_options(arguments),
    )
    client = context.client()
    submitted = await client.submit(request)
    if not arguments.json:
        announce(context.console, submitted)
    run = None
    if arguments.wait:
        run = await followed(context, client, submitted.run, quietly=arguments.json)
    if arguments.json:
        await _print_jobs(client, context.console, submitted, full=run is not None)
    elif run is not None:
        conclude(context.console, run)
    return 0 if run is None or tone(run.result) == "good" else FAILED


async def _print_jobs(
    client: Client, console: Console, submitted: Submitted, full: bool
) -> None:
    documents = [
        {**msgspec.to_builtins(job), "run": submitted.run} for job in submitted.jobs
    ]
    if full:
        documents = [
            msgspec.json.decode(await client.document(f"/api/v1/jobs/{job.id}"))
            for job in submitted.jobs
        ]
    print_json(console, documents)


def read_recipe(path: Path) -> MadeRequest:
    """The recipe in the file; raises `CommandFailed`."""
    document = read_document(path, "recipe")
    try:
        found = msgspec.convert(document, _Recipe)
    except msgspec.ValidationError as error:
        raise CommandFailed(f"{path} is no recipe: {error}.") from error
    file = path.parent / found.pipeline
    try:
        pipeline = file.read_text("utf-8")
        return msgspec.convert(
            {
                "kind": "made",
                "name": found.name,
                "by": msgspec.to_builtins(found.sources),
                "pipeline": pipeline,
            },
            MadeRequest,
        )
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"The pipeline of {path} cannot be read: {error}.") from error
    except msgspec.ValidationError as error:
        raise CommandFailed(f"The pipeline {file} cannot be sent: {error}.") from error
