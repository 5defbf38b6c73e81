"""``headrace check``: says what is wrong with a configuration; needs no farm."""

from __future__ import annotations

import argparse
from typing import Any

from buildmaster.cli.configuration import (
    INVALID,
    VALID,
    problem_documents,
    read_file,
    say,
    say_json,
    say_problems,
)
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
    parser.add_argument("file", metavar="FILE", help="usually .launchpad.yaml")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--lpci-compatible",
        action="store_true",
        help="warn only of what lpci accepts, though it cannot work",
    )
    parser.set_defaults(act=check)


def check(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status. Raises `CommandMisused` for an unreadable file."""
    text = read_file(arguments.file)
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
