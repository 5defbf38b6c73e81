"""What an operator says of people, and what is wrong with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from buildmaster.people.person import Way, is_name
from buildmaster.people.roles import Role, RoleEntry

_Text = Annotated[str, Meta(min_length=1, max_length=2000)]
_Header = Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,100}\\Z")]

#: Headers that mean something else already.
_TAKEN = frozenset({"host", "origin", "cookie", "authorization", "content-type", "upgrade"})
_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|::1)\Z")


class Proxy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A proxy in front of the farm that says in a header who asks."""

    header: _Header
    from_: Annotated[tuple[_Text, ...], Meta(min_length=1)] = msgspec.field(name="from")
    groups_header: _Header | None = None  #: names with commas
    display_header: _Header | None = None
    secret_header: _Header | None = None  #: in which the proxy shows that it is the one
    secret_file: str | None = None  #: what stands there

    def is_trusted(self, address: str) -> bool:
        """Whether a request from ``address`` may say who asks."""
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer in ipaddress.ip_network(each) for each in self.from_)


class Oidc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenID provider."""

    issuer: _Text  #: its address; the document about it is found below
    client_id: _Text
    client_secret_file: str
    scopes: tuple[_Text, ...] = ("openid", "profile")
    groups_claim: str | None = "groups"
    name_claim: _Text = "preferred_username"
    display_claim: _Text = "name"
    label: _Text = "Log in with single sign-on"


class People(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How people come in, and who may do what."""

    htpasswd: str | None = None  #: a file
    proxy: Proxy | None = None
    oidc: Oidc | None = None
    roles: tuple[RoleEntry, ...] = ()
    stay: Annotated[float, Meta(ge=60, le=30 * 86400)] = 12 * 3600.0  #: seconds

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that are open."""
        ways: tuple[Way, ...] = ("htpasswd", "proxy", "oidc")
        return tuple(way for way in ways if getattr(self, way) is not None)


def mistakes(people: People) -> Iterator[str]:
    """What is wrong with the settings beyond their types, as sentences."""
    if not people.ways:
        yield "people needs at least one of htpasswd, proxy and oidc"
    for number, entry in enumerate(people.roles):
        for problem in _mistakes_of_role(entry, people.ways):
            yield f"people.roles[{number}]: {problem}"
    if people.proxy is not None:
        yield from _mistakes_of_proxy(people.proxy)
    if people.oidc is not None:
        yield from _mistakes_of_oidc(people.oidc)


def _mistakes_of_role(entry: RoleEntry, ways: tuple[Way, ...]) -> Iterator[str]:
    if (entry.user is None) == (entry.group is None):
        yield "a role is for either a user or a group"
    for name in (entry.user, entry.group):
        if name is not None and not is_name(name):
            yield f"{name!r} is no name: 200 printable characters at most"
    if entry.way is not None and entry.way not in ways:
        yield f"nobody comes by {entry.way}, which is not set up"
    if entry.way is None and len(ways) > 1:
        # The same name may be another person's elsewhere.
        yield f"people come by {' and '.join(ways)}: say which with way"
    if entry.group is not None and entry.way == "htpasswd":
        yield "htpasswd knows no groups: name the user"
    if entry.project == "":
        yield "project is empty: leave it out for the whole farm"
    if entry.project is not None and entry.role is Role.ADMIN:
        yield "an admin is one of the whole farm: leave project out"


def _mistakes_of_proxy(proxy: Proxy) -> Iterator[str]:
    for each in proxy.from_:
        try:
            network = ipaddress.ip_network(each)
        except ValueError as error:
            yield f"people.proxy.from: {each!r} is neither address nor network: {error}"
            continue
        if network.prefixlen == 0:
            yield f"people.proxy.from: {each} is everybody: name the proxy's own address"
    if (proxy.secret_header is None) != (proxy.secret_file is None):
        yield "people.proxy: secret_header and secret_file go together"
    names = ("header", "groups_header", "display_header", "secret_header")
    given = [(name, getattr(proxy, name)) for name in names if getattr(proxy, name)]
    for name, header in given:
        if header.lower() in _TAKEN:
            yield f"people.proxy.{name}: {header} has another meaning already"
    if len({header.lower() for _, header in given}) < len(given):
        yield "people.proxy: each header needs a name of its own"


def _mistakes_of_oidc(oidc: Oidc) -> Iterator[str]:
    issuer = urlsplit(oidc.issuer)
    is_near = issuer.scheme == "http" and _LOOPBACK.match(issuer.hostname or "")
    if not (issuer.hostname and (issuer.scheme == "https" or is_near)):
        yield "people.oidc.issuer must be an https address (http on this machine only)"
    if issuer.query or issuer.fragment:
        yield "people.oidc.issuer has neither a query nor a fragment"
    if "openid" not in oidc.scopes:
        yield "people.oidc.scopes must have openid"
