"""``headrace plan``: shows which builds a configuration makes; it can do without a farm."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from buildmaster.cli import references
from buildmaster.cli.configuration import (
    INVALID,
    VALID,
    problem_documents,
    read_file,
    say,
    say_json,
    say_problems,
)
from buildmaster.cli.farm_list import series_of_farm
from buildmaster.cli.problems import CommandMisused
from buildmaster.planner import CrossArchitecture, Plan, PlannedBuild, plan
from buildmaster.planning.model import MODES
from buildmaster.references.reading import is_references
from buildmaster.series import DEFAULT_SERIES, Series
from protocol.pipeline.configuration import Parsed, Problem, parse
from protocol.stages import dispatched, title

if TYPE_CHECKING:  # it brings the reactor, and without a farm the command is quick
    from buildmaster.cli.context import Context


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "plan",
        help="show which builds a configuration file makes",
        description="Show which builds a configuration file makes, and what they wait"
        " for. Exit status: 0 planned, 1 with errors, 2 the file cannot be read.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="usually .launchpad.yaml, or .headrace.yaml"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--cross-architecture",
        choices=MODES,
        default="orchestrate",
        metavar="MODE",
        help="orchestrate (the default): a stage waits for another architecture where it"
        " must; refuse: that is an error; barrier: every stage waits for the one before"
        " it on every architecture",
    )
    parser.add_argument(
        "--series",
        action="append",
        type=series,
        metavar="NAME=VERSION[:ARCH,...]",
        help="a release that the farm has; may be repeated, and replaces the usual list,"
        " or what the farm that HEADRACE_URL names has",
    )
    parser.add_argument(
        "--isolation",
        choices=("native", "chroot", "vm"),
        help="count only what the farm that HEADRACE_URL names runs so",
    )
    own = parser.add_argument_group("a .headrace.yaml only")
    own.add_argument(
        "--graph",
        choices=("text", "dot", "json"),
        help="how to print the nodes and what they wait for (default: text)",
    )
    own.add_argument("--trigger", metavar="EVENT", help="what starts the run")
    own.add_argument(
        "--since",
        metavar="REVISION",
        help="say what would be reused, if all had passed at that commit",
    )
    own.add_argument(
        "--farm",
        dest="act",
        action="store_const",
        const=ask_farm,
        help="ask the farm what would be reused of which job, and why the rest would run:"
        " of the work tree as it is, uncommitted changes included",
    )
    parser.set_defaults(act=show_plan)


def series(text: str) -> Series:
    """What ``--series`` says; without architectures every one is meant."""
    name, equals, rest = text.partition("=")
    version, colon, names = rest.partition(":")
    if not (name and equals and version):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VERSION:ARCH,ARCH")
    architectures = frozenset(one for one in names.split(",") if one)
    return Series(name, version, architectures if colon else None)


def show_plan(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status. Raises `CommandMisused` for an unreadable file."""
    text = read_file(arguments.file)
    known: Sequence[Series] = arguments.series or _usual(arguments.isolation)
    if len({one.name for one in known}) < len(known):
        raise CommandMisused("--series names the same release twice")
    if is_references(arguments.file):
        shown = references.look(
            arguments.file,
            text,
            arguments.trigger,
            known,
            arguments.cross_architecture,
            arguments.since,
        )
        form = "json" if arguments.json else arguments.graph or "text"
        return references.plan(arguments.file, shown, form)
    if arguments.graph or arguments.trigger or arguments.since:
        raise CommandMisused("--graph, --trigger and --since go with a .headrace.yaml")
    planned = _planned(parse(text), known, arguments.cross_architecture)
    if arguments.json:
        say_json(_document(planned))
    else:
        _show(arguments.file, planned)
    return INVALID if planned.errors else VALID


async def ask_farm(arguments: argparse.Namespace, context: Context) -> int:
    """The same with what the farm knows; the exit status."""
    # Imported where it is needed: without a farm the command is quick.
    from buildmaster.cli.farm_plan import look_at_farm

    text = read_file(arguments.file)
    if not is_references(arguments.file):
        raise CommandMisused("--farm goes with a .headrace.yaml")
    if arguments.since:
        raise CommandMisused("--since is for when no farm is asked: leave --farm out")
    shown = await look_at_farm(
        context.client(),
        arguments.file,
        text,
        trigger=arguments.trigger,
        series=arguments.series,
        mode=arguments.cross_architecture,
        isolation=arguments.isolation,
    )
    form = "json" if arguments.json else arguments.graph or "text"
    return references.plan(arguments.file, shown, form)


def _usual(isolation: str | None) -> Sequence[Series]:
    """The farm's own series where one is named, else the default ones."""
    url = os.environ.get("HEADRACE_URL")
    return series_of_farm(url, isolation) if url else DEFAULT_SERIES


def _planned(parsed: Parsed, known: Sequence[Series], mode: CrossArchitecture) -> Plan:
    """The plan, with everything that is wrong with the file itself.

    A file whose only errors are keys that nobody knows is planned as if it did not have
    them: one sees all at once what to correct and what will then happen.
    """
    if parsed.draft is None:
        return Plan(errors=parsed.errors, warnings=parsed.warnings)
    planned = plan(parsed.draft, known, mode)
    return msgspec.structs.replace(
        planned,
        errors=(*parsed.errors, *_with_lines(planned.errors, parsed)),
        warnings=(*parsed.warnings, *_with_lines(planned.warnings, parsed)),
    )


def _with_lines(problems: tuple[Problem, ...], parsed: Parsed) -> list[Problem]:
    return [
        msgspec.structs.replace(problem, line=parsed.lines.get(problem.where, problem.line))
        for problem in problems
    ]


def _document(planned: Plan) -> dict[str, Any]:
    return {
        "builds": [_build_document(build) for build in planned.builds],
        "skipped": msgspec.to_builtins(planned.skipped),
        "errors": problem_documents(planned.errors),
        "warnings": problem_documents(planned.warnings),
    }


def _build_document(build: PlannedBuild) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(build)
    document["stages"] = dispatched(build.stages)
    return document


def _show(path: str, planned: Plan) -> None:
    say_problems(path, "error", planned.errors)
    say_problems(path, "warning", planned.warnings)
    for build in planned.builds:
        part = f" (part {build.part})" if build.part else ""
        say(f"{build.architecture}{part}, in {build.series}")
        for wait in build.waits:
            say(f"  waits for stage {wait.stage} on {wait.architecture}")
        for number, stage in zip(build.stage_numbers, build.stages, strict=True):
            say(f"  stage {number}: {' '.join(title(*cell) for cell in stage)}")
    for skipped in planned.skipped:
        say(f"{skipped.architecture}, skipped: {skipped.reason}")
        say(f"  without {' '.join(skipped.jobs)}")
    if not planned.builds and not planned.errors:
        say("nothing would be built")
