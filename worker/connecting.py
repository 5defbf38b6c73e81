"""Opens a line to a master with the carrier, and the trust, that its address asks for."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS

from protocol import pb
from protocol.address import MasterAddress
from protocol.carrier import CannotConnect, Line, Peer
from protocol.trust import BadCertificate, Trust

#: Seconds until a master that does not answer counts as not there.
CONNECT_LIMIT = 5.0


def connect(
    reactor: Any, master: MasterAddress, trust: Trust, peer: Peer
) -> Deferred[Line]:
    """Fires with the line after ``peer.opened``; fails with `CannotConnect`."""
    endpoint: Any = HostnameEndpoint(
        reactor, master.host, master.port, timeout=CONNECT_LIMIT
    )
    if master.is_secure:
        # Imported where it is needed, as below: it takes long.
        from protocol.tls import client_options

        try:
            options = client_options(master.host, trust)
        except BadCertificate as error:
            return fail(CannotConnect(str(error)))
        endpoint = wrapClientTLS(options, endpoint)
    if master.scheme in ("pb", "pbs"):
        return pb.connect(reactor, endpoint, peer)
    from protocol import websocket

    host = f"[{master.host}]" if ":" in master.host else master.host
    path = master.path or websocket.PATH
    url = f"{master.scheme}://{host}:{master.port}{path}"
    return websocket.connect(reactor, endpoint, peer, url)
