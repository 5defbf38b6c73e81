"""How a pipeline job or a whole attempt comes to its end, as values and as exceptions.

Whose fault it is shows in the type: `Failed` the user's code, `Malformed` what the user
asked for, `CannotRun` the farm. `Stopped` is nobody's fault here: somebody outside the
build wants it to end.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from protocol.messages import FileMade
from protocol.results import Result

#: Characters of a reason; the contract allows 4,000.
_REASON_LIMIT = 2000


@dataclass(frozen=True)
class Outcome:
    """How one pipeline job ended, and what it made."""

    result: Result
    reason: str = ""
    exit_status: int | None = None
    properties: dict[str, Any] | None = None
    files: tuple[FileMade, ...] = ()
    final: bool = False  #: with an error: another try would end the same
    image: str = ""  #: key of the image of its environment
    lingers: float | None = None  #: seconds for which its environment lingers


class Ending(Exception):
    """An end that is no success; the message is its reason."""

    result: ClassVar[Result]

    def __init__(
        self, reason: str, *, exit_status: int | None = None, final: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.exit_status = exit_status
        self.final = final

    def outcome(self) -> Outcome:
        """The same as a value."""
        return Outcome(self.result, self.reason, self.exit_status, final=self.final)


class Failed(Ending):
    """The user's code did not pass."""

    result = Result.FAILURE


class Malformed(Ending):
    """What the user asked for makes no sense; doing it again would not help."""

    result = Result.MALFORMED


class CannotRun(Ending):
    """The farm could not run it; somewhere else it might pass."""

    result = Result.ERROR


@dataclass(frozen=True)
class Stop:
    """Somebody outside the build wants it to end now."""

    result: Result
    reason: str


class Stopped(BaseException):
    """Raised in the build when a `Stop` came; no ``except Exception`` swallows it."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


def sentence(text: str) -> str:
    """``text`` as a reason that every receiver takes: bounded, valid, without NUL."""
    clean = text.encode(errors="replace").decode().replace("\0", "?")
    return clean if len(clean) <= _REASON_LIMIT else clean[: _REASON_LIMIT - 3] + "..."


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error`` says that there is no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full(folder: Path) -> str:
    """The reason for an attempt that ends because ``folder`` has no room left."""
    return (
        f"the worker's disk is full: no room is left in {folder}; its operator must "
        "free some, the build itself is not to blame"
    )


def no_room(folder: Path) -> bool:
    """Whether so little room is left in ``folder`` that what failed, failed for that."""
    room = os.statvfs(folder)
    out_of_files = room.f_files > 0 and room.f_favail == 0
    return room.f_bavail * room.f_frsize < 64 * 1024 or out_of_files


def exit_status(code: int) -> int:
    """A process's exit status as a shell tells it: 128 + N when signal N killed it."""
    return 128 - code if code < 0 else code


def print_traceback() -> None:
    """Tell the operator, in ``supervisor.log``, of the exception in hand."""
    import traceback  # takes long to import, and is hardly ever needed

    traceback.print_exc()
