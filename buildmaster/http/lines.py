"""Where workers come in on the HTTP port: a request that becomes a line."""

from __future__ import annotations

from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem
from protocol.websocket import Listener


class Lines:
    """Answers GET /workers by taking over the connection."""

    def __init__(self, listener: Listener | None) -> None:
        """``listener`` goes on with connections; None where no workers come this way."""
        self._listener = listener

    async def get(self, call: Call) -> Answer:
        """101 from WebSocket itself, or 426 for whoever asks for a page."""
        if self._listener is None:
            raise Problem(404, "not_found", "workers do not come in here")
        if not call.head.is_upgrade:
            raise Problem(
                426,
                "upgrade_required",
                "workers come in here, over WebSocket: ws:// or wss:// in their masters",
                headers={"Upgrade": "websocket", "Connection": "Upgrade"},
            )
        return Answer(101, take_over=self._listener.take_over)
