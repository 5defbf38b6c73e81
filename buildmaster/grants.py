"""What the bearer of a token may do: scopes, and the project that they are limited to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from buildmaster.tokens import AttemptGrant, FileGrant


class Scope(Enum):
    """One thing that a client may do."""

    READ = "read"  #: see runs, jobs, logs, workers, events
    SUBMIT = "submit"  #: ask for runs, send files for them, retry jobs
    CANCEL = "cancel"  #: stop runs and jobs
    ADMIN = "admin"  #: everything, also who else may


@dataclass(frozen=True)
class Grant:
    """What the token of one request permits."""

    who: str  #: as it is noted, for example as a run's requester
    scopes: frozenset[Scope] = frozenset()
    project: str | None = None  #: only repositories below this address; None: all
    attempt: AttemptGrant | None = None  #: instead of scopes: files of this attempt
    file: FileGrant | None = None  #: instead of scopes: another master wants this file

    def covers(self, scope: Scope) -> bool:
        """Whether ``scope`` is granted."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def reaches(self, repository: str | None) -> bool:
        """Whether what is about ``repository`` is within the project."""
        return self.project is None or (
            repository is not None and is_below(self.project, repository)
        )


FARM = Grant("farm token", frozenset({Scope.ADMIN}))


def is_below(project: str, repository: str) -> bool:
    """Whether ``repository`` is ``project`` itself or lies below it.

    Addresses that a server could take for another than it looks are not.
    """
    top = project.rstrip("/")
    if repository.rstrip("/") == top:
        return True
    rest = repository.removeprefix(f"{top}/")
    if rest == repository or any(mark in rest for mark in "%\\?#"):
        return False
    return not {"", ".", ".."} & set(rest.rstrip("/").split("/"))
