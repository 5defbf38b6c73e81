"""Which roles a person has, and which rights follow. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from buildmaster.grants import Right, Scope
from buildmaster.people.person import Person, Way


class Role(Enum):
    """What somebody is to a project, or to the whole farm."""

    READER = "reader"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    ADMIN = "admin"


SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.READER: frozenset({Scope.READ}),
    Role.SUBMITTER: frozenset({Scope.READ, Scope.SUBMIT}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.SUBMIT, Scope.CANCEL, Scope.OPERATE}),
    Role.ADMIN: frozenset({Scope.ADMIN}),
}


class RoleEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the settings: who has which role, and for what."""

    role: Role
    user: str | None = None  #: either a person's name
    group: str | None = None  #: or that of a group
    way: Way | None = None  #: only for those who came so; needed where there are several
    project: str | None = None  #: only repositories below this address; None: all

    def is_about(self, person: Person) -> bool:
        """Whether ``person`` has the role."""
        if self.way is not None and self.way != person.way:
            return False
        if self.user is not None:
            return self.user == person.name
        return self.group in person.groups


def rights_of(person: Person, entries: Iterable[RoleEntry]) -> tuple[Right, ...]:
    """What the roles of ``person`` permit, each once."""
    found = {
        (entry.role, entry.project): Right(
            SCOPES[entry.role], entry.project, entry.role.value
        )
        for entry in entries
        if entry.is_about(person)
    }
    return tuple(found.values())
