"""What a worker holds through one session, and how much of it that leaves free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from buildmaster.matching import Amounts, Capability, Leased

#: Who has not joined can run nothing.
NOTHING = Capability("", (), (), (), (), Amounts(0))


class Room:
    """The leases of one session; who makes one up says what to do when its room changes."""

    def __init__(self) -> None:
        self.begin(NOTHING, {})
        self._ending: set[tuple[int, int]] = set()  # those whose room is free already
        self._next_lease = 0  # no smaller number comes any more
        self._doubted_from: int | None = None

    def room_changed(self) -> None:
        """Called when the worker can take more, or less."""
        raise NotImplementedError

    def begin(self, capability: Capability, held: Mapping[tuple[int, int], Leased]) -> None:
        """Note what a worker offers, and what it holds when it joins."""
        self.capability = capability  #: what the worker can run
        self.attempts = dict(held)  #: leased through this session, by (job, attempt)
        #: How much is free.
        self.left = capability.amounts.less(leased.needs for leased in held.values())

    @property
    def since(self) -> int:
        """The number before which all leases of the worker have ended."""
        since = min((one.lease for one in self.attempts.values()), default=self._next_lease)
        return since if self._doubted_from is None else min(since, self._doubted_from)

    def doubt(self) -> None:
        """A lease may have been given of which nothing was heard: count from here on."""
        self._doubted_from = self.since

    def lease(self, job: int, attempt: int, leased: Leased) -> None:
        """Note that the worker was leased an attempt."""
        self.attempts[job, attempt] = leased
        self._next_lease = max(self._next_lease, leased.lease + 1)
        self.left = self.left.less([leased.needs])
        self.room_changed()

    def give_room(self, attempts: Iterable[tuple[int, int]]) -> None:
        """What these take is free for the step that writes their ends."""
        given = [
            key for key in attempts if key in self.attempts and key not in self._ending
        ]
        if given:
            self._ending.update(given)
            for key in given:
                self.left = self.left.more(self.attempts[key].needs)
            self.room_changed()

    def drop(self, job: int, attempt: int) -> None:
        """Note that an attempt is no longer leased to the worker."""
        leased = self.attempts.pop((job, attempt), None)
        if leased is not None and (job, attempt) not in self._ending:
            self.left = self.left.more(leased.needs)
            self.room_changed()
        self._ending.discard((job, attempt))
