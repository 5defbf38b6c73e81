"""All attempts of a worker: builds on its disk, native jobs in its memory."""

from __future__ import annotations

from protocol.messages import Attempt, Cancel, Forget, Holding, Recorded, Start, Welcome
from protocol.order import NativeOrder
from worker.dialogue import Mouth
from worker.holdings import Holdings
from worker.native.natives import Natives


class AllAttempts:
    """A `worker.dialogue.Attempts` that asks the one whose attempt it is."""

    def __init__(self, builds: Holdings, natives: Natives) -> None:
        self._builds = builds
        self._natives = natives

    def holding(self) -> tuple[Holding, ...]:
        """Of both."""
        return self._builds.holding() + self._natives.holding()

    def resume(self, mouth: Mouth, welcome: Welcome) -> None:
        """A session is open."""
        self._builds.resume(mouth, welcome)
        self._natives.resume(mouth, welcome)

    def suspend(self) -> None:
        """There is none any more."""
        self._builds.suspend()
        self._natives.suspend()

    def take(self, start: Start) -> None:
        """Accept the order or refuse it."""
        if isinstance(start.order, NativeOrder):
            self._natives.take(start)
        else:
            self._builds.take(start)

    def settle(self, recorded: Recorded) -> None:
        """Reports are recorded, so the line has room again, whoever waits for that."""
        if self._natives.has(Attempt(recorded.job, recorded.attempt)):
            self._natives.settle(recorded)
            self._builds.feed()
        else:
            self._builds.settle(recorded)
            self._natives.feed()

    def forget(self, forget: Forget) -> None:
        """An attempt no longer counts."""
        self._builds.forget(forget)
        self._natives.forget(forget)

    def cancel(self, cancel: Cancel) -> None:
        """An attempt is to end."""
        self._builds.cancel(cancel)
        self._natives.cancel(cancel)

    def renew(self) -> None:
        """The master renewed the leases."""
        self._builds.renew()
        self._natives.renew()
