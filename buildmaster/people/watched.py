"""What a file says, read again whenever it changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

T = TypeVar("T")


class BadFile(Exception):
    """The file does not say what it should; the operator's to mend."""


class Watched(Generic[T]):
    """The present value of a file. Asking costs one ``stat`` while nothing changed."""

    log = Logger()

    def __init__(
        self, path: Path, read: Callable[[Path], T], otherwise: T, *, keeps: bool
    ) -> None:
        """``otherwise`` is what counts before the first reading.

        While the file cannot be read it counts again; with ``keeps`` what was read last.
        """
        self._path = path
        self._read = read
        self._otherwise = otherwise
        self._keeps = keeps
        self._value = otherwise
        self._seen: object = None

    def now(self) -> T:
        """What the file says."""
        try:
            found = os.stat(self._path)
            seen: object = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError as error:
            seen = str(error)
        if seen != self._seen:
            self._seen = seen
            self._value = self._fresh()
        return self._value

    def _fresh(self) -> T:
        try:
            return self._read(self._path)
        except (BadFile, OSError, UnicodeDecodeError) as error:
            self.log.error("{path}: {error}", path=self._path, error=error)
            return self._value if self._keeps else self._otherwise
