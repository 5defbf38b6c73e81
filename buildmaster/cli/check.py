"""``headrace check``: says what is wrong with a configuration; needs no farm."""

from __future__ import annotations

import argparse
from typing import Any

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
from buildmaster.references.json_schema import schema
from buildmaster.references.reading import is_references
from protocol.pipeline.configuration import Parsed, parse
from protocol.pipeline.expanded import expanded


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "check",
        help="say what is wrong with a configuration file",
        description="Say what is wrong with a configuration file. Exit status: 0 valid,"
        " 1 invalid, 2 the file cannot be read.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="usually .launchpad.yaml, or .headrace.yaml"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--lpci-compatible",
        action="store_true",
        help="warn only of what lpci accepts, though it cannot work",
    )
    parser.add_argument(
        "--json-schema",
        action=_Schema,
        nargs=0,
        help="print the JSON Schema of .headrace.yaml, for editors",
    )
    parser.set_defaults(act=check)


class _Schema(argparse.Action):
    """Prints the schema, and that is all."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """As ``--help`` does."""
        say_json(schema())
        parser.exit(VALID)


def check(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status. Raises `CommandMisused` for an unreadable file."""
    text = read_file(arguments.file)
    if is_references(arguments.file):
        return references.check(arguments.file, text, arguments.json)
    parsed = parse(text, lpci_compatible=arguments.lpci_compatible)
    if arguments.json:
        say_json(_document(parsed))
    else:
        say_problems(arguments.file, "error", parsed.errors)
        say_problems(arguments.file, "warning", parsed.warnings)
        say(f"{arguments.file}: {_summary(parsed)}")
    return INVALID if parsed.pipeline is None else VALID


def _document(parsed: Parsed) -> dict[str, Any]:
    document: dict[str, Any] = {"pipeline": None, "jobs": None, "license": None}
    if parsed.pipeline is not None:
        document = expanded(parsed.pipeline)
    return {
        "valid": parsed.pipeline is not None,
        **document,
        "errors": problem_documents(parsed.errors),
        "warnings": problem_documents(parsed.warnings),
    }


def _summary(parsed: Parsed) -> str:
    if parsed.pipeline is None:
        return "not valid"
    stages = len(parsed.pipeline.stages)
    jobs = sum(map(len, parsed.pipeline.jobs.values()))
    return f"valid; stages: {stages}, jobs: {jobs}"
