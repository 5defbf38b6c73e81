"""``headrace recipe``: a job makes a source, and its pipeline builds it; one run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from buildmaster.cli.context import Context
from buildmaster.cli.enqueue import read_document, see_through
from buildmaster.cli.problems import CommandFailed
from buildmaster.cli.submitting import add_submission_options, announce, chosen_options
from buildmaster.requests import (
    JobRequest,
    MadeRequest,
    SubmissionRequest,
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
    return await see_through(arguments, context, client, submitted)


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
