"""The workers connected to this master now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from buildmaster.session import Session, Told
from buildmaster.store.step import Acceptance, AttemptEnd

Tell = Callable[[str, Sequence[Acceptance], Sequence[AttemptEnd]], Deferred[Told]]


class Roster:
    """Open sessions by the name of their worker; tells when one has more or less room."""

    def __init__(self, room_changed: Callable[[Session], None], tell: Tell) -> None:
        self._room_changed = room_changed
        self.tell = tell  #: writes what a worker told with the master's next step
        self._sessions: dict[str, Session] = {}

    def session_opened(self, session: Session) -> None:
        """A worker came, or came back on another line: the old one is closed."""
        worker = session.capability.worker
        old = self._sessions.get(worker)
        self._sessions[worker] = session
        if old is not None:
            old.close()
        self._room_changed(session)

    def session_closed(self, session: Session) -> None:
        """A worker left."""
        worker = session.capability.worker
        if self._sessions.get(worker) is session:
            del self._sessions[worker]
        self._room_changed(session)

    def room_changed(self, session: Session) -> None:
        """A session can take more, or less."""
        self._room_changed(session)

    def get(self, worker: str) -> Session | None:
        """The open session of ``worker`` with this master."""
        return self._sessions.get(worker)

    def close_all(self) -> None:
        """End every session; the workers look for another master."""
        for session in list(self._sessions.values()):
            session.close()
