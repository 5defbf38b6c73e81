"""Who asks, as GET /api/v1/me tells it."""

from __future__ import annotations

from typing import Literal

import msgspec

from buildmaster.grants import Grant, Scope
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.people.person import Way


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Scopes, and what they are for."""

    project: str | None
    role: str | None  #: None of tokens
    scopes: tuple[str, ...]


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """A way to log in."""

    kind: Literal["htpasswd", "oidc"]
    url: str
    label: str


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, what they may do, and how they could log in."""

    who: str
    by: Literal["open", "token"] | Way
    display: str
    scopes: tuple[str, ...]  #: each granted somewhere
    grants: tuple[Held, ...]
    groups: tuple[str, ...]
    expires_at: str | None
    login: tuple[Door, ...]


class WhoAmI:
    """Answers GET /api/v1/me."""

    def __init__(self, doors: tuple[Door, ...], *, open_reading: bool) -> None:
        self._doors = doors
        self._open_reading = open_reading

    async def get(self, call: Call) -> Answer:
        """GET /api/v1/me"""
        call.query.allow()
        told = me(call.grant, self._doors, open_reading=self._open_reading)
        return Answer(body=msgspec.json.encode(told))


def me(grant: Grant | None, doors: tuple[Door, ...], *, open_reading: bool) -> Me:
    """Who the bearer of ``grant`` is."""
    is_open = {Scope.READ} if open_reading else set()
    if grant is None:
        scopes = tuple(scope.value for scope in is_open)
        held = (Held(project=None, role=None, scopes=scopes),) if scopes else ()
        return Me(
            who="",
            by="open",
            display="",
            scopes=scopes,
            grants=held,
            groups=(),
            expires_at=None,
            login=doors,
        )
    person, until = grant.person, grant.expires_at
    return Me(
        who=grant.who,
        by="token" if person is None else person.way,
        display=grant.who if person is None else person.display,
        scopes=tuple(s.value for s in Scope if s in is_open or grant.covers(s)),
        grants=tuple(
            Held(
                project=right.project,
                role=right.role,
                scopes=tuple(scope.value for scope in Scope if right.covers(scope)),
            )
            for right in grant.rights
        ),
        groups=() if person is None else person.groups,
        expires_at=None if until is None else until.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        login=doors,
    )
