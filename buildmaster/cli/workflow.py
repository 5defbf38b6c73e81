"""``headrace workflow``: start, signal, ask, cancel workflows, see and replay them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from buildmaster.cli.context import Context
from buildmaster.cli.problems import FAILED, CommandFailed
from buildmaster.cli.table import Column, print_json, print_table
from buildmaster.client.workflows import Workflows

_COLUMNS: Sequence[Column] = (
    ("ID", lambda each: each.get("id")),
    ("NAME", lambda each: each.get("name")),
    ("CLASS", lambda each: each.get("workflow_class")),
    ("STATE", lambda each: each.get("result") or each.get("state")),
    ("WAITS FOR", lambda each: _waits(each) or each.get("reason") or None),
    ("CREATED", lambda each: each.get("created_at")),
)
_MOMENTS: Sequence[Column] = (
    ("N", lambda each: each.get("n")),
    ("AT", lambda each: each.get("at")),
    ("WHAT", lambda each: " ".join(filter(None, (each.get("what"), each.get("kind"))))),
    ("SEQ", lambda each: each.get("seq")),
    ("NAME", lambda each: each.get("name")),
    ("JOB", lambda each: each.get("job")),
    ("UNTIL", lambda each: each.get("until")),
    ("WITH", lambda each: _shown(each.get("payload"))),
)


def add(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "workflow",
        help="start, signal, ask, cancel and look at workflows",
        description="Workflows are Python that waits on the outside world. Arguments are"
        " JSON: a list, or a mapping by the names of the parameters.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    starting = commands.add_parser("start", help="start one, or join the one of that name")
    starting.add_argument("workflow_class", metavar="CLASS")
    _add_arguments(starting)
    starting.add_argument("--name", metavar="NAME", help="one open workflow has it")
    starting.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="it ends as timeout after that"
    )
    starting.add_argument(
        "--on-duplicate",
        choices=("join", "reject", "replace-after-close"),
        default="join",
        help="what to do if there is one of that name; join without it",
    )
    starting.add_argument("--json", action="store_true", help="print JSON")
    starting.set_defaults(act=_start)
    signalling = _one(commands, "signal", "send it a signal", _signal)
    signalling.add_argument("signal", metavar="SIGNAL")
    _add_arguments(signalling)
    signalling.add_argument(
        "--id", metavar="ID", help="what is sent twice with the same is dealt with once"
    )
    asking = _one(commands, "query", "ask it something", _query)
    asking.add_argument("query", metavar="QUERY")
    _add_arguments(asking)
    cancelling = _one(commands, "cancel", "ask it to end", _cancel)
    cancelling.add_argument("--why", default="", metavar="TEXT")
    showing = _one(commands, "history", "what reached it, and what it asked for", _history)
    showing.add_argument("--generation", type=int, metavar="N", help="the last without it")
    replaying = commands.add_parser(
        "replay",
        help="play a history with the code that is installed here",
        description="Play the history of a workflow, by name or from a file (NAME.json)"
        " that 'history --json' wrote, with the class as it is installed here: 0 if it"
        " still does the same, 1 with the first difference.",
    )
    replaying.add_argument("workflow", metavar="NAME|FILE")
    replaying.add_argument("--json", action="store_true", help="print JSON")
    replaying.set_defaults(act=_replay)
    listing = commands.add_parser("list", help="list them, and what they wait for")
    listing.add_argument("--state", metavar="STATE", help="open, parked or done")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(act=_list)


def _one(commands: Any, name: str, what: str, act: Any) -> Any:
    parser = commands.add_parser(name, help=what)
    parser.add_argument("workflow", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=act)
    return parser


def _add_arguments(parser: Any) -> None:
    parser.add_argument(
        "arguments", metavar="ARGUMENTS", nargs="?", default="[]", help="as JSON"
    )


def _arguments(arguments: argparse.Namespace) -> Any:
    try:
        found = json.loads(arguments.arguments)
    except ValueError as error:
        raise CommandFailed(f"ARGUMENTS is not JSON: {error}.") from error
    if not isinstance(found, list | dict):
        raise CommandFailed("ARGUMENTS is a JSON list, or a mapping.")
    return found


def _tell(arguments: argparse.Namespace, context: Context, told: Any, sentence: str) -> int:
    if arguments.json:
        for line in json.dumps(told, indent=2).splitlines():
            context.console.say(line)
    else:
        context.console.say(sentence)
    return 0


async def _start(arguments: argparse.Namespace, context: Context) -> int:
    told = await Workflows(context.client()).start(
        arguments.workflow_class,
        _arguments(arguments),
        name=arguments.name,
        execution_timeout=arguments.timeout,
        on_duplicate=arguments.on_duplicate,
    )
    verb = f"was there before, and is {told['state']}" if told["joined"] else "has begun"
    return _tell(arguments, context, told, f"Workflow {told['name']} {verb}.")


async def _signal(arguments: argparse.Namespace, context: Context) -> int:
    told = await Workflows(context.client()).signal(
        arguments.workflow, arguments.signal, _arguments(arguments), id=arguments.id
    )
    if told["repeated"]:
        said = "had this signal before: nothing was sent"
    elif told["state"] == "done":
        said = "has ended: the signal is recorded, and changes nothing"
    else:
        said = f"gets the signal {arguments.signal}"
    return _tell(arguments, context, told, f"Workflow {told['name']} {said}.")


async def _query(arguments: argparse.Namespace, context: Context) -> int:
    answer = await Workflows(context.client()).query(
        arguments.workflow, arguments.query, _arguments(arguments)
    )
    return _tell(arguments, context, answer, json.dumps(answer))


async def _cancel(arguments: argparse.Namespace, context: Context) -> int:
    told = await Workflows(context.client()).cancel(arguments.workflow, arguments.why)
    is_over = told["state"] == "done"
    said = "has ended already" if is_over else "is asked to end"
    return _tell(arguments, context, told, f"Workflow {told['name']} {said}.")


async def _history(arguments: argparse.Namespace, context: Context) -> int:
    workflows = Workflows(context.client())
    if arguments.json:
        text = await workflows.export(arguments.workflow, arguments.generation)
        return _tell(arguments, context, json.loads(text), "")
    moments: list[Mapping[str, Any]] = []
    after: int | None = None
    while True:
        page = await workflows.timeline(
            arguments.workflow, generation=arguments.generation, after=after
        )
        moments += page["history"]
        after = page["next"]
        if after is None:
            break
    if moments:
        print_table(context.console, _MOMENTS, moments)
    else:
        context.console.say(_why_empty(arguments.workflow, page))
    return 0


def _why_empty(workflow: str, page: Mapping[str, Any]) -> str:
    when = page.get("removed_at")
    if when is None:
        return f"Workflow {workflow} has no history of this generation, or none any more."
    return (
        f"The history of workflow {workflow} was removed at {when}: histories are kept for"
        f" a time only (workflow_history_age). How it ended: headrace status workflow."
    )


async def _replay(arguments: argparse.Namespace, context: Context) -> int:
    # Imported where they are needed: plug-ins take a while.
    from buildmaster.orchestration.classes import WorkflowClasses
    from buildmaster.workflow.failures import BadWorkflow, Divergence, Unexpected
    from buildmaster.workflow.testing import read_history, replay

    path = Path(arguments.workflow)
    if path.suffix == ".json":
        try:
            text = path.read_bytes()
        except OSError as error:
            raise CommandFailed(f"{path} cannot be read: {error}.") from error
    else:
        text = await Workflows(context.client()).export(arguments.workflow)
    try:
        history = read_history(text)
        definition = WorkflowClasses.found().find(history.class_, history.version)
        step = replay(history, definition.cls)
    except (ValueError, msgspec.ValidationError) as error:
        raise CommandFailed(f"{path} is no history of a workflow: {error}.") from error
    except (BadWorkflow, Divergence, Unexpected) as error:
        told = {"replays": False, "difference": str(error)}
        _tell(arguments, context, told, f"It does not replay: {error}.")
        return FAILED
    told = {
        "replays": True,
        "events": len(history.events),
        "commands": len(history.commands),
        "waits": [each.name for each in step.waits],
    }
    return _tell(
        arguments,
        context,
        told,
        f"{len(history.events)} events give the same {len(history.commands)} commands.",
    )


async def _list(arguments: argparse.Namespace, context: Context) -> int:
    listed = await context.client().listing("workflows", limit=1000, state=arguments.state)
    documents = [msgspec.json.decode(each, type=dict[str, Any]) for each in listed]
    if arguments.json:
        print_json(context.console, documents)
    elif not documents:
        context.console.say("There are no workflows.")
    else:
        print_table(context.console, _COLUMNS, documents)
    return 0


def _waits(document: Mapping[str, Any]) -> str:
    return ", ".join(_wait(each) for each in document.get("waits") or ())


def _wait(wait: Mapping[str, Any]) -> str:
    name = str(wait.get("name"))
    if wait.get("what") == "local":
        name = name.rpartition(":")[2]
    until = f" until {wait['until']}" if wait.get("until") else ""
    missing = f", missing {' and '.join(wait['missing'])}" if wait.get("missing") else ""
    return f"{wait.get('what')} {name} since {wait.get('since')}{until}{missing}"


def _shown(payload: object) -> str | None:
    if payload in (None, [], {}):
        return None
    text = json.dumps(payload)
    return text if len(text) <= 60 else f"{text[:57]}..."
