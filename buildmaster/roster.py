"""The workers connected to this master now."""

from __future__ import annotations

from collections.abc import Callable

from buildmaster.session import Session


class Roster:
    """Open sessions by the name of their worker; tells ``wake`` when one has room."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._sessions: dict[str, Session] = {}

    def session_opened(self, session: Session) -> None:
        """A worker came, or came back on another line: the old one is closed."""
        assert session.worker is not None
        old = self._sessions.get(session.worker)
        self._sessions[session.worker] = session
        if old is not None:
            old.close()
        self._wake()

    def session_closed(self, session: Session) -> None:
        """A worker left."""
        assert session.worker is not None
        if self._sessions.get(session.worker) is session:
            del self._sessions[session.worker]

    def slot_freed(self) -> None:
        """Somebody has room again."""
        self._wake()

    def get(self, worker: str) -> Session | None:
        """The open session of ``worker`` with this master."""
        return self._sessions.get(worker)

    def with_room(self) -> list[Session]:
        """Sessions that can take an order, the emptiest first."""
        free = [session for session in self._sessions.values() if session.free > 0]
        return sorted(free, key=lambda session: (-session.free, session.worker or ""))

    def close_all(self) -> None:
        """End every session; the workers look for another master."""
        for session in list(self._sessions.values()):
            session.close()
