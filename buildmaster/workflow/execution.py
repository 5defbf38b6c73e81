"""Plays a workflow's code against its history: the pure heart of the engine.

No loop, thread, clock or database: `Execution.apply` takes events and returns what the code
asked for, and `advance` does so from the beginning. The same events give the same commands,
in any process; where they do not, `Divergence` says so.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import msgspec

from buildmaster.workflow.context import Context
from buildmaster.workflow.definition import Definition
from buildmaster.workflow.failures import (
    BadPayload,
    BadWorkflow,
    Cancelled,
    ChildFailed,
    ContinueAsNew,
    Divergence,
    JobRefused,
    LocalFailed,
    ReadOnly,
    TimedOut,
    Unexpected,
    WorkflowFailed,
)
from buildmaster.workflow.history import (
    MOST_EVENTS,
    Command,
    CommandKind,
    Ending,
    HistoryEvent,
    Wait,
)
from buildmaster.workflow.payload import plain, typed
from buildmaster.workflow.tasks import Future, Task, Tasks

#: What the failure of a command is raised as.
_FAILURES = {
    "local": LocalFailed,
    "child": ChildFailed,
    "job": JobRefused,
    "build": JobRefused,
    "ensure": JobRefused,
}


@dataclass
class Step:
    """What came of some events."""

    commands: list[Command] = field(default_factory=list)  #: new ones
    dropped: list[int] = field(default_factory=list)  #: commands nobody waits for any more
    ending: Ending | None = None
    waits: list[Wait] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def advance(
    definition: Definition,
    events: Sequence[HistoryEvent],
    recorded: Sequence[Command] = (),
    *,
    name: str = "",
    generation: int = 1,
    position: int | None = None,
) -> Step:
    """What the code asks for after ``events``.

    The first ``position`` of them were dealt with before, and must give just the commands
    that are ``recorded`` again; without it, that is up to the last of these.
    """
    execution = Execution(definition, name, generation)
    if position is None:
        position = recorded[-1].event + 1 if recorded else 0
    execution.replay(events[:position], recorded)
    return execution.apply(events[position:])


class Execution:
    """One generation of a workflow, alive: its instance, its tasks, what it asked for."""

    def __init__(self, definition: Definition, name: str = "", generation: int = 1) -> None:
        self.definition = definition
        self.name = name
        self.generation = generation
        self.tasks = Tasks()
        self.now = 0  #: microseconds since 1970
        self.event = -1  #: the number of the one that is dealt with, or was last
        self.commands: list[Command] = []
        self._recorded: Sequence[Command] = ()
        self.is_replaying = False  #: whether it only comes to where it was
        self._pending: dict[int, tuple[Future[Any], CommandKind, Any]] = {}
        self._patches: dict[str, bool] = {}
        self._reading: str | None = None
        self._instance: Any = None
        self._main: Task[Any] | None = None
        self._handlers: list[Task[Any]] = []
        self._is_closing = False
        self._cancelled_why = ""
        self._step = Step()
        self._ending: Ending | None = None
        self._divergence: Divergence | None = None

    @property
    def position(self) -> int:
        """How many events were dealt with."""
        return self.event + 1

    # Events.

    def replay(self, events: Sequence[HistoryEvent], recorded: Sequence[Command]) -> None:
        """Come to where these events led before; `Divergence` where that is not so."""
        self._recorded, self.is_replaying = recorded, True
        try:
            self.apply(events)
            self._check_asked()
            if len(self.commands) < len(recorded):
                self._diverged(len(self.commands), None)
        finally:
            self.is_replaying, self._recorded = False, ()

    def apply(self, events: Sequence[HistoryEvent]) -> Step:
        """Deal with further events, in their order.

        `Divergence` and `Unexpected` leave it useless: forget it then, and replay.
        """
        self._step = Step()
        for event in events:
            if self._ending is not None:
                break
            self.event, self.now = event.n, max(self.now, event.at)
            self._take(event)
            self._drain()
            if self._divergence is not None:
                raise self._divergence
            if self.is_replaying:
                self._check_asked()
        step, self._step = self._step, Step()
        step.ending = self._ending
        step.waits = [] if self._ending else self._waits()
        return step

    def _take(self, event: HistoryEvent) -> None:
        match event.type:
            case "started":
                self._begin(event)
            case "signal":
                self._signal(event)
            case "completed" | "fired" | "failed":
                self._answer(event)
            case "cancel":
                self._cancelled_why = self._cancelled_why or str(event.payload or "")
                for task in list(self.tasks.all):
                    task.cancel()
            case "timeout":
                self._end(Ending(result="timeout", reason="it took longer than it may"))
        if event.n >= MOST_EVENTS and self._ending is None:
            self._end(
                Ending(
                    result="failure",
                    reason=f"its history has {MOST_EVENTS} events, which is the most: call"
                    f" continue_as_new when ctx.should_continue says so",
                )
            )

    def _begin(self, event: HistoryEvent) -> None:
        context = Context(self, self.name, self.generation, str(event.payload["seed"]))
        with self._own_mistakes():
            self._instance = self.definition.cls()
            self._instance.ctx = context
        arguments = self.definition.run.arguments(event.payload["arguments"])
        self._main = self.tasks.start(self._instance.run(context, *arguments), "run")
        self._main.is_looked_at = True

    def _signal(self, event: HistoryEvent) -> None:
        handler = self.definition.signals.get(event.name or "")
        if handler is None:
            self._warn(f"there is no signal {event.name} here (event {event.n})")
            return
        try:
            arguments = handler.arguments(
                event.payload if event.payload is not None else []
            )
        except BadPayload as error:
            self._warn(f"event {event.n}: {error}")
            return

        async def handle() -> None:
            done = getattr(self._instance, handler.method)(*arguments)
            if inspect.iscoroutine(done):
                await done

        self._handlers.append(self.tasks.start(handle(), f"signal {handler.name}"))

    def _answer(self, event: HistoryEvent) -> None:
        found = self._pending.pop(event.seq if event.seq is not None else -1, None)
        if found is None:
            return  # nobody waits for it any more, or it is told twice
        future, kind, returns = found
        if event.type == "failed":
            failure = _FAILURES.get(kind, WorkflowFailed)
            told = event.payload if isinstance(event.payload, dict) else {}
            more = (
                [str(told["kind"])]
                if told.get("kind") and kind in ("local", "child")
                else []
            )
            is_late = kind == "local" and told.get("kind") == "TimedOut"
            message = str(told.get("message", ""))
            future.fail(TimedOut(message) if is_late else failure(message, *more))
            return
        try:
            future.resolve(typed(event.payload, returns, "what came back"))
        except BadPayload as error:
            future.fail(WorkflowFailed(str(error)))

    def _warn(self, warning: str) -> None:
        if not self.is_replaying:
            self._step.warnings.append(warning)

    # What the code does then.

    def _drain(self) -> None:
        if self._ending is not None:
            return
        self.tasks.drain()
        self._check_handlers()
        main = self._main
        if main is None or not main.is_done or self._ending is not None:
            return
        if not self._is_closing:
            # What run has left behind is cancelled; handlers come to their end.
            self._is_closing = True
            self._check_main(main)
            if self._ending is not None:
                return
            for task in self.tasks.all:
                if task not in self._handlers:
                    task.cancel()
            self.tasks.drain()
            self._check_handlers()
        if self._ending is None and all(task.is_done for task in self.tasks.all):
            self._check_left()
            self._end_well(main)

    def _check_main(self, main: Task[Any]) -> None:
        match main.error:
            case None | ContinueAsNew() | Cancelled():
                pass
            case WorkflowFailed() as failed:
                self._end(Ending(result="failure", reason=_sentence(failed)))
            case error:
                raise _unexpected(error)

    def _end_well(self, main: Task[Any]) -> None:
        match main.error:
            case None:
                try:
                    value = plain(main._value, "what run returns")
                except BadPayload as error:
                    raise Unexpected(error, "") from error
                self._end(Ending(result="success", value=value))
            case ContinueAsNew(arguments=arguments):
                value = plain(list(arguments), "what run is given")
                self._end(Ending(result="continued", value=value))
            case _:
                why = self._cancelled_why or "it was cancelled"
                self._end(Ending(result="cancelled", reason=why))

    def _check_handlers(self) -> None:
        for task in [each for each in self._handlers if each.is_done]:
            self._handlers.remove(task)
            self._judge(task.error)

    def _check_left(self) -> None:
        for task in self.tasks.all:
            if task.error is not None and not task.is_looked_at:
                self._judge(task.error)

    def _judge(self, error: BaseException | None) -> None:
        """What the failure of a task that nobody awaits means."""
        match error:
            case None | Cancelled():
                return
            case WorkflowFailed() as failed:
                self._end(Ending(result="failure", reason=_sentence(failed)))
            case ContinueAsNew():
                raise _unexpected(BadWorkflow("only run itself may continue as new"))
            case _:
                raise _unexpected(error)

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self.close()

    @contextmanager
    def _own_mistakes(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise _unexpected(error) from error

    def close(self) -> None:
        """Forget all that is under way; nothing of it happens any more."""
        self._reading = "a workflow that has ended"
        self.tasks.close()

    # Commands.

    def command(
        self,
        kind: CommandKind,
        name: str,
        arguments: Any,
        options: dict[str, Any],
        wait: Wait | None = None,
        returns: Any = Any,
    ) -> Future[Any]:
        """Ask for something; what comes of it is known later."""
        seq = self._ask(kind, name, arguments, options)
        if wait is not None:
            wait = msgspec.structs.replace(wait, seq=seq)
        future: Future[Any] = Future(wait, lambda: self._drop(seq))
        self._pending[seq] = (future, kind, returns)
        return future

    def patched(self, change: str) -> bool:
        """Whether the workflow has the change, which is noted when it is first asked."""
        if change not in self._patches:
            seq = len(self.commands)
            if self.is_replaying:
                found = self._recorded[seq] if seq < len(self._recorded) else None
                self._patches[change] = (
                    found is not None and found.kind == "patch" and found.name == change
                )
            else:
                self._patches[change] = True
            if self._patches[change]:
                self._ask("patch", change, None, {})
        return self._patches[change]

    def _ask(
        self, kind: CommandKind, name: str, arguments: Any, options: dict[str, Any]
    ) -> int:
        if self._reading is not None:
            raise ReadOnly(f"{self._reading} may only look, and asked for {kind} {name}")
        if self.is_replaying and kind != "patch":
            self._pass_patches()
        asked = Command(
            seq=len(self.commands),
            event=self.event,
            kind=kind,
            name=name,
            arguments=arguments,
            options=options,
        )
        if self.is_replaying:
            recorded = (
                self._recorded[asked.seq] if asked.seq < len(self._recorded) else None
            )
            if (
                recorded is None
                or recorded.said != asked.said
                or recorded.event != asked.event
            ):
                self._diverged(asked.seq, asked)
        else:
            self._step.commands.append(asked)
        self.commands.append(asked)
        return asked.seq

    def _drop(self, seq: int) -> None:
        found = self._pending.pop(seq, None)
        if found is not None and not self.is_replaying:
            self._step.dropped.append(seq)

    def _pass_patches(self) -> None:
        """Markers of changes that the code no longer asks about are passed over."""
        while len(self.commands) < len(self._recorded):
            found = self._recorded[len(self.commands)]
            if found.kind != "patch" or found.event > self.event:
                break
            self.commands.append(found)

    def _check_asked(self) -> None:
        """All that the history has so far was asked for, too."""
        self._pass_patches()
        seq = len(self.commands)
        if seq < len(self._recorded) and self._recorded[seq].event <= self.event:
            self._diverged(seq, None)

    def _diverged(self, seq: int, asked: Command | None) -> None:
        recorded = self._recorded[seq] if seq < len(self._recorded) else None
        divergence = Divergence(
            seq,
            None if recorded is None else {**recorded.said, "event": recorded.event},
            None if asked is None else {**asked.said, "event": asked.event},
        )
        # Code that swallows what is raised does not get away with it.
        self._divergence = divergence
        raise divergence

    # Looking.

    @contextmanager
    def reading(self, who: str) -> Iterator[None]:
        """While this lasts nothing may be asked for."""
        before, self._reading = self._reading, who
        try:
            yield
        finally:
            self._reading = before

    def holds(self, condition: Callable[[], bool], who: str) -> bool:
        """Whether a condition holds, which may only look; asked after each event."""
        before, self._reading = self._reading, who
        try:
            return bool(condition())
        finally:
            self._reading = before

    def query(self, name: str, given: Any) -> Any:
        """What a query answers, as JSON; `BadPayload`, `ReadOnly`, `BadWorkflow`.

        What a query changes is seen as far as it is among the workflow's own attributes;
        forget the execution after one that is `ReadOnly`.
        """
        handler = self.definition.queries.get(name)
        if handler is None:
            known = ", ".join(self.definition.queries) or "none"
            raise BadWorkflow(f"there is no query {name} here; there are: {known}")
        arguments = handler.arguments(given)
        before = _state(self._instance)
        with self.reading(f"the query {name}"):
            answer = getattr(self._instance, handler.method)(*arguments)
        after = _state(self._instance)
        if before is not None and after != before:
            changed = [key for key in after or {} if before.get(key) != (after or {})[key]]
            raise ReadOnly(f"the query {name} changed {', '.join(changed) or 'something'}")
        return plain(answer, f"what {name} answers")

    def _waits(self) -> list[Wait]:
        """What the tasks wait for; those that wait for other tasks do not count."""
        found: list[Wait] = []
        for task in self.tasks.all:
            waited = task.waits_for
            if not task.is_done and waited is not None and waited.wait is not None:
                found.append(waited.wait)
        awaited = {wait.seq for wait in found}
        for seq, (future, kind, _) in self._pending.items():
            # Also what was started, and is to be awaited only later, or by gather.
            if kind != "timer" and seq not in awaited and future.wait is not None:
                found.append(future.wait)
        return found


def _state(instance: Any) -> dict[str, Any] | None:
    """The attributes of a workflow, copied; None where that cannot be."""
    try:
        return deepcopy({k: v for k, v in vars(instance).items() if k != "ctx"})
    except Exception:
        return None


def _sentence(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:4000]


def _unexpected(error: BaseException | None) -> BaseException:
    assert error is not None
    if isinstance(error, Divergence):
        return error
    return Unexpected(error, "".join(traceback.format_exception(error))[-8000:])
