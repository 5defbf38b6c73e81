"""``headrace enqueue``: asks for native jobs, one or a graph of them."""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from buildmaster.cli.console import Console, tone
from buildmaster.cli.context import Context
from buildmaster.cli.following import RunFollower
from buildmaster.cli.narration import in_words, seconds_between
from buildmaster.cli.problems import FAILED, CommandFailed, CommandMisused
from buildmaster.cli.table import print_json
from buildmaster.client.documents import RunDocument
from buildmaster.client.http import Client
from buildmaster.requests import Enqueued, GraphRequest, JobRequest, Submitted

_DESCRIPTION = """\
Ask for a native job: PERFORMS names a callable or a command that workers have, ARGUMENTS
is a JSON object for it. With --graph the jobs come from a file (JSON or YAML) with a list
'jobs', each as in the body of POST /api/v1/jobs.

Exit status: 0 once the farm has them; with --wait 0 if all of them passed, 1 if not.
"""


def add(subparsers: Any) -> None:
    """Add ``enqueue`` to the command line."""
    parser = subparsers.add_parser(
        "enqueue",
        help="queue a native job, or a graph of jobs",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("performs", nargs="?", metavar="PERFORMS", help="what to perform")
    parser.add_argument("arguments", nargs="?", metavar="ARGUMENTS", help="a JSON object")
    parser.add_argument(
        "--kind",
        help="a kind of job that says itself what it performs: leave PERFORMS out",
    )
    parser.add_argument("--graph", type=Path, metavar="FILE", help="the jobs, as a file")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        dest="tags",
        help="what its worker must have; may be repeated",
    )
    parser.add_argument("--worker", metavar="NAME", help="the only worker that may run it")
    parser.add_argument(
        "--needs",
        action="append",
        type=int,
        default=[],
        metavar="ID",
        help="start only when that job has passed; may be repeated",
    )
    parser.add_argument("--name", help="what to call it (default: what it performs)")
    parser.add_argument("--owner", help="whose share of the farm it uses")
    parser.add_argument("--wait", action="store_true", help="show its log, until it ends")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=enqueue)


async def enqueue(arguments: argparse.Namespace, context: Context) -> int:
    """Do it; the exit status."""
    if arguments.graph is not None:
        request = read_graph(arguments)
    else:
        request = GraphRequest(jobs=(one_job(arguments),))
    client = context.client()
    enqueued = await client.enqueue(request)
    if not arguments.json:
        announce(context.console, enqueued)
    return await see_through(arguments, context, client, enqueued)


async def see_through(
    arguments: argparse.Namespace,
    context: Context,
    client: Client,
    queued: Enqueued | Submitted,
) -> int:
    """What ``--wait`` and ``--json`` want of a run that was queued; the exit status."""
    run = None
    if arguments.wait:
        # Programs want the end only.
        console = Console(io.BytesIO(), False, False) if arguments.json else context.console
        run = await RunFollower(context.reactor, client, console, queued.run).follow()
    if arguments.json:
        await _print_jobs(client, context.console, queued, full=run is not None)
    elif run is not None:
        _conclude(context.console, run)
    return 0 if run is None or tone(run.result) == "good" else FAILED


def one_job(arguments: argparse.Namespace) -> JobRequest:
    """The job that the command line describes; raises `CommandMisused`."""
    performs, text = arguments.performs, arguments.arguments
    if arguments.kind is not None:
        if text is not None:
            raise CommandMisused("With --kind the kind says what the job performs.")
        performs, text = None, performs
    elif performs is None:
        raise CommandMisused("Name what the job performs, or a file with --graph.")
    given = {
        "name": arguments.name,
        "kind": arguments.kind or "native",
        "performs": performs,
        "arguments": _object(text),
        "needs": arguments.needs,
        "requirements": {"tags": arguments.tags or None, "worker": arguments.worker},
        "owner": arguments.owner,
    }
    try:
        return msgspec.convert(given, JobRequest)
    except msgspec.ValidationError as error:
        raise CommandMisused(f"There can be no such job: {error}.") from error


def _object(text: str | None) -> object:
    """What the argument holds; whether that is an object is checked with the rest."""
    if text is None:
        return {}
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandMisused(f"The arguments are not JSON: {error}.") from error


def read_graph(arguments: argparse.Namespace) -> GraphRequest:
    """The graph in the file that was named; raises `CommandFailed`."""
    path: Path = arguments.graph
    if (
        arguments.performs
        or arguments.kind
        or arguments.tags
        or arguments.needs
        or arguments.worker
    ):
        raise CommandMisused("With --graph the file says what each job is.")
    document = read_document(path, "graph")
    try:
        request = msgspec.convert(document, GraphRequest)
    except msgspec.ValidationError as error:
        raise CommandFailed(f"{path} is no graph: {error}.") from error
    named = {"name": arguments.name, "owner": arguments.owner}
    return msgspec.structs.replace(request, **{k: v for k, v in named.items() if v})


def read_document(path: Path, what: str) -> Any:
    """What the YAML or JSON file holds; raises `CommandFailed`."""
    try:
        return yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"The {what} {path} cannot be read: {error}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise CommandFailed(f"{path} is neither YAML nor JSON: {error}.") from error


def announce(console: Console, enqueued: Enqueued) -> None:
    """Say what was queued."""
    count = len(enqueued.jobs)
    console.say(f"Run {enqueued.run}: {count} job{'' if count == 1 else 's'}", "bold")
    shown = enqueued.jobs if count <= 20 else enqueued.jobs[:10]
    for job in shown:
        merged = ", which was asked for before" if job.merged else ""
        console.say(f"  job {job.id}: {job.name}, {job.state}{merged}")
    if len(shown) < count:
        console.say(f"  and {count - len(shown)} more: headrace jobs --run {enqueued.run}")
    for note in enqueued.notes:
        console.say(f"  note: {note}", "void")


async def _print_jobs(
    client: Client, console: Console, queued: Enqueued | Submitted, full: bool
) -> None:
    documents = [{**msgspec.to_builtins(job), "run": queued.run} for job in queued.jobs]
    if full:
        documents = [
            {
                **msgspec.json.decode(
                    await client.document(f"/api/v1/jobs/{job.id}"), type=dict[str, Any]
                ),
                "run": queued.run,
            }
            for job in queued.jobs
        ]
    print_json(console, documents)


def _conclude(console: Console, run: RunDocument) -> None:
    counts: Sequence[tuple[str | None, int]] = sorted(
        Counter(job.result for job in run.jobs).items(), key=str
    )
    told = ", ".join(f"{count} {in_words(result)}" for result, count in counts)
    taken = seconds_between(run.created_at, run.finished_at)
    line = f"Run {run.id} {in_words(run.result)}{taken}: {told}"
    console.say(line, tone(run.result))
