"""A client of a farm, for the command line and for any Twisted program.

`http` is the one to use for everything that a farm does; `connect` here, from `pb`, gives
its status over Perspective Broker. `documents` are the types that `http` answers with;
`event_stream` reads server-sent events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.trust import SYSTEM, Trust

if TYPE_CHECKING:
    from buildmaster.client.pb import RemoteStatus


async def connect(
    reactor: Any, url: str, token: str | None = None, trust: Trust = SYSTEM
) -> RemoteStatus:
    """The status of the farm at ``url``, pb://HOST:PORT or pbs://HOST:PORT.

    It has the methods of `buildmaster.status.interface.IStatus`. `FarmAway` if nobody
    answers there, `StatusProblem` 401 if the token is unknown.
    """
    # Imported where it is needed: the command line starts faster without PB.
    from buildmaster.client import pb

    return await pb.connect(reactor, url, token, trust)
