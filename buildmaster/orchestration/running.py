"""Runs workflows in a master: its threads, its connections, its rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from buildmaster.database import Database
from buildmaster.orchestration.classes import WorkflowClasses
from buildmaster.orchestration.local_calls import LocalCalls
from buildmaster.orchestration.stepping import Enqueue, Stepper
from buildmaster.orchestration.submitting import Prepare, Submitting
from buildmaster.orchestration.threads import Threads
from buildmaster.orchestration.timing import Timing
from buildmaster.rounds import Rounds
from buildmaster.store import workflows as store
from buildmaster.submission import TRUSTED

#: Threads for steps, and for local actions; how many that hang are replaced.
STEP_THREADS, STEP_THREADS_LOST = 2, 8
LOCAL_THREADS, LOCAL_THREADS_LOST = 8, 24
#: Connections of the steps: dispatch has its own, and never waits for a workflow.
CONNECTIONS = 4
#: Seconds after which every round looks anyway.
INTERVAL = 5.0


def step_threads(reactor: Any) -> Threads:
    """Where the code of workflows runs."""
    return Threads(
        reactor, "headrace-step", STEP_THREADS, STEP_THREADS_LOST, interrupts=True
    )


class Running:
    """Everything that moves workflows on."""

    def __init__(
        self,
        dsn: str,
        reactor: Any,
        master: str,
        classes: WorkflowClasses,
        threads: Threads,
        enqueue: Enqueue,
        prepare: Prepare,
        cancelled: Callable[[], None],
        trust_domain: str = TRUSTED,
    ) -> None:
        self._reactor = reactor
        self._master = master
        self.database = Database(dsn, reactor, size=CONNECTIONS, name="headrace-workflows")
        self._threads = threads
        self._local_threads = Threads(
            reactor, "headrace-local", LOCAL_THREADS, LOCAL_THREADS_LOST, interrupts=False
        )
        self.stepper = Stepper(
            self.database,
            classes,
            enqueue,
            threads,
            cancelled=cancelled,
            asked=lambda: self._wake_others(),
            trust_domain=trust_domain,
        )
        self._timing = Timing(self.database, reactor, lambda: self.wake())
        self._calls = LocalCalls(
            self.database,
            self._local_threads,
            reactor,
            master,
            lambda: self._calling.wake(),
        )
        submitting = Submitting(self.database, prepare, master)
        self._stepping = Rounds("workflows", self.stepper.round, reactor, INTERVAL)
        self._timers = Rounds("workflow timers", self._timing.round, reactor, INTERVAL)
        self._calling = Rounds("local actions", self._calls.round, reactor, INTERVAL)
        self._submitting = Rounds(
            "builds of workflows", submitting.round, reactor, INTERVAL
        )

    @property
    def _rounds(self) -> tuple[Rounds, ...]:
        return (self._stepping, self._timers, self._calling, self._submitting)

    async def start(self, undo: list[Callable[[], object]]) -> None:
        """Begin; what ends it again is added to ``undo``."""
        await self.database.start()
        undo.append(lambda: Deferred.fromCoroutine(self.database.stop()))
        await store.let_go(self.database, self._master)
        undo += [self._threads.stop, self._local_threads.stop, self._timing.stop]
        for rounds in self._rounds:
            rounds.startService()
            undo.append(rounds.stopService)
        self.database.listen(store.CHANNEL, lambda payload: self._stepping.wake())

    def wake(self) -> None:
        """Something is due."""
        for rounds in self._rounds:
            rounds.wake()

    def _wake_others(self) -> None:
        for rounds in (self._timers, self._calling, self._submitting):
            rounds.wake()
