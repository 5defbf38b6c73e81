"""What a command prints: its own lines, and the logs of jobs among them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import BinaryIO

from buildmaster.cli.terminal import TerminalFilter, one_line
from protocol.results import BAD, GOOD, Result

_COLOURS = {"good": "32", "bad": "31", "void": "33", "bold": "1", "faint": "2"}


def tone(result: str | None) -> str | None:
    """The tone of a result's name: ``good``, ``bad`` or ``void``."""
    try:
        known = Result(result)
    except ValueError:
        return None
    return "good" if known in GOOD else "bad" if known in BAD else "void"


class Console:
    """Writes to standard output: to a terminal with colours, and filtered."""

    def __init__(self, output: BinaryIO, is_terminal: bool, colour: bool) -> None:
        self._output = output
        self._is_terminal = is_terminal
        self._colour = colour
        self._filters: dict[str, TerminalFilter] = {}
        self._partial: dict[str, bytes] = {}
        self._at_line_start = True

    @classmethod
    def standard(cls, environ: Mapping[str, str] = os.environ) -> Console:
        """The one for this process's standard output."""
        is_terminal = sys.stdout.isatty()
        colour = (
            is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        )
        return cls(sys.stdout.buffer, is_terminal, colour)

    def say(self, text: str, tone: str | None = None) -> None:
        """Print a line of the command's own, in colour where that is wanted.

        Names in it may come from strangers: nothing in it leaves its line.
        """
        line = self.coloured(one_line(text), tone)
        if not self._at_line_start:
            # A log stands in the middle of a line, maybe a coloured one.
            line = ("\x1b[0m\n" if self._is_terminal else "\n") + line
        self._write(line + "\n")

    def coloured(self, text: str, tone: str | None) -> str:
        """``text`` with the colour of ``tone``, where colours are shown."""
        if tone is None or not self._colour:
            return text
        return f"\x1b[{_COLOURS[tone]}m{text}\x1b[0m"

    def log(self, source: str, data: bytes, prefix: str = "") -> None:
        """Print bytes of a log as they come; with ``prefix`` in whole lines.

        A terminal gets them filtered, anything else gets the bytes themselves.
        """
        if prefix:
            lines = (self._partial.pop(source, b"") + data).split(b"\n")
            self._partial[source] = lines.pop()
            data = b"".join(prefix.encode() + line + b"\n" for line in lines)
            if data and not self._at_line_start:
                data = b"\n" + data
        if not data:
            return
        if self._is_terminal:
            shown = self._filters.setdefault(source, TerminalFilter()).feed(data)
            self._write(shown)
        else:
            self._write_bytes(data)

    def end_log(self, source: str, prefix: str = "") -> None:
        """Print what is left of a log whose last line has no end."""
        rest = self._partial.pop(source, b"")
        if rest:
            self.log(source, rest + b"\n", prefix)
        if source in self._filters:
            self._write(self._filters.pop(source).feed(b"", final=True))

    def _write(self, text: str) -> None:
        self._write_bytes(text.encode("utf-8", "replace"))

    def _write_bytes(self, data: bytes) -> None:
        if not data:
            return
        self._output.write(data)
        self._output.flush()
        self._at_line_start = data.endswith(b"\n")
