"""The attempts on this worker's disk, from the order until nothing of them is left.

Each has a folder ``JOB-ATTEMPT`` and a supervisor that works in it (`worker.supervisor`).
The supervisors outlive this daemon: a new one finds the folders, attaches to those that
live, and reports the end of those that died.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from protocol.messages import Attempt, Cancel, Forget, Holding, Recorded, Start, Welcome
from protocol.order import Order
from worker.dialogue import Mouth
from worker.held import Held
from worker.slots import Slots
from worker.supervisor import attach
from worker.supervisor.settings import Settings

_FOLDER = re.compile(r"([1-9][0-9]{0,18})-([1-9][0-9]{0,18})")

#: Says why this worker cannot run an order, or that it can: "".
Unfit = Callable[[Order], str]


class Holdings:
    """All attempts, and the session through which they report."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        settings: Settings,
        *,
        slots: Slots,
        unfit: Unfit,
        free_bytes: int,
        launch: Callable[[Path], int] = attach.launch,
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._settings = settings
        self._slots = slots
        slots.taken_by(lambda: sum(held.is_busy for held in self._held.values()))
        self._unfit = unfit
        self._free_bytes = free_bytes
        self._launch = launch
        self._held: dict[Attempt, Held] = {}
        self._mouth: Mouth | None = None
        self._stopping = False
        self._starts = DeferredLock()

    def load(self) -> None:
        """Find what earlier daemons left; OSError if the folder cannot be read."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in sorted(self._folder.iterdir()):
            named = _FOLDER.fullmatch(folder.name)
            if named is None:
                self.log.warn("{folder} is no attempt of ours; left alone", folder=folder)
                continue
            held = self._add(Attempt(int(named[1]), int(named[2])))
            held.find()

    # -- what the dialogue asks (`worker.dialogue.Attempts`)

    def holding(self) -> tuple[Holding, ...]:
        """Every attempt that lives or has something left to report."""
        return tuple(
            Holding(job=held.key.job, attempt=held.key.attempt, lives=held.lives)
            for held in self._held.values()
            if held.counts
        )

    def resume(self, mouth: Mouth, welcome: Welcome) -> None:
        """A session is open: go on where the master stands."""
        self._mouth = mouth
        numbers = {Attempt(r.job, r.attempt): r.number for r in welcome.recorded}
        for key in welcome.forget:
            self._drop(key)
        for key, held in list(self._held.items()):
            if held.counts:
                held.resume(numbers.get(key, 0), welcome.files)

    def suspend(self) -> None:
        """The session is over: what comes now waits on the disk."""
        self._mouth = None
        for held in list(self._held.values()):
            held.suspend()

    def take(self, start: Start) -> None:
        """Accept an order or refuse it, by and by."""
        order = start.order
        key = Attempt(order.job, order.attempt)
        assert isinstance(order, Order)
        why = self._why_not(key, order)
        if why:
            self._refuse(key, why)
            return
        self._add(key).arrive(order, self._settings)

    def settle(self, recorded: Recorded) -> None:
        """The master has some reports of an attempt."""
        held = self._held.get(Attempt(recorded.job, recorded.attempt))
        if held is not None:
            held.settle(recorded.number)
            self.feed()

    def feed(self) -> None:
        """There may be room in the line for those that had to wait."""
        for held in [held for held in self._held.values() if held.starves]:
            held.pump()

    def forget(self, forget: Forget) -> None:
        """An attempt no longer counts."""
        self._drop(Attempt(forget.job, forget.attempt))

    def cancel(self, cancel: Cancel) -> None:
        """Somebody wants an attempt to end. One that is not here has ended."""
        held = self._held.get(Attempt(cancel.job, cancel.attempt))
        if held is not None:
            held.cancel(cancel.why)

    def renew(self) -> None:
        """The master renewed the leases: the supervisors must hear of it."""
        for held in self._held.values():
            held.renew()

    # -- the daemon's end

    async def cancel_all(self, why: str) -> None:
        """Cancel every attempt; returns when all have ended.

        If there is a session, also their last reports are recorded by then.
        """
        self._stopping = True
        for held in self._held.values():
            held.cancel(why)
        # One by one, not in a list: who gives up the waiting must hear that it ended so.
        for held in list(self._held.values()):
            await held.until_over()
        while self._mouth is not None and any(held.counts for held in self._held.values()):
            await _pause(self._reactor)

    async def kill_all(self) -> None:
        """End the supervisors that are still there, without a word."""
        await DeferredList([held.kill() for held in self._held.values()])

    def detach(self) -> None:
        """Let go of all; the supervisors live on."""
        self._stopping = True
        for held in self._held.values():
            held.detach()

    # -- inside

    def _add(self, key: Attempt) -> Held:
        folder = self._folder / f"{key.job}-{key.attempt}"
        held = Held(
            self._reactor,
            key,
            folder,
            start=self._start,
            mouth=lambda: self._mouth,
            removed=self._removed,
        )
        self._held[key] = held
        return held

    def _start(self, folder: Path) -> Deferred[None]:
        """Start a supervisor: in a thread, for it takes a while, and one at a time."""
        return self._starts.run(
            deferToThreadPool,
            self._reactor,
            self._reactor.getThreadPool(),
            attach.start,
            folder,
            self._launch,
        )

    def _removed(self, held: Held) -> None:
        self._held.pop(held.key, None)
        # What it had in the line was answered by ``forget``, not by ``recorded``.
        self.feed()

    def _drop(self, key: Attempt) -> None:
        held = self._held.get(key)
        if held is not None:
            self.log.info("job {key.job} attempt {key.attempt} no longer counts", key=key)
            held.forget()

    def _refuse(self, key: Attempt, why: str) -> None:
        self.log.warn(
            "job {key.job} attempt {key.attempt} refused: {why}", key=key, why=why
        )
        if self._mouth is not None:
            self._mouth.refused(key.job, key.attempt, why)

    def _why_not(self, key: Attempt, order: Order) -> str:
        if self._stopping:
            return "this worker is stopping"
        if key in self._held:
            return "this worker has that attempt already"
        return self._slots.why_none() or self._unfit(order) or self._why_no_room()

    def _why_no_room(self) -> str:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            return f"this worker's folder {self._folder} cannot be used: {error.strerror}"
        if free >= self._free_bytes:
            return ""
        return (
            f"the worker's disk is full: {free // 2**20} MiB are free in {self._folder}, "
            f"{self._free_bytes // 2**20} MiB are needed; its operator must make room"
        )


def _pause(reactor: Any) -> Deferred[None]:
    pause: Deferred[None] = Deferred()
    reactor.callLater(0.02, pause.callback, None)
    return pause
