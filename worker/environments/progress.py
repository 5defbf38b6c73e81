"""A progress bar for the making of an image; without a terminal, plain lines."""

from __future__ import annotations

import re
import sys
import time
from types import TracebackType
from typing import Self, TextIO

_SIZE = re.compile(r"(\d+) MiB unpacked")
#: What images take, for want of a way to know beforehand.
_USUAL_MIB = 165
#: Of the whole time, what passes before the first byte is unpacked.
_BEFORE_UNPACKING = 0.75
#: Seconds in which the first part is half done, more or less.
_HALF = 10.0
_WIDTH = 30


class Progress:
    """Hears the lines that tell how far it is; use it in a ``with`` statement."""

    def __init__(self, what: str, output: TextIO = sys.stderr) -> None:
        self._what = what
        self._output = output
        self._is_terminal = output.isatty()
        self._began = time.monotonic()
        self._unpacked = 0
        self._last = ""

    def __enter__(self) -> Self:
        self.hear(f"{self._what}: begun")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = f"{time.monotonic() - self._began:.0f} s"
        if self._is_terminal:
            self._output.write("\r\x1b[K")
        ended = "made" if kind is None else "not made"
        print(f"{self._what}: {ended} after {seconds}", file=self._output, flush=True)

    def hear(self, line: str) -> None:
        """Show how far it is, and what it is at."""
        found = _SIZE.search(line)
        if found:
            self._unpacked = int(found[1])
        if not self._is_terminal:
            print(line, file=self._output, flush=True)
            return
        doing = line.partition(": ")[2]
        if not re.match(r"\d+ s", doing):
            self._last = doing
        done = round(self.share() * _WIDTH)
        bar = "#" * done + "." * (_WIDTH - done)
        text = f"{self._what} [{bar}] {self._last}"
        self._output.write(f"\r\x1b[K{text[:100]}")
        self._output.flush()

    def share(self) -> float:
        """How much of it is done, as far as anybody can know: from 0 to 1."""
        if self._unpacked:
            rest = min(1.0, self._unpacked / _USUAL_MIB)
            return min(0.99, _BEFORE_UNPACKING + (1 - _BEFORE_UNPACKING) * rest)
        passed = time.monotonic() - self._began
        return _BEFORE_UNPACKING * passed / (passed + _HALF)
