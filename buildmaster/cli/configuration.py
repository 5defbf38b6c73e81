"""Reads a configuration file for a command, and tells people what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from buildmaster.cli.problems import CommandMisused
from buildmaster.cli.terminal import one_line
from protocol.pipeline.document import SIZE_LIMIT
from protocol.pipeline.problems import Problem

#: Exit statuses of the commands that need no farm.
VALID, INVALID = 0, 1


def read_file(path: str) -> bytes:
    """The file's bytes, not many more than are allowed, or `CommandMisused`."""
    try:
        with open(path, "rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandMisused(f"{path} cannot be read: {reason}") from error


def say(text: str) -> None:
    """Print ``text`` as one line, whatever strangers wrote into it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(one_line(text).encode(encoding, "backslashreplace").decode(encoding))


def say_json(document: Any) -> None:
    """Print ``document`` as JSON, in ASCII."""
    print(json.dumps(document, indent=2))


def say_problems(path: str, kind: str, problems: Iterable[Problem]) -> None:
    """Print a line for each problem; the same slip in many places is told once."""
    places: dict[tuple[int | None, str], list[str]] = {}
    for problem in problems:
        places.setdefault((problem.line, problem.message), []).append(problem.where)
    for (line, message), where in places.items():
        start = f"{path}:{line}" if line is not None else path
        more = f" (and in {len(where) - 1} more places)" if len(where) > 1 else ""
        place = f"{where[0]}{more}: " if where[0] else ""
        say(f"{start}: {kind}: {place}{message}")


def problem_documents(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """The problems for JSON."""
    return [
        {"where": problem.where, "line": problem.line, "message": problem.message}
        for problem in problems
    ]
