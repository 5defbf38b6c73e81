"""The access log: one line of JSON for each answer, in files that are turned over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.python.logfile import LogFile

#: Bytes of one file, and how many older ones are kept.
LENGTH, KEPT = 20 * 1024 * 1024, 10


class AccessLog:
    """Writes into ``path``; only the account of the master may read it."""

    def __init__(self, path: Path) -> None:
        self._file: Any = LogFile(
            path.name,
            str(path.parent),
            rotateLength=LENGTH,
            maxRotatedFiles=KEPT,
            defaultMode=0o600,
        )

    def note(
        self,
        *,
        at: str,
        address: str,
        who: str,
        method: str,
        path: str,
        status: int,
        size: int,
        seconds: float,
    ) -> None:
        """One answer; no query and no header, where secrets may stand."""
        line = {
            "at": at,
            "address": address,
            "who": who,
            "method": method[:20],
            "path": path[:500],
            "status": status,
            "bytes": size,
            "seconds": round(seconds, 6),
        }
        self._file.write(msgspec.json.encode(line).decode() + "\n")

    def close(self) -> None:
        """Write no more."""
        self._file.close()
