"""Sessions with room for work, in bunches that can run the same classes of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from buildmaster.matching import JobClass, suits
from buildmaster.session import Session
from buildmaster.store.step import HungryWorker

#: Workers of a bunch that one step looks at: a thousand idle ones must not slow it.
BUNCH_LIMIT = 50


@dataclass(frozen=True)
class Picked:
    """What one step asks for."""

    workers: tuple[HungryWorker, ...]
    classes: tuple[tuple[int, int], ...]  #: (bunch, class)
    slots: int


class HungrySessions:
    """Knows who has room, and which classes suit whom."""

    def __init__(self) -> None:
        self._classes: dict[int, JobClass] = {}
        self._bunches: dict[tuple[int, ...], dict[str, Session]] = {}
        self._bunch_of: dict[str, tuple[int, ...]] = {}  # by session
        self._sizes: Counter[tuple[int, ...]] = Counter()  # with those that are full

    @property
    def known_classes(self) -> list[int]:
        """The numbers of the classes that were learnt."""
        return list(self._classes)

    def needs_of(self, class_id: int) -> JobClass | None:
        """A class, if it was learnt."""
        return self._classes.get(class_id)

    def learn(self, classes: Iterable[JobClass]) -> None:
        """There are further classes: sort the sessions anew."""
        new = [each for each in classes if each.id not in self._classes]
        if not new:
            return
        self._classes |= {each.id: each for each in new}
        sessions = [s for bunch in self._bunches.values() for s in bunch.values()]
        self._bunches.clear()
        self._bunch_of.clear()
        self._sizes.clear()
        for session in sessions:
            self.changed(session)

    def changed(self, session: Session) -> None:
        """A session has more room, or less, or is over."""
        if session.is_open and session.left.slots > 0:
            key = self._bunch_of.get(session.id)
            if key is None:
                key = tuple(
                    each.id
                    for each in self._classes.values()
                    if suits(each.needs, session.capability)
                )
                self._bunch_of[session.id] = key
                self._sizes[key] += 1
            self._bunches.setdefault(key, {})[session.id] = session
            return
        key = self._bunch_of.get(session.id)
        if key is not None:
            bunch = self._bunches.get(key, {})
            bunch.pop(session.id, None)
            if not bunch:
                self._bunches.pop(key, None)
            if not session.is_open:
                del self._bunch_of[session.id]
                self._sizes[key] -= 1

    def pick(self, but: Collection[str] = ()) -> Picked:
        """Some of each bunch, whose turn it is; those of the last time come last.

        Workers ``but`` those: another step asks for them just now.
        """
        workers: list[HungryWorker] = []
        classes: list[tuple[int, int]] = []
        slots = 0
        for number, (key, bunch) in enumerate(self._bunches.items()):
            if not key:
                continue
            for session in list(islice(bunch.values(), BUNCH_LIMIT)):
                if session.capability.worker in but:
                    continue
                if len(bunch) > BUNCH_LIMIT:
                    bunch[session.id] = bunch.pop(session.id)
                workers.append(_hungry(session, number, self._sizes[key]))
                slots += session.left.slots
            classes += [(number, each) for each in key]
        return Picked(tuple(workers), tuple(classes), slots)

    def __iter__(self) -> Iterator[Session]:
        """Every session with room."""
        return (s for bunch in self._bunches.values() for s in bunch.values())


def _hungry(session: Session, bunch: int, peers: int) -> HungryWorker:
    left = session.left
    return HungryWorker(
        session.capability.worker,
        session.id,
        bunch,
        left.slots,
        left.cpu,
        left.memory,
        left.disk,
        session.since,
        peers,
    )
