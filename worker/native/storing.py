"""Files that a native job puts among the farm's blobs, for jobs that wait for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from protocol.tree_archive import TreeProblem, all_files, write
from protocol.trust import Trust
from worker.native.control import Storing
from worker.supervisor.blobs import Blobs
from worker.supervisor.endings import CannotRun

#: The variable in which an operator's command finds where it may put files.
VARIABLE = "HEADRACE_STORE"


class MayNotStore(Exception):
    """Whoever asked for the job did not say that it stores files."""

    def __init__(self) -> None:
        super().__init__(
            "this job may not store files: whoever asks for it must say 'stores: true'"
        )


class CannotStore(Exception):
    """The farm does not take the file; not the job's fault."""


@dataclass(frozen=True)
class Store:
    """The farm's blobs, as one attempt of a native job may add to them."""

    storing: Storing | None
    say: Callable[[str], object]

    def file(self, path: str | Path) -> dict[str, Any]:
        """Make the farm keep the file; its ``sha256`` and ``size``.

        Raises `MayNotStore`, `CannotStore`, or OSError if there is no such plain file.
        """
        try:
            sha256, size = self._blobs().upload(Path(path))
        except CannotRun as error:
            raise CannotStore(str(error)) from error
        return {"sha256": sha256, "size": size}

    def tree(self, folder: str | Path) -> dict[str, Any]:
        """Make the farm keep the files of a folder; what a job that makes one returns.

        That is ``{"tree": {"sha256": ..., "size": ...}}``. Raises as `file` does, and
        `TreeProblem` if there is nothing to send, or something that cannot be read.
        """
        self._blobs()
        with tempfile.TemporaryDirectory(prefix="headrace-tree-") as place:
            archive = Path(place) / "tree.tar"
            packed = write(Path(folder), all_files(Path(folder)), archive)
            if not packed.files:
                raise TreeProblem(f"there is no file in {folder}")
            return {"tree": self.file(archive)}

    def _blobs(self) -> Blobs:
        if self.storing is None:
            raise MayNotStore
        return Blobs(
            self.storing.url,
            self.storing.token,
            self.say,  # type: ignore[arg-type]
            trust=Trust(self.storing.ca_file, self.storing.master_fingerprint),
        )


def as_variables(storing: Storing | None) -> dict[str, str]:
    """What an operator's command needs in its environment to store files."""
    if storing is None:
        return {}
    return {VARIABLE: msgspec.json.encode(storing).decode()}


def from_variables() -> Storing | None:
    """What this process may store, by its environment."""
    text = os.environ.get(VARIABLE)
    return None if text is None else msgspec.json.decode(text, type=Storing)
