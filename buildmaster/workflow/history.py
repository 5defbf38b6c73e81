"""A workflow's history: the events that reached it, and the commands that it gave.

Both together are all that a workflow is: whoever has them has its state, by replay.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

#: Events of one generation from which on ``continue_as_new`` is called for, and the most.
WARNED_EVENTS = 2_000
MOST_EVENTS = 10_000

EventType = Literal[
    "started", "signal", "completed", "failed", "fired", "cancel", "timeout"
]
CommandKind = Literal[
    "local", "job", "build", "ensure", "collection", "child", "timer", "patch"
]


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that reached a workflow, in its place."""

    n: int  #: from 0, without gaps
    at: int  #: microseconds since 1970, by the database's clock
    type: EventType
    seq: int | None = None  #: of the command that it answers
    name: str | None = None  #: of the signal
    payload: Any = None


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that a workflow's code asked for."""

    seq: int  #: from 0, without gaps
    event: int  #: the number of the event after which it was given
    kind: CommandKind
    name: str
    arguments: Any = None
    #: What may change without the code being another: time-outs, retries, what to do when
    #: it is cancelled.
    options: dict[str, Any] = {}

    @property
    def said(self) -> dict[str, object]:
        """What is compared with the history."""
        return {"kind": self.kind, "name": self.name, "arguments": self.arguments}


class Wait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a workflow waits for."""

    what: str  #: condition, sleep, or the kind of a command
    name: str
    since: int  #: microseconds since 1970
    until: int | None = None
    seq: int | None = None


class Ending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a workflow, or one generation of it, ended."""

    result: Literal["success", "failure", "cancelled", "timeout", "continued"]
    value: Any = None  #: what ``run`` returned, or the arguments of the next generation
    reason: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One generation, as it is exported: what `buildmaster.workflow.testing` replays."""

    workflow: str
    class_: str = msgspec.field(name="class")
    version: int = 1
    generation: int = 1
    events: tuple[HistoryEvent, ...] = ()
    commands: tuple[Command, ...] = ()
    ending: Ending | None = None
