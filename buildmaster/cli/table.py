"""Prints documents as a table for people, or as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from buildmaster.cli.console import Console, tone
from buildmaster.cli.terminal import one_line

#: One column: its heading, and how to find its text in a document.
Column = tuple[str, Callable[[Mapping[str, Any]], object]]

#: What every object of ``--json`` has, whatever it is.
ALWAYS = ("id", "kind", "state", "result", "attempt")
#: Characters of a cell; repositories and reasons can be long.
WIDEST = 60


def print_json(console: Console, documents: Sequence[Mapping[str, Any]]) -> None:
    """Print ``documents`` as one JSON list; each has at least the keys of `ALWAYS`."""
    whole = [{**dict.fromkeys(ALWAYS), **document} for document in documents]
    # ASCII only, so that nothing in a name reaches a terminal as it is.
    for line in json.dumps(whole, indent=2).splitlines():
        console.say(line)


def print_table(
    console: Console, columns: Sequence[Column], documents: Sequence[Mapping[str, Any]]
) -> None:
    """Print a line for each document, in the tone of its result."""
    rows = [[_cell(find(each)) for _, find in columns] for each in documents]
    headings = [heading for heading, _ in columns]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    console.say(_line(headings, widths), "bold")
    for document, row in zip(documents, rows, strict=True):
        console.say(_line(row, widths), tone(document.get("result")))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = one_line(str(value))
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)).rstrip()


def moment(value: object) -> str | None:
    """A time of a document without its fractions: ``2026-01-31 12:00:05``."""
    return str(value)[:19].replace("T", " ") if value else None


def short_source(document: Mapping[str, Any]) -> str:
    """The first digits of what was built, a commit's as git shortens them."""
    digest = str(document.get("source_digest") or "-")
    return digest.removeprefix("sha256:")[:10]
