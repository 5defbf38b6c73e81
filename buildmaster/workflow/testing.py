"""A test kit for workflows: play one with your own clock, replay it, crash it anywhere.

::

    play = Rehearsal(BuildHandler, "project", "abc123")
    play.answer(submit_srpm, returns=17)
    play.signal("build_ended", "srpm", True)
    assert play.waits == ["binary builds finished"]
    play.let_pass(hours=1)
    assert play.ending.result == "failure"
    crash_everywhere(play)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from buildmaster.workflow.actions import LocalCall, name_of
from buildmaster.workflow.definition import Definition, checked_arguments, definition_of
from buildmaster.workflow.execution import Execution, Step, advance
from buildmaster.workflow.failures import LocalFailed
from buildmaster.workflow.history import Command, Ending, History, HistoryEvent, Wait
from buildmaster.workflow.payload import plain

__all__ = ["Rehearsal", "crash_everywhere", "read_history", "replay"]

#: When a rehearsal begins, unless it says when.
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Rehearsal:
    """A workflow that is played in a test: time, signals and answers are the test's own.

    Each step replays the whole history, as after a restart: what differs from replay to
    replay fails here.
    """

    def __init__(
        self,
        cls: type[Any],
        *arguments: object,
        name: str = "rehearsal",
        start: datetime = START,
        seed: str = "seed",
    ) -> None:
        self.definition: Definition = definition_of(cls)
        self.name = name
        self.generation = 1
        self.events: list[HistoryEvent] = []
        self.commands: list[Command] = []
        self.open: dict[int, Command] = {}  #: what nobody has answered yet
        self.dropped: list[int] = []
        self.warnings: list[str] = []
        self.ending: Ending | None = None
        self.earlier: list[History] = []  #: generations before continue_as_new
        self._waits: list[Wait] = []
        self._answers: dict[str, Callable[..., Any]] = {}
        self._members: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        self._now = round(start.timestamp() * 1e6)
        self._seed = seed
        self._begin(checked_arguments(self.definition.run, list(arguments)))

    # What a test does.

    def answer(
        self,
        action: Callable[..., Any] | str,
        *,
        returns: Any = None,
        raises: Exception | None = None,
        by: Callable[..., Any] | None = None,
    ) -> None:
        """Answer each call of a local action, or job, from now on.

        ``by`` is called with the `LocalCall` and the arguments of a local action, or with
        the request of a job.
        """

        def answered(*arguments: Any) -> Any:
            if raises is not None:
                raise raises
            return returns if by is None else by(*arguments)

        self._answers[action if isinstance(action, str) else name_of(action)] = answered
        self._settle()

    def provide(self, collection: str, member: str, *, job: int = 1, **cell: str) -> None:
        """Put a member into a collection; waits that it completes are over."""
        members = self._members.setdefault(collection, {})
        place = (member, *sorted(cell.items()))
        members[place] = {"member": member, "job": job, "cell": cell}
        self._settle()

    def complete(self, name: str, value: Any = None) -> None:
        """Answer the oldest open command of that name."""
        command = self._oldest(name)
        self._tell("completed", seq=command.seq, payload=plain(value, name))

    def fail(self, name: str, message: str, kind: str = "") -> None:
        """Fail the oldest open command of that name."""
        payload = {"message": message, "kind": kind}
        self._tell("failed", seq=self._oldest(name).seq, payload=payload)

    def signal(self, name: str, *arguments: object) -> None:
        """Send a signal."""
        payload = plain(list(arguments), name)
        self._tell("signal", name=name, payload=payload)

    def cancel(self, why: str = "") -> None:
        """Cancel the workflow."""
        self._tell("cancel", payload=why)

    def query(self, name: str, *arguments: object) -> Any:
        """What a query answers now."""
        execution = Execution(self.definition, self.name, self.generation)
        execution.replay(self.events, self.commands)
        return execution.query(name, plain(list(arguments), name))

    def let_pass(self, **span: float) -> None:
        """Let time pass (as in `timedelta`), and all timers fire that are due meanwhile."""
        until = self._now + round(timedelta(**span).total_seconds() * 1e6)
        while self.ending is None:
            timers = [
                each
                for each in self.open.values()
                if each.kind == "timer" and each.options["due"] <= until
            ]
            if not timers:
                break
            first = min(timers, key=lambda each: (each.options["due"], each.seq))
            self._now = max(self._now, first.options["due"])
            self._tell("fired", seq=first.seq)
        self._now = max(self._now, until)

    # What it looks at.

    @property
    def now(self) -> datetime:
        """The time of the rehearsal."""
        return datetime.fromtimestamp(self._now / 1e6, UTC)

    @property
    def waits(self) -> list[str]:
        """The names of what it waits for."""
        return [each.name for each in self._waits]

    @property
    def asked(self) -> list[str]:
        """The names of all that was asked for so far but timers, in order."""
        kinds = ("local", "job", "build", "ensure", "collection", "child")
        return [each.name for each in self.commands if each.kind in kinds]

    @property
    def history(self) -> History:
        """The history of this generation so far."""
        return History(
            workflow=self.name,
            class_=self.definition.name,
            version=self.definition.version,
            generation=self.generation,
            events=tuple(self.events),
            commands=tuple(self.commands),
            ending=self.ending,
        )

    # How it goes on.

    def _begin(self, arguments: Any) -> None:
        self._tell("started", payload={"arguments": arguments, "seed": self._seed})

    def _oldest(self, name: str) -> Command:
        for command in self.open.values():
            if command.name == name or command.name.endswith(f":{name}"):
                return command
        known = ", ".join(each.name for each in self.open.values()) or "none"
        raise AssertionError(f"nothing named {name} is open; there are: {known}")

    def _tell(self, kind: Any, **fields: Any) -> None:
        if self.ending is not None and self.ending.result != "continued":
            return
        event = HistoryEvent(n=len(self.events), at=self._now, type=kind, **fields)
        if event.seq is not None:
            self.open.pop(event.seq, None)
        step = advance(
            self.definition,
            [*self.events, event],
            self.commands,
            name=self.name,
            generation=self.generation,
            position=len(self.events),
        )
        self.events.append(event)
        self._write(step)
        self._settle()

    def _write(self, step: Step) -> None:
        # Through JSON, as they come out of the database.
        given = msgspec.json.decode(msgspec.json.encode(step.commands), type=list[Command])
        self.commands += given
        self.open |= {each.seq: each for each in given if each.kind != "patch"}
        for seq in step.dropped:
            self.open.pop(seq, None)
        self.dropped += step.dropped
        self.warnings += step.warnings
        self._waits = step.waits
        self.ending = step.ending
        if step.ending is not None:
            self.open.clear()
        if step.ending is not None and step.ending.result == "continued":
            self.earlier.append(self.history)
            self.generation += 1
            self.events, self.commands, self.ending = [], [], None
            self._begin(step.ending.value)

    def _settle(self) -> None:
        """Give the answers that the test has prepared."""
        for command in list(self.open.values()):
            answer = self._answers.get(command.name)
            if answer is None and command.kind == "collection":
                answer = self._complete_collection(command.arguments)
            if answer is None or command.seq not in self.open or self.ending is not None:
                continue
            given = command.arguments
            key = f"{self.name}/{self.generation}/{command.seq}"
            call = LocalCall(key, 1, self.name, command.options.get("timeout", 60.0))
            arguments = [call, *given] if command.kind == "local" else [given]
            try:
                value = answer(*arguments)
            except Exception as error:
                kind = (
                    error.kind if isinstance(error, LocalFailed) else type(error).__name__
                )
                told = {"message": str(error), "kind": kind}
                self._tell("failed", seq=command.seq, payload=told)
            else:
                self._tell("completed", seq=command.seq, payload=plain(value, command.name))

    def _complete_collection(self, wanted: Any) -> Callable[..., Any] | None:
        """What answers a wait for a collection; None while somebody is missing."""
        fitting = [
            each
            for each in self._members.get(wanted["collection"], {}).values()
            if each["member"] in wanted["contains"]
            and wanted["cell"].items() <= each["cell"].items()
        ]
        if {each["member"] for each in fitting} != set(wanted["contains"]):
            return None
        return lambda given: {"collection": wanted["collection"], "members": fitting}


def read_history(source: str | bytes | Path | Mapping[str, Any] | History) -> History:
    """A history as ``headrace workflow history --json`` exports it."""
    if isinstance(source, History):
        return source
    if isinstance(source, Path):
        source = source.read_bytes()
    if isinstance(source, str | bytes):
        source = json.loads(source)
    return msgspec.convert(source, History)


def replay(
    history: str | bytes | Path | Mapping[str, Any] | History, cls: type[Any]
) -> Step:
    """Play an exported history with today's code.

    `Divergence` where the code no longer does what it did: a workflow that is under way
    would be parked after the change.
    """
    known = read_history(history)
    execution = Execution(definition_of(cls), known.workflow, known.generation)
    execution.replay(known.events, known.commands)
    return execution.apply(())


def crash_everywhere(
    played: Rehearsal | History | str | bytes | Path | Mapping[str, Any],
    cls: type[Any] | None = None,
) -> int:
    """Kill the master after each event of a history, and let another one go on from there.

    The second must ask for just what was asked for, and come to the same end. How many
    places were tried. `Divergence`, or AssertionError, tells of the first difference.
    """
    if isinstance(played, Rehearsal):
        cls = played.definition.cls if cls is None else cls
        return sum(_crash(each, cls) for each in (*played.earlier, played.history))
    assert cls is not None, "of a history, say also which class it is of"
    return _crash(read_history(played), cls)


def _crash(history: History, cls: type[Any]) -> int:
    definition = definition_of(cls)
    count = len(history.events)
    for place in range(count + 1):
        before = [each for each in history.commands if each.event < place]
        after = [each for each in history.commands if each.event >= place]
        step = advance(
            definition,
            history.events,
            before,
            name=history.workflow,
            generation=history.generation,
            position=place,
        )
        if place < count or not after:
            assert _shape(step.commands) == _shape(after), (
                f"after a crash at event {place} it asks for {_shape(step.commands)} and"
                f" not for {_shape(after)}"
            )
        assert step.ending == history.ending, (
            f"after a crash at event {place} it ends as {step.ending} and not as"
            f" {history.ending}"
        )
    return count + 1


def _shape(commands: list[Command]) -> list[tuple[object, ...]]:
    return [
        (each.seq, each.event, each.kind, each.name, each.arguments) for each in commands
    ]
