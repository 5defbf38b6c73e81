"""Native attempts of this daemon: in memory only, from the order to the last record.

A daemon that dies takes them with it; the master sees that in the next hello.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from protocol.messages import (
    Attempt,
    Cancel,
    Ended,
    Forget,
    Holding,
    Recorded,
    Start,
    Welcome,
)
from protocol.order import NativeOrder
from protocol.results import Result
from protocol.trust import SYSTEM, Trust
from worker.delivery import ReportsMissing
from worker.dialogue import Mouth
from worker.native.attempt import NativeAttempt
from worker.native.control import Perform, Storing
from worker.native.interface import INativeJob
from worker.native.quick import Quick
from worker.native.registry import is_quick
from worker.native.runners import Runners
from worker.slots import Slots

#: Attempts of which something is left to record.
KEPT_LIMIT = 10_000
#: Seconds between two looks for leases that nobody renews.
LOOK = 1.0


def _now() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Natives:
    """All native attempts; a `worker.dialogue.Attempts`."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        slots: Slots,
        callables: Mapping[str, INativeJob],
        commands: Mapping[str, tuple[str, ...]],
        trust: Trust = SYSTEM,
        clock: Callable[[], float] = _now,
    ) -> None:
        self._reactor = reactor
        self._slots = slots
        self._clock = clock
        self._quick = {name: each for name, each in callables.items() if is_quick(each)}
        self._commands = commands
        self._trust = trust
        self._names = frozenset([*callables, *commands])
        self._performer = Quick()
        self._runners = Runners(reactor)
        self._held: dict[Attempt, NativeAttempt] = {}
        self._running: set[NativeAttempt] = set()
        self._starving: set[NativeAttempt] = set()
        self._mouth: Mouth | None = None
        self._renewed_at = clock()
        self._looking: IDelayedCall | None = None
        self._stopping = False
        slots.taken_by(lambda: len(self._running))

    @property
    def performs(self) -> tuple[str, ...]:
        """The names of what this worker performs."""
        return tuple(sorted(self._names))

    def has(self, key: Attempt) -> bool:
        """Whether that attempt is native, and here."""
        return key in self._held

    # -- what the dialogue asks (`worker.dialogue.Attempts`)

    def holding(self) -> tuple[Holding, ...]:
        """Every attempt that lives or has something left to report."""
        return tuple(
            Holding(job=key.job, attempt=key.attempt, lives=each.lives)
            for key, each in self._held.items()
        )

    def resume(self, mouth: Mouth, welcome: Welcome) -> None:
        """A session is open: go on where the master stands."""
        self._mouth = mouth
        numbers = {Attempt(r.job, r.attempt): r.number for r in welcome.recorded}
        for key in welcome.forget:
            self._drop(key)
        for key, each in list(self._held.items()):
            try:
                each.resume(numbers.get(key, 0))
            except ReportsMissing as error:
                self._drop(key)
                mouth.give_up(f"this worker lost job {key.job}: {error}")
                return
            self._look_at(each)

    def suspend(self) -> None:
        """The session is over: what comes now waits in memory."""
        self._mouth = None
        self._starving.clear()
        for each in self._held.values():
            each.suspend()

    def take(self, start: Start) -> None:
        """Perform the order, or refuse it."""
        order = start.order
        assert isinstance(order, NativeOrder)
        key = Attempt(order.job, order.attempt)
        why = self._why_not(key, order.performs)
        if why:
            self._refuse(key, why)
            return
        attempt = NativeAttempt(key, self._mouth_now, self._ended)
        self._held[key] = attempt
        attempt.begin()
        quick = self._quick.get(order.performs)
        if quick is not None and self._performer.may(order.performs):
            self._perform_now(attempt, quick, order)
        else:
            self._hand_over(attempt, order)

    def settle(self, recorded: Recorded) -> None:
        """The master has some reports of an attempt."""
        attempt = self._held.get(Attempt(recorded.job, recorded.attempt))
        if attempt is not None:
            attempt.settle(recorded.number)
            self._look_at(attempt)
        self.feed()

    def feed(self) -> None:
        """There may be room in the line for those that had to wait."""
        for each in list(self._starving):
            each.pump()
            self._look_at(each)

    def forget(self, forget: Forget) -> None:
        """An attempt no longer counts."""
        self._drop(Attempt(forget.job, forget.attempt))
        self.feed()

    def cancel(self, cancel: Cancel) -> None:
        """Somebody wants an attempt to end. One that is not here has ended."""
        attempt = self._held.get(Attempt(cancel.job, cancel.attempt))
        if attempt is not None and attempt.runner is not None:
            attempt.runner.stop(Result.CANCELLED, f"cancelled: {cancel.why}")

    def renew(self) -> None:
        """The master renewed the leases."""
        self._renewed_at = self._clock()

    # -- the daemon's end

    async def stop(self, why: str) -> None:
        """End all that runs, as an error, which another worker may do better.

        Returns when nothing of it is left.
        """
        self._stopping = True
        for each in list(self._running):
            if each.runner is not None:
                each.runner.stop(Result.ERROR, why)
        await self._runners.until_idle()
        self._runners.close()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    # -- inside

    def _why_not(self, key: Attempt, performs: str) -> str:
        if self._stopping:
            return "this worker is stopping"
        if performs not in self._names:
            return f"this worker performs no {performs!r}"
        if key in self._held:
            return "this worker has that attempt already"
        if len(self._held) >= KEPT_LIMIT:
            return f"{KEPT_LIMIT} ends of native jobs wait to be recorded already"
        return self._slots.why_none()

    def _refuse(self, key: Attempt, why: str) -> None:
        self.log.warn(
            "native job {key.job} attempt {key.attempt} refused: {why}", key=key, why=why
        )
        if self._mouth is not None:
            self._mouth.refused(key.job, key.attempt, why)

    def _perform_now(
        self, attempt: NativeAttempt, native_job: INativeJob, order: NativeOrder
    ) -> None:
        began = time.perf_counter()
        outcome, chunks = self._performer.perform(
            native_job, order.job, order.attempt, order.arguments
        )
        ended = Ended(
            at=time.time(),
            result=outcome.result,
            reason=outcome.reason,
            output=outcome.output,
            seconds=time.perf_counter() - began,
        )
        if chunks and self._mouth is not None:
            # The end alone would stand for it.
            self._mouth.accepted(order.job, order.attempt)
        for chunk in chunks:
            attempt.say(chunk)
        attempt.say(ended)
        self._look_at(attempt)

    def _hand_over(self, attempt: NativeAttempt, order: NativeOrder) -> None:
        asked = Perform(
            job=order.job,
            attempt=order.attempt,
            performs=order.performs,
            arguments=order.arguments,
            argv=self._commands.get(order.performs),
            run=order.limits.run,
            idle=order.limits.idle,
            storing=self._storing(order),
        )
        try:
            attempt.runner = self._runners.perform(asked, attempt)
        except OSError as error:
            del self._held[attempt.key]
            self._refuse(attempt.key, f"no process could be started for it: {error}")
            return
        self._running.add(attempt)
        attempt.taken_at = self._clock()
        attempt.fence_after = order.fence_after
        if order.fence_after is not None and self._looking is None:
            self._looking = self._reactor.callLater(LOOK, self._look_at_leases)
        if self._mouth is not None:
            self._mouth.accepted(order.job, order.attempt)

    def _storing(self, order: NativeOrder) -> Storing | None:
        if order.artifacts is None:
            return None
        return Storing(
            url=order.artifacts.url,
            token=order.artifacts.token,
            ca_file=self._trust.ca_file,
            master_fingerprint=self._trust.fingerprint,
        )

    def _ended(self, attempt: NativeAttempt) -> None:
        self._running.discard(attempt)

    def _look_at(self, attempt: NativeAttempt) -> None:
        """Is it done with, or does it wait for room in the line?"""
        if attempt.is_done:
            self._held.pop(attempt.key, None)
            self._starving.discard(attempt)
        elif attempt.starves:
            self._starving.add(attempt)
        else:
            self._starving.discard(attempt)

    def _drop(self, key: Attempt) -> None:
        attempt = self._held.pop(key, None)
        if attempt is None:
            return
        self._running.discard(attempt)
        self._starving.discard(attempt)
        if attempt.runner is not None:
            attempt.runner.let_go()

    def _look_at_leases(self) -> None:
        """Stop what no master knows to be ours any more: it may run elsewhere by now."""
        self._looking = None
        now = self._clock()
        for each in list(self._running):
            if each.fence_after is None or each.runner is None:
                continue
            if now - max(self._renewed_at, each.taken_at) >= each.fence_after:
                each.runner.stop(
                    Result.ERROR,
                    f"for {each.fence_after:g} seconds no master renewed the lease of this "
                    "job, so its worker stopped it",
                )
        if any(each.fence_after is not None for each in self._running):
            self._looking = self._reactor.callLater(LOOK, self._look_at_leases)

    def _mouth_now(self) -> Mouth | None:
        return self._mouth
