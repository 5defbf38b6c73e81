"""A mouth for attempts in tests: keeps what they say."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from protocol.messages import Report, decode_from_worker
from worker.delivery import Parcel


class ListMouth:
    """Keeps what is said; a `worker.dialogue.Mouth`."""

    def __init__(self) -> None:
        self.room = 1000  #: reports that the line takes
        self.said: list[str] = []
        self.reports: list[Report] = []
        self._waits: list[tuple[str, Deferred[None]]] = []

    @property
    def has_room(self) -> bool:
        return len(self.reports) < self.room

    def accepted(self, job: int, attempt: int) -> None:
        self._say(f"accepted {job}")

    def refused(self, job: int, attempt: int, reason: str) -> None:
        self._say(f"refused {job}: {reason}")

    def report(self, job: int, attempt: int, parcel: Parcel) -> None:
        [report] = decode_from_worker(parcel.frame)
        assert isinstance(report, Report)
        assert (report.job, report.attempt, report.number) == (job, attempt, parcel.number)
        self.reports.append(report)
        self._say(f"report {job}")
        if parcel.is_last:
            self._say(f"end {job}")

    def give_up(self, reason: str) -> None:
        self._say(f"give up: {reason}")

    def until(self, words: str) -> Deferred[None]:
        """Fires when something that begins with ``words`` is said."""
        waiting: Deferred[None] = Deferred()
        self._waits.append((words, waiting))
        self._look()
        return waiting

    def _say(self, words: str) -> None:
        self.said.append(words)
        self._look()

    def _look(self) -> None:
        for wait in list(self._waits):
            if any(said.startswith(wait[0]) for said in self.said):
                self._waits.remove(wait)
                wait[1].callback(None)
