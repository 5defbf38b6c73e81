"""One connection's life on the worker's side, as a state machine without any network.

What a worker does about a message depends on how far it is with that master: that is
all that is decided here. The inputs are what `worker.dialogue` hears; the outputs are
functions, given at construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder

from protocol.messages import Cancel, Forget, Goodbye, Recorded, Start, Welcome


@dataclass(frozen=True)
class Ending:
    """How a connection ended."""

    reason: str
    welcomed: bool = False  #: there was a session
    retry: bool = True  #: whether to try again soon; else slowly, for a person must act


class Session(Protocol):
    """The inputs."""

    def opened(self) -> None:
        """The line is there."""

    def heard_welcome(self, welcome: Welcome) -> None:
        """The master opened the session."""

    def heard_goodbye(self, goodbye: Goodbye) -> None:
        """The master wants none, or no longer."""

    def heard_start(self, start: Start) -> None:
        """The master has an attempt to run."""

    def heard_recorded(self, recorded: Recorded) -> None:
        """The master has reports in its database."""

    def heard_forget(self, forget: Forget) -> None:
        """An attempt no longer counts."""

    def heard_cancel(self, cancel: Cancel) -> None:
        """Somebody wants an attempt to end."""

    def heard_alive(self) -> None:
        """The master answered a sign of life."""

    def beat(self) -> None:
        """It is time for a sign of life."""

    def leave(self, reason: str) -> None:
        """This side has a reason to end the connection."""

    def lost(self, reason: str) -> None:
        """The line is gone."""


@dataclass
class Outputs:
    """What the machine can cause, and how it will turn out to have ended."""

    greet: Callable[[], None]
    resume: Callable[[Welcome], None]
    take: Callable[[Start], None]
    settle: Callable[[Recorded], None]
    forget: Callable[[Forget], None]
    cancel: Callable[[Cancel], None]
    renew: Callable[[], None]
    say_alive: Callable[[], None]
    hang_up: Callable[[], None]
    over: Callable[[Ending], None]
    ending: Ending | None = None


_machine = TypeMachineBuilder(Session, Outputs)
waiting = _machine.state("waiting")  #: for the line
greeting = _machine.state("greeting")  #: hello is said
joined = _machine.state("joined")  #: the master said welcome
leaving = _machine.state("leaving")  #: the line closes; nothing counts any more
gone = _machine.state("gone")


@waiting.upon(Session.opened).to(greeting)
def greet(session: Session, out: Outputs) -> None:
    out.greet()


@greeting.upon(Session.heard_welcome).to(joined)
def resume(session: Session, out: Outputs, welcome: Welcome) -> None:
    out.resume(welcome)
    # The master has just confirmed what it wants to go on.
    out.renew()


@joined.upon(Session.heard_start).to(joined)
def take(session: Session, out: Outputs, start: Start) -> None:
    out.take(start)


@joined.upon(Session.heard_recorded).to(joined)
def settle(session: Session, out: Outputs, recorded: Recorded) -> None:
    out.settle(recorded)


@joined.upon(Session.heard_forget).to(joined)
def forget(session: Session, out: Outputs, forget: Forget) -> None:
    out.forget(forget)


@joined.upon(Session.heard_cancel).to(joined)
def cancel(session: Session, out: Outputs, cancel: Cancel) -> None:
    out.cancel(cancel)


@joined.upon(Session.heard_alive).to(joined)
def renew(session: Session, out: Outputs) -> None:
    out.renew()


@joined.upon(Session.beat).to(joined)
def say_alive(session: Session, out: Outputs) -> None:
    out.say_alive()


@greeting.upon(Session.heard_goodbye).to(leaving)
def turned_away(session: Session, out: Outputs, goodbye: Goodbye) -> None:
    out.ending = Ending(goodbye.reason, retry=goodbye.retry)
    out.hang_up()


@joined.upon(Session.heard_goodbye).to(leaving)
def dismissed(session: Session, out: Outputs, goodbye: Goodbye) -> None:
    out.ending = Ending(goodbye.reason, welcomed=True, retry=goodbye.retry)
    out.hang_up()


@greeting.upon(Session.leave).to(leaving)
def give_up(session: Session, out: Outputs, reason: str) -> None:
    out.ending = Ending(reason)
    out.hang_up()


@joined.upon(Session.leave).to(leaving)
def leave(session: Session, out: Outputs, reason: str) -> None:
    out.ending = Ending(reason, welcomed=True)
    out.hang_up()


@waiting.upon(Session.lost).to(gone)
@greeting.upon(Session.lost).to(gone)
def lost_early(session: Session, out: Outputs, reason: str) -> None:
    out.over(Ending(reason))


@joined.upon(Session.lost).to(gone)
def lost(session: Session, out: Outputs, reason: str) -> None:
    out.over(Ending(reason, welcomed=True))


@leaving.upon(Session.lost).to(gone)
def left(session: Session, out: Outputs, reason: str) -> None:
    out.over(out.ending or Ending(reason))


# A line that closes may still deliver, a clock may still tick: it no longer matters.
for _state in (leaving, gone):
    _state.upon(Session.heard_welcome).to(_state).returns(None)
    _state.upon(Session.heard_goodbye).to(_state).returns(None)
    _state.upon(Session.heard_start).to(_state).returns(None)
    _state.upon(Session.heard_recorded).to(_state).returns(None)
    _state.upon(Session.heard_forget).to(_state).returns(None)
    _state.upon(Session.heard_cancel).to(_state).returns(None)
    _state.upon(Session.heard_alive).to(_state).returns(None)
    _state.upon(Session.beat).to(_state).returns(None)
    _state.upon(Session.leave).to(_state).returns(None)

new_session = _machine.build()
