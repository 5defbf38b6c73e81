"""Who a trusted proxy says that asks, taken from nobody else."""

from __future__ import annotations

import hmac
import ipaddress

from twisted.web.http_headers import Headers

from buildmaster.people.person import MOST_GROUPS, Person, is_name, shown
from buildmaster.people.settings import Proxy


class Untrusted(Exception):
    """A request says who asks, and may not, or not so; the text says why."""


class ProxyPeople:
    """Reads the headers of a proxy in front of the farm."""

    def __init__(self, settings: Proxy, secret: str | None = None) -> None:
        """``secret`` is what stands in the header that shows that it is the proxy."""
        self._settings = settings
        self._secret = secret

    def find(self, headers: Headers, address: str) -> Person | None:
        """Who asks; None if no header says it; `Untrusted`.

        A header of another than the proxy is refused, not passed over: whoever sends it
        means harm, or is a proxy that the settings do not know, and should be told.
        """
        settings = self._settings
        names = (settings.header, settings.groups_header, settings.display_header)
        if not any(name is not None and headers.hasHeader(name) for name in names):
            return None
        if not settings.is_trusted(address):
            raise Untrusted(
                f"the header {settings.header} is taken from the proxy only, and this"
                " request did not come from its address"
            )
        if settings.secret_header is not None and not self._is_known(headers):
            raise Untrusted(
                f"the header {settings.header} is taken with the proxy's secret only"
            )
        name = _one(headers, settings.header)
        if name is None:
            return None
        if not is_name(name):
            raise Untrusted("the name in the proxy's header is not one that can be taken")
        display = _one(headers, settings.display_header) or name
        return Person(name, "proxy", shown(display), self._groups(headers))

    def address(self, headers: Headers, address: str) -> str:
        """Where a request came from: what the proxy says, if it is the proxy's."""
        if not self._settings.is_trusted(address):
            return address
        # Each proxy adds where it was asked from; what stands before is hearsay.
        said = ",".join(headers.getRawHeaders("X-Forwarded-For") or [])
        last = said.rpartition(",")[2].strip()
        try:
            return str(ipaddress.ip_address(last))
        except ValueError:
            return address

    def _is_known(self, headers: Headers) -> bool:
        assert self._settings.secret_header is not None
        given = headers.getRawHeaders(self._settings.secret_header) or []
        return (
            self._secret is not None
            and len(given) == 1
            and hmac.compare_digest(given[0].encode(), self._secret.encode())
        )

    def _groups(self, headers: Headers) -> tuple[str, ...]:
        said = _one(headers, self._settings.groups_header)
        names = [each.strip() for each in (said or "").split(",")]
        return tuple(dict.fromkeys(filter(is_name, names[:MOST_GROUPS])))


def _one(headers: Headers, name: str | None) -> str | None:
    if name is None:
        return None
    given = headers.getRawHeaders(name) or []
    if len(given) > 1:
        raise Untrusted(f"the header {name} stands there twice; the proxy must replace it")
    return (given[0].strip() or None) if given else None
