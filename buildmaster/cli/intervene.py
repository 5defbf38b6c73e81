"""``headrace cancel``, ``retry``, ``rescore`` and ``move``: change what becomes of jobs."""

from __future__ import annotations

import argparse
from typing import Any

from buildmaster.cli import bulk
from buildmaster.cli.context import Context
from buildmaster.cli.moments import span
from buildmaster.cli.naming import pipeline_job
from buildmaster.cli.problems import CommandFailed
from protocol.stages import title


def add(subparsers: Any) -> None:
    """Add the commands to the command line."""
    parser = subparsers.add_parser(
        "cancel",
        help="stop a job",
        description="Ask the farm to stop a job, or a run, or with --where many jobs.",
    )
    parser.add_argument("id", type=int, nargs="?", metavar="ID", help="number of the job")
    parser.add_argument("--run", action="store_true", help="the number is that of a run")
    parser.add_argument(
        "--why", "--reason", default="", metavar="TEXT", help="what to note as the reason"
    )
    bulk.add_options(parser)
    parser.set_defaults(act=cancel)
    parser = subparsers.add_parser(
        "retry",
        help="run a job again",
        description="Queue another attempt of a job that is done. Stages that passed are"
        " kept unless --from-start is given.",
    )
    parser.add_argument("id", type=int, nargs="?", metavar="ID", help="number of the job")
    parser.add_argument(
        "only",
        nargs="?",
        type=pipeline_job,
        metavar="JOB:INDEX",
        help="run that pipeline job, and what has not passed, and nothing else",
    )
    parser.add_argument("--from-start", action="store_true", help="run all stages again")
    parser.add_argument(
        "--hold",
        type=span,
        metavar="SPAN",
        help="if it fails, hold its environment for 1h, say, for 'headrace shell'; needs"
        " the farm's token, or one with the scope admin",
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="with --where: why")
    bulk.add_options(parser)
    parser.set_defaults(act=retry)
    _add_rescore(subparsers)
    _add_move(subparsers)


def _add_rescore(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "rescore",
        help="let a job go earlier or later",
        description="Give a job another score: higher ones go first, 500000 is usual. Needs"
        " the farm's token, or one with the scope admin.",
    )
    parser.add_argument("id", type=int, nargs="?", metavar="ID", help="number of the job")
    parser.add_argument(
        "score", type=_score, metavar="SCORE", help="0 to 1000000, or own: as it was"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="what to note")
    bulk.add_options(parser)
    parser.set_defaults(act=rescore)


def _add_move(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "move",
        help="let a job run on one worker only",
        description="Let a job that has not begun run on a named worker, or on any again."
        " Needs the farm's token, or one with the scope admin.",
    )
    parser.add_argument("id", type=int, metavar="ID", help="the number of the job")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--worker", metavar="NAME", help="the only one that may run it")
    place.add_argument("--any", action="store_true", help="any that suits it, again")
    parser.add_argument("--reason", default="", metavar="TEXT", help="what to note")
    parser.set_defaults(act=move)


def _score(text: str) -> int | None:
    if text == "own":
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 to 1000000 nor 'own'")
    return int(text)


async def cancel(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once the farm has noted it."""
    if bulk.is_meant(arguments):
        if arguments.run:
            raise CommandFailed("--run goes with a number; of a run's jobs say run=ID.")
        return await bulk.change(context, "cancel", arguments, _why(arguments.why))
    kind = "run" if arguments.run else "job"
    await context.client().cancel(kind, arguments.id, arguments.why)
    context.console.say(f"The farm is stopping {kind} {arguments.id}.")
    return 0


async def retry(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once the new attempt is queued."""
    if bulk.is_meant(arguments):
        if arguments.from_start:
            raise CommandFailed("--from-start goes with the number of one job only.")
        if arguments.hold is not None:
            raise CommandFailed("--hold goes with the number of one job only.")
        return await bulk.change(context, "retry", arguments, _why(arguments.reason))
    only = None if arguments.only is None else title(*arguments.only)
    retried = await context.client().retry(
        arguments.id, only, arguments.from_start, arguments.hold
    )
    context.console.say(
        f"Job {retried.id} is {retried.state} again, as attempt {retried.attempt}."
    )
    if arguments.hold is not None:
        context.console.say(f"If it fails: headrace shell {retried.id}")
    return 0


async def rescore(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once it has the score."""
    why = _why(arguments.reason)
    if bulk.is_meant(arguments):
        return await bulk.change(context, "rescore", arguments, why, score=arguments.score)
    body = {"score": arguments.score, "reason": why}
    await context.client().change(f"/api/v1/jobs/{arguments.id}/rescore", body)
    score = "its own score" if arguments.score is None else f"the score {arguments.score}"
    context.console.say(f"Job {arguments.id} has {score} now.")
    return 0


async def move(arguments: argparse.Namespace, context: Context) -> int:
    """Ask; 0 once it may run there only."""
    body = {"worker": arguments.worker, "reason": _why(arguments.reason)}
    await context.client().change(f"/api/v1/jobs/{arguments.id}/move", body)
    where = f"worker {arguments.worker} only" if arguments.worker else "any worker"
    context.console.say(f"Job {arguments.id} may run on {where} now.")
    return 0


def _why(text: str) -> str:
    return text.strip() or "no reason given"
