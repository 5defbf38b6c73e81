"""The entry point of ``headrace``: reads the command line, runs one command."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from buildmaster.cli.console import Console
from buildmaster.cli.context import Context, Interrupts
from buildmaster.cli.problems import FAILED, INTERRUPTED, CommandFailed
from buildmaster.cli.terminal import one_line
from buildmaster.client.http import ClientError, FarmRefused

#: Modules of this package, in the order of the help text.
COMMANDS = (
    "up",
    "run",
    "check",
    "plan",
    "submit",
    "enqueue",
    "recipe",
    "lists",
    "show",
    "status",
    "explain",
    "logs",
    "intervene",
    "rerun",
    "books",
    "classify",
    "queue",
    "worker",
    "token",
    "people",
    "semaphore",
    "workflow",
    "schedule",
    "image",
    "shell",
    "reproduce",
)

_EPILOGUE = """\
HEADRACE_URL names the farm to ask; without it, it is the one that 'headrace up' runs on
this machine. HEADRACE_TOKEN, or a file named by HEADRACE_TOKEN_FILE, lets you change
things there.
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``headrace`` and exit: 0 for success, 1 for a failure, 2 for wrong usage."""
    chosen = command_line().parse_args(arguments)
    if inspect.iscoroutinefunction(chosen.act):
        react(_in_reactor, (chosen,))
    try:
        status = int(chosen.act(chosen))
    except (CommandFailed, ClientError, BrokenPipeError) as error:
        status = _complain(error)
    sys.exit(status)


def command_line() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = _Parser(
        prog="headrace",
        description="Build pipelines on a farm of workers.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = f"{__package__}.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).add(subparsers)
    return parser


class _Parser(argparse.ArgumentParser):
    """Takes options by their whole names: another version has others that begin so."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **keywords})


def _in_reactor(reactor: Any, arguments: argparse.Namespace) -> Deferred[None]:
    return Deferred.fromCoroutine(_act(reactor, arguments))


async def _act(reactor: Any, arguments: argparse.Namespace) -> None:
    acting: Deferred[int]
    interrupts = Interrupts(reactor, lambda: acting.cancel())
    context = Context(reactor, Console.standard(), os.environ, interrupts)
    # Only a running reactor has put its own handlers, which ours replace, in place.
    running: Deferred[None] = Deferred()
    reactor.callWhenRunning(running.callback, None)
    await running
    interrupts.listen()
    try:
        acting = Deferred.fromCoroutine(arguments.act(arguments, context))
        status = await acting
    except (CommandFailed, ClientError, BrokenPipeError) as error:
        status = _complain(error)
    except CancelledError:
        status = INTERRUPTED
    raise SystemExit(status)


def _complain(error: Exception) -> int:
    """Say on standard error what went wrong; the exit status."""
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has left, and nobody is to hear of that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, FarmRefused):
        for problem in error.problems:
            place = f"line {problem.line}, " if problem.line else ""
            lines.append(f"    {place}{problem.where}: {problem.message}")
    for number, line in enumerate(lines):
        print(("headrace: " if number == 0 else "") + one_line(line), file=sys.stderr)
    return error.status if isinstance(error, CommandFailed) else FAILED
