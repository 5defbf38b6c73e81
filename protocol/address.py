"""Where a master listens for workers: a URL, taken apart."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?"
)
#: The carriers' names, and the port where a URL names none; 0: it must.
SCHEMES = {"pb": 0, "pbs": 0, "ws": 80, "wss": 443}
_EXAMPLES = "write pb://HOST:PORT, pbs://HOST:PORT, ws://HOST:PORT or wss://HOST:PORT"


class BadAddress(Exception):
    """No address of a master; the text says why."""


@dataclass(frozen=True)
class MasterAddress:
    """Where a master listens for workers."""

    scheme: str  #: a key of `SCHEMES`
    host: str
    port: int
    url: str  #: as it was written, for logs
    path: str = ""  #: of ws and wss; empty: the carrier's own

    @property
    def is_secure(self) -> bool:
        """Whether TLS hides what is said."""
        return self.scheme in ("pbs", "wss")


def parse_address(url: str) -> MasterAddress:
    """``url`` as a `MasterAddress`, or `BadAddress`."""
    parts = _URL.fullmatch(url)
    if parts is None:
        raise BadAddress(f"{url!r} is no address of a master; {_EXAMPLES}")
    scheme, path = parts["scheme"], parts["path"] or ""
    if scheme not in SCHEMES:
        raise BadAddress(f"a worker cannot speak {scheme!r}; {_EXAMPLES}")
    port = int(parts["port"] or SCHEMES[scheme])
    if not 0 < port < 65536 or (scheme in ("pb", "pbs") and path not in ("", "/")):
        raise BadAddress(f"{url!r} is no address of a master; {_EXAMPLES}")
    path = "" if path == "/" else path
    return MasterAddress(scheme, parts["host"].strip("[]"), port, url, path)


def is_loopback(host: str) -> bool:
    """Whether what is sent to ``host`` stays on this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
