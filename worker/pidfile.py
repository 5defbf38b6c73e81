"""The file that names the daemon of a data folder, and keeps a second one out."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FolderTaken(Exception):
    """Another daemon works in this data folder."""


class PidFile:
    """Held while the daemon lives: by a lock, as a killed daemon leaves the text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> None:
        """Keep others out, or raise `FolderTaken`."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 20).decode("ascii", "replace").strip()
            os.close(file)
            raise FolderTaken(
                f"worker process {holder or '(starting)'} works in {self._path.parent} "
                "already; stop it, or give this one a data folder of its own"
            ) from error
        self._file = file

    def note(self) -> None:
        """Write down our process id: after twistd became a daemon, which changes it."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def give_up(self) -> None:
        """Let another daemon in; safe to repeat."""
        if self._file is not None:
            # The file stays: removing it would let two daemons hold two files.
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None
