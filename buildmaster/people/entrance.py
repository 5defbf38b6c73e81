"""Whose a request is that brings no token: by its cookie, or by what a proxy says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from twisted.web.http_headers import Headers

from buildmaster.grants import Grant
from buildmaster.people.htpasswd import Htpasswd
from buildmaster.people.person import Person
from buildmaster.people.proxy import ProxyPeople
from buildmaster.people.roles import RoleEntry, rights_of
from buildmaster.people.stays import Stays

#: The cookie's name. Under TLS a browser lets nobody but this very host set the first, and
#: never sends it in the clear.
SECURE_COOKIE, PLAIN_COOKIE = "__Host-headrace", "headrace"


class Entrance:
    """What a person may do is worked out at each request, from the roles as they are."""

    def __init__(
        self,
        stays: Stays,
        roles: Callable[[], Sequence[RoleEntry]],
        *,
        htpasswd: Htpasswd | None = None,
        proxy: ProxyPeople | None = None,
        is_secure: bool = False,
    ) -> None:
        """``is_secure``: people reach the farm with TLS."""
        self.stays = stays
        self.htpasswd = htpasswd
        self.is_secure = is_secure
        self._roles = roles
        self._proxy = proxy

    @property
    def cookie_name(self) -> str:
        """How the cookie of a stay is called."""
        return SECURE_COOKIE if self.is_secure else PLAIN_COOKIE

    def find(self, headers: Headers, address: str) -> Grant | None:
        """What the person who asks may do; None if nobody is known; `Untrusted`.

        What a proxy says now outweighs a cookie of earlier.
        """
        if self._proxy is not None:
            person = self._proxy.find(headers, address)
            if person is not None:
                return self.grant(person)
        cookie = self.cookie(headers)
        stay = None if cookie is None else self.stays.find(cookie)
        if stay is None or not self._is_still_known(stay.person):
            return None
        return self.grant(stay.person, stay.expires_at)

    def address(self, headers: Headers, address: str) -> str:
        """Where a request came from, ``address`` being its connection's."""
        return address if self._proxy is None else self._proxy.address(headers, address)

    def grant(self, person: Person, expires_at: datetime | None = None) -> Grant:
        """What the roles of ``person`` permit now."""
        rights = rights_of(person, self._roles())
        return Grant(person.who, rights, person=person, expires_at=expires_at)

    def cookie(self, headers: Headers) -> str | None:
        """The value of the stay's cookie; None where there is none, or more than one.

        Of two one was put there by somebody else: a neighbour on this host, in the clear.
        """
        return one_cookie(headers, self.cookie_name)

    def _is_still_known(self, person: Person) -> bool:
        if person.way != "htpasswd":
            return True
        return self.htpasswd is not None and self.htpasswd.has(person.name)


def one_cookie(headers: Headers, name: str) -> str | None:
    """The value of the cookie of this name, unless there are two."""
    found = [
        value.strip()
        for line in headers.getRawHeaders("Cookie") or []
        for each, mark, value in (pair.partition("=") for pair in line.split(";"))
        if mark and each.strip() == name
    ]
    return found[0] if len(found) == 1 and 0 < len(found[0]) <= 4096 else None
