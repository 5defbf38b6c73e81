"""Where a master can be reached, written down for those on the same machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

FILE = "addresses.json"
#: Connections that may wait to be accepted. After a restart of the master all workers
#: come at once; those that find no room try again a second later, or three.
BACKLOG = 1024


@dataclass(frozen=True)
class Addresses:
    """The addresses of a running master."""

    http: str  #: as in http://127.0.0.1:8010
    workers: str | None  #: as in pb://127.0.0.1:8011, if workers come in here
    status: str | None = None  #: as in pb://127.0.0.1:8012, if it is served

    def write(self, folder: Path) -> None:
        """Put them into ``folder``, whole or not at all."""
        unfinished = folder / f".{FILE}.new"
        unfinished.write_text(json.dumps(asdict(self)))
        os.replace(unfinished, folder / FILE)


def endpoint(reactor: Any, address: str, tls: Any = None) -> IStreamServerEndpoint:
    """Where to listen for HOST:PORT, with TLS if there are options for it."""
    host, _, port = address.rpartition(":")
    if tls is None:
        plain: IStreamServerEndpoint = TCP4ServerEndpoint(
            reactor, int(port), BACKLOG, host.strip("[]")
        )
        return plain
    secure: IStreamServerEndpoint = SSL4ServerEndpoint(
        reactor, int(port), tls, BACKLOG, host.strip("[]")
    )
    return secure


def reached_at(scheme: str, address: str, port: IListeningPort) -> str:
    """The URL of a port that listens at the setting ``address``."""
    host = address.rpartition(":")[0]
    # Somebody on this machine reaches a port that listens everywhere by loopback.
    shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    number = cast(IPv4Address | IPv6Address, port.getHost()).port
    return f"{scheme}://{shown}:{number}"
