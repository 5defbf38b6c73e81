"""Who may ask: the Host and Origin of a request, and the token or the person it brings."""

from __future__ import annotations

import re
from collections.abc import Collection

from twisted.web.http_headers import Headers

from buildmaster.bearers import Bearers
from buildmaster.clients import Clients
from buildmaster.grants import Grant
from buildmaster.http.problems import Problem
from buildmaster.people.entrance import Entrance
from buildmaster.people.proxy import Untrusted
from buildmaster.tokens import Tokens

#: Names under which a farm on this machine is always reached.
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/@]+)(?::([0-9]{1,5}))?\Z")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Guard:
    """Lets in requests that name this farm and, for writes, come from its own pages.

    A page of another site can make a browser send requests here, also under a name of its
    own that it lets point to this machine; neither gets past Host and Origin.
    """

    def __init__(
        self,
        hosts: Collection[str],
        tokens: Tokens,
        clients: Clients,
        entrance: Entrance | None = None,
    ) -> None:
        """``entrance`` knows people, where they may come."""
        self._hosts = frozenset(_bracketed(host.lower()) for host in (*LOOPBACK, *hosts))
        self._bearers = Bearers(tokens, clients)
        self._entrance = entrance

    def check(self, method: str, headers: Headers, address: str = "") -> Grant | None:
        """What the request's token or person may do, None without one; or `Problem`.

        ``address`` is where its connection came from.
        """
        host = self._host(headers)
        # Browsers let any page open a WebSocket to anywhere.
        is_guarded = method not in _SAFE or headers.hasHeader("Upgrade")
        if is_guarded:
            _check_origin(headers, host)
        if headers.hasHeader("Authorization"):
            return self._grant(headers)
        grant = self._person(headers, address)
        # A browser sends cookies, and what a proxy makes of them, whoever made it ask.
        if grant is not None and is_guarded and not headers.hasHeader("Origin"):
            raise Problem(
                403,
                "no_origin",
                "who changes something without a token sends the header Origin, as"
                " browsers do",
            )
        return grant

    def address(self, headers: Headers, address: str) -> str:
        """Where a request came from, as the proxy in front says if that is trusted."""
        if self._entrance is None:
            return address
        return self._entrance.address(headers, address)

    def _person(self, headers: Headers, address: str) -> Grant | None:
        if self._entrance is None:
            return None
        try:
            return self._entrance.find(headers, address)
        except Untrusted as error:
            raise Problem(403, "untrusted_proxy", str(error)) from error

    def _host(self, headers: Headers) -> tuple[str, str | None]:
        given = headers.getRawHeaders("Host") or []
        if len(given) != 1:
            raise Problem(400, "bad_host", "a request has one Host header")
        authority = _split(given[0])
        if authority is None or authority[0] not in self._hosts:
            raise Problem(
                403,
                "unknown_host",
                "this farm is not known by the name in the Host header; whoever runs it can"
                " add the name to its hosts",
            )
        return authority

    def _grant(self, headers: Headers) -> Grant:
        given = headers.getRawHeaders("Authorization") or [""]
        scheme, _, token = given[0].partition(" ")
        found = None
        if len(given) == 1 and scheme.lower() == "bearer":
            found = self._bearers.find(token.strip(" "))
        if found is None:
            raise _unauthorized("this farm does not know the token that was sent")
        return found


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="headrace"'}
    )


def _check_origin(headers: Headers, host: tuple[str, str | None]) -> None:
    given = headers.getRawHeaders("Origin") or []
    if not given:
        return  # not a browser
    scheme, _, rest = given[0].partition("://")
    origin = _split(rest) if len(given) == 1 and scheme in _DEFAULT_PORTS else None
    default = _DEFAULT_PORTS.get(scheme)
    if origin is None or (origin[0], origin[1] or default) != (host[0], host[1] or default):
        raise Problem(
            403, "foreign_origin", "a page of another site may not change anything here"
        )


def _split(authority: str) -> tuple[str, str | None] | None:
    found = _AUTHORITY.match(authority)
    return None if found is None else (found[1].lower().rstrip("."), found[2])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
