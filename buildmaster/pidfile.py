"""The process id of a daemon, in a file of its data folder that only one can hold."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class AlreadyRunning(Exception):
    """Another daemon works in this data folder."""


class PidFile:
    """A file that names the daemon of a folder while that daemon lives.

    The lock on it, not its text, says whether one lives: a killed daemon leaves the text.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Write our process id, or raise `AlreadyRunning`."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = os.read(descriptor, 20).decode("ascii", "replace").strip() or "?"
            os.close(descriptor)
            raise AlreadyRunning(
                f"process {other} already works in {self._path.parent}; stop it first, or "
                f"give this one a data folder of its own"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def give_up(self) -> None:
        """Remove the file; safe to repeat."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
