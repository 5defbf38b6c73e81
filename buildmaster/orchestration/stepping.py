"""Takes the steps of workflows: each is one transaction, with the jobs that it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from buildmaster import intervention
from buildmaster.database import Cursor, Database, DatabaseAway
from buildmaster.orchestration.classes import WorkflowClasses
from buildmaster.orchestration.live import LiveWorkflows
from buildmaster.orchestration.threads import Threads, TookTooLong
from buildmaster.requests import Enqueued, GraphRequest, JobRequest, Refusal
from buildmaster.store import workflows as store
from buildmaster.store.workflows import Taken, WantedCollection
from buildmaster.submission import TRUSTED
from buildmaster.workflow.execution import Execution, Step
from buildmaster.workflow.failures import BadWorkflow, Divergence, Unexpected
from buildmaster.workflow.history import WARNED_EVENTS, Command, Ending

#: Steps at a time, and workflows that a round looks for at a time.
AT_ONCE = 4
LOOKED_FOR = 200
#: Events that one step deals with.
EVENTS = 500
#: Seconds that the code of a workflow has for a step.
PATIENCE = 5.0
#: Seconds until a step that failed is tried again: doubled each time, up to the last.
FIRST_DELAY, LONGEST_DELAY = 1.0, 300.0

#: Writes a graph of new jobs in the transaction of the cursor.
Enqueue = Callable[[Cursor, GraphRequest, str], Awaitable[Enqueued]]


class Stepper:
    """One round lets every workflow take a step that has something to deal with."""

    log = Logger()

    def __init__(
        self,
        database: Database,
        classes: WorkflowClasses,
        enqueue: Enqueue,
        threads: Threads,
        *,
        cancelled: Callable[[], None] = lambda: None,
        asked: Callable[[], None] = lambda: None,
        trust_domain: str = TRUSTED,
        live: int = 500,
        patience: float = PATIENCE,
    ) -> None:
        """``cancelled`` is called when a worker may have to be told to stop, ``asked``
        when there is something new for the others that work for workflows;
        ``trust_domain`` is whose collections they see."""
        self._database = database
        self._classes = classes
        self._enqueue = enqueue
        self._threads = threads
        self._cancelled = cancelled
        self._asked = asked
        self._patience = patience
        self._trust_domain = trust_domain
        self.live = LiveWorkflows(live)
        self._after = 0
        self.steps = 0  #: that were written; for tests and measurements

    async def round(self) -> None:
        """Go on until nobody has anything to deal with that could be had now."""
        while True:
            due = await store.due_workflows(self._database, self._after, LOOKED_FOR)
            # Those with higher numbers have their turn, too, however many there are.
            begun, self._after = self._after, due[-1] if len(due) == LOOKED_FOR else 0
            if due:
                moved = await self._steps(due)
                if moved or self._after:
                    continue
            if not begun:
                return

    async def _steps(self, due: list[int]) -> bool:
        """Whether any of them could be taken."""
        waiting, moved = list(reversed(due)), False

        async def work() -> None:
            nonlocal moved
            while waiting:
                moved = await self._try(waiting.pop()) or moved

        workers = [Deferred.fromCoroutine(work()) for _ in range(min(AT_ONCE, len(due)))]
        try:
            await gatherResults(workers, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return moved

    async def _try(self, workflow: int) -> bool:
        """One step; what goes wrong with it is that workflow's own trouble."""
        try:
            return await self.step(workflow)
        except DatabaseAway:
            raise
        except Exception as error:
            self.log.failure("workflow {workflow} took no step", workflow=workflow)
            park = partial(self._park, workflow=workflow, name=str(workflow), error=error)
            await self._database.transaction(park)
            return False

    async def step(self, workflow: int) -> bool:
        """Deal with the events of one workflow; False if there are none to be had."""
        done = await self._database.transaction(partial(self._step, workflow))
        if done is None:
            return False
        execution, step, is_cancelling = done
        self.steps += 1
        if execution is not None:
            gone = self.live.keep(workflow, execution)
            if gone is not None:
                # Its own clean-up may run now, and that is not for the reactor's thread.
                closing = self._threads.run(gone.close, self._patience)
                closing.addErrback(lambda failure: None)
        if is_cancelling:
            self._cancelled()
        if step.commands:
            self._asked()
        return True

    async def _step(
        self, workflow: int, cursor: Cursor
    ) -> tuple[Execution | None, Step, bool] | None:
        # Taken out here: a transaction that is run again begins with a replay.
        live = self.live.take(workflow)
        known = (0, -1) if live is None else (live.generation, live.position)
        try:
            taken = await store.take(cursor, workflow, known, EVENTS)
        except msgspec.MsgspecError as error:
            await self._park(cursor, workflow, f"number {workflow}", error)
            return None
        if taken is None:
            return None
        try:
            playing = self._execution(taken, live)
            step = await self._threads.run(partial(_play, playing, taken), self._patience)
            execution: Execution | None = playing
        except Exception as error:
            if not any(each.type == "timeout" for each in taken.pending):
                await self._park(cursor, taken.id, taken.name, error)
                return None
            # Its time is over, whatever its code would say to that.
            execution, step = self._timed_out(taken, error)
        runs = await self._write(cursor, taken, execution, step)
        for run in runs:
            await intervention.cancel_run(
                cursor, run, f"workflow {taken.name}", "nobody waits for it any more"
            )
        is_over = step.ending is not None
        if is_over and execution is not None:
            execution.close()
        return None if is_over else execution, step, bool(runs)

    def _timed_out(self, taken: Taken, error: Exception) -> tuple[None, Step]:
        self.log.error(
            "workflow {name} ends by its time-out, and its code could not be run: {error}",
            name=taken.name,
            error=error,
        )
        reason = f"it took longer than it may; its code could not be run: {error}"
        return None, Step(ending=Ending(result="timeout", reason=reason[:4000]))

    def _execution(self, taken: Taken, live: Execution | None) -> Execution:
        if taken.history is None and live is not None:
            return live
        definition = self._classes.find(taken.class_, taken.version)
        return Execution(definition, taken.name, taken.generation)

    async def _write(
        self, cursor: Cursor, taken: Taken, execution: Execution | None, step: Step
    ) -> list[int]:
        position = taken.position if execution is None else execution.position
        dealt_with = position - taken.position
        runs = await store.record_step(
            cursor, taken, dealt_with, step.commands, step.dropped, step.waits
        )
        for command in step.commands:
            if command.seq not in step.dropped:
                await self._begin(cursor, taken, command)
        if step.ending is not None:
            runs += await store.end(cursor, taken.id, step.ending)
        for warning in step.warnings:
            self.log.warn("workflow {name}: {told}", name=taken.name, told=warning)
        if taken.position < WARNED_EVENTS <= position:
            self.log.warn(
                "the history of workflow {name} has {events} events: it should continue as"
                " new",
                name=taken.name,
                events=position,
            )
        return runs

    async def _begin(self, cursor: Cursor, taken: Taken, command: Command) -> None:
        """What belongs to a command besides its row."""
        match command.kind:
            case "job":
                await self._start_job(cursor, taken, command)
            case "ensure":
                await store.put_out(cursor, taken.place(command.seq))
            case "collection":
                wanted = msgspec.convert(command.arguments, WantedCollection)
                place = taken.place(command.seq)
                await store.await_collection(cursor, place, self._trust_domain, wanted)

    async def _start_job(self, cursor: Cursor, taken: Taken, command: Command) -> None:
        await store.savepoint(cursor)
        try:
            request = msgspec.convert(command.arguments, JobRequest)
            graph = GraphRequest(jobs=(request,), owner=taken.owner)
            enqueued = await self._enqueue(cursor, graph, f"workflow {taken.name}")
        except (Refusal, msgspec.ValidationError) as error:
            await store.back(cursor)
            await store.refuse_command(cursor, taken, command.seq, _told(error))
            return
        [job] = enqueued.jobs
        await store.await_job(cursor, taken.place(command.seq), job.id, enqueued.run)

    async def _park(
        self, cursor: Cursor, workflow: int, name: str, error: Exception
    ) -> None:
        reason = str(error)
        if isinstance(error, TookTooLong):
            reason = (
                f"its code was not back after {self._patience:g} s: it must not block; what"
                f" takes time is a local action or a job"
            )
        elif not isinstance(error, Divergence | Unexpected | BadWorkflow):
            reason = f"{type(error).__name__}: {error}"
        cause = error.trace if isinstance(error, Unexpected) else reason
        delay = await store.park(
            cursor, workflow, reason, cause, FIRST_DELAY, LONGEST_DELAY
        )
        self.log.error(
            "workflow {name} is parked for {delay:g} s: {reason}",
            name=name,
            delay=delay,
            reason=reason,
        )


def _play(execution: Execution, taken: Taken) -> Step:
    if taken.history is not None:
        execution.replay(taken.history, taken.commands or ())
    return execution.apply(taken.events)


def _told(error: Any) -> str:
    problems = "; ".join(each.message for each in getattr(error, "problems", ()))
    return f"{error} {problems}".strip()[:4000]
