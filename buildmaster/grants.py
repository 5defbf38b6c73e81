"""What one request may do: scopes, and the projects that each is limited to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from buildmaster.people.person import Person
from buildmaster.tokens import AttemptGrant, FileGrant


class Scope(Enum):
    """One thing that a client may do."""

    READ = "read"  #: see runs, jobs, logs, workers, events
    SUBMIT = "submit"  #: ask for runs, send files for them, retry jobs
    CANCEL = "cancel"  #: stop runs and jobs
    OPERATE = "operate"  #: duties, holds, scores, places, classifications
    ADMIN = "admin"  #: everything, also who else may


@dataclass(frozen=True)
class Right:
    """Some scopes for everything, or for the repositories of one project."""

    scopes: frozenset[Scope]
    project: str | None = None  #: only repositories below this address; None: all
    role: str | None = None  #: that it comes from; None of tokens

    def covers(self, scope: Scope) -> bool:
        """Whether ``scope`` is granted, maybe for one project only."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


@dataclass(frozen=True)
class Grant:
    """What one request permits."""

    who: str  #: as it is noted, for example as a run's requester
    rights: tuple[Right, ...] = ()
    attempt: AttemptGrant | None = None  #: instead of rights: files of this attempt
    file: FileGrant | None = None  #: instead of rights: another master wants this file
    person: Person | None = None  #: who asks, where it is not the bearer of a token
    expires_at: datetime | None = None  #: when a person has to log in again

    def covers(self, scope: Scope) -> bool:
        """Whether ``scope`` is granted somewhere."""
        return any(right.covers(scope) for right in self.rights)

    def projects(self, scope: Scope) -> tuple[str, ...] | None:
        """The projects for which ``scope`` is granted, by name; None: for everything."""
        found = {right.project for right in self.rights if right.covers(scope)}
        if None in found:
            return None
        return tuple(sorted(project for project in found if project is not None))

    def reaches(self, scope: Scope, repository: str | None) -> bool:
        """Whether ``scope`` is granted for what is about ``repository``.

        What is about none, as a worker is, is within no project.
        """
        projects = self.projects(scope)
        return projects is None or is_within(projects, repository)


FARM = Grant("farm token", (Right(frozenset({Scope.ADMIN})),))


def is_within(projects: tuple[str, ...], repository: str | None) -> bool:
    """Whether ``repository`` lies within one of ``projects``."""
    return repository is not None and any(is_below(each, repository) for each in projects)


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
