"""Which message may be said when: the rules of `protocol`, as two tables.

Both roles keep a `Conversation` for each line and put every message into it, their own
and the other side's. Messages cross: what one side says may be on its way while the
other side changes the subject. The tables hold for both points of view, so whatever can
cross is legal, and what is left as illegal is a fault of the one who said it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from protocol.messages import (
    Accepted,
    Alive,
    Attempt,
    Cancel,
    Ended,
    Forget,
    Goodbye,
    Hello,
    Message,
    Recorded,
    Refused,
    Report,
    Start,
    Welcome,
)


class Role(Enum):
    """Who speaks."""

    WORKER = "worker"
    MASTER = "master"


class SessionState(Enum):
    """How far the two are with each other."""

    FRESH = "fresh"  #: the line is there, nothing was said
    GREETED = "greeted"  #: the worker has said hello
    OPEN = "open"  #: the master has said welcome
    CLOSED = "closed"  #: the master has said goodbye


class AttemptState(Enum):
    """How far the two are with one attempt, in this session."""

    UNKNOWN = "unknown"  #: never named, or done with: what is still said of it is late
    OFFERED = "offered"  #: the master has said start
    HELD = "held"  #: the worker has it, and reports
    ENDED = "ended"  #: the worker has reported its end


class OutOfTurn(Exception):
    """The one who said it should not have; the line is closed, nothing has changed."""


_W, _M = Role.WORKER, Role.MASTER
_ABOUT_ATTEMPTS = (
    (_M, Start),
    (_M, Recorded),
    (_M, Forget),
    (_M, Cancel),
    (_W, Accepted),
    (_W, Refused),
    (_W, Report),
)

#: (state, who, what) -> the session's next state; whatever is missing is out of turn.
SESSION: Mapping[tuple[SessionState, Role, type], SessionState] = {
    (SessionState.FRESH, _W, Hello): SessionState.GREETED,
    (SessionState.FRESH, _M, Goodbye): SessionState.CLOSED,
    (SessionState.GREETED, _M, Welcome): SessionState.OPEN,
    (SessionState.GREETED, _M, Goodbye): SessionState.CLOSED,
    (SessionState.OPEN, _M, Goodbye): SessionState.CLOSED,
    (SessionState.OPEN, _W, Alive): SessionState.OPEN,
    (SessionState.OPEN, _M, Alive): SessionState.OPEN,
    **{(SessionState.OPEN, *pair): SessionState.OPEN for pair in _ABOUT_ATTEMPTS},
    # The worker had not yet heard the goodbye.
    (SessionState.CLOSED, _W, Hello): SessionState.CLOSED,
    (SessionState.CLOSED, _W, Accepted): SessionState.CLOSED,
    (SessionState.CLOSED, _W, Refused): SessionState.CLOSED,
    (SessionState.CLOSED, _W, Report): SessionState.CLOSED,
    (SessionState.CLOSED, _W, Alive): SessionState.CLOSED,
}

#: (state, what) -> the attempt's next state, in an open session. A report that is the
#: last one, and a ``recorded`` that names the last one, are told apart below.
ATTEMPT: Mapping[tuple[AttemptState, type], AttemptState] = {
    (AttemptState.UNKNOWN, Start): AttemptState.OFFERED,
    (AttemptState.OFFERED, Accepted): AttemptState.HELD,
    (AttemptState.OFFERED, Refused): AttemptState.UNKNOWN,
    # The last one only: what ends at once needs no ``accepted``.
    (AttemptState.OFFERED, Report): AttemptState.ENDED,
    (AttemptState.OFFERED, Cancel): AttemptState.OFFERED,
    (AttemptState.OFFERED, Forget): AttemptState.UNKNOWN,
    (AttemptState.HELD, Report): AttemptState.HELD,
    (AttemptState.HELD, Recorded): AttemptState.HELD,
    (AttemptState.HELD, Cancel): AttemptState.HELD,
    (AttemptState.HELD, Forget): AttemptState.UNKNOWN,
    (AttemptState.ENDED, Recorded): AttemptState.ENDED,
    (AttemptState.ENDED, Cancel): AttemptState.ENDED,
    (AttemptState.ENDED, Forget): AttemptState.UNKNOWN,
    # Late: said before the other side's ``forget`` or last ``recorded`` had arrived. The
    # master answers such reports with ``forget``; the rest changes nothing.
    (AttemptState.UNKNOWN, Accepted): AttemptState.UNKNOWN,
    (AttemptState.UNKNOWN, Refused): AttemptState.UNKNOWN,
    (AttemptState.UNKNOWN, Report): AttemptState.UNKNOWN,
    (AttemptState.UNKNOWN, Recorded): AttemptState.UNKNOWN,
    (AttemptState.UNKNOWN, Cancel): AttemptState.UNKNOWN,
    (AttemptState.UNKNOWN, Forget): AttemptState.UNKNOWN,
}


class _Standing:
    """One attempt in this session."""

    __slots__ = ("recorded", "reported", "state")

    def __init__(self, state: AttemptState, number: int) -> None:
        self.state = state
        self.reported = number  #: the highest number that was reported
        self.recorded = number  #: and the highest that was recorded


class Conversation:
    """What was said on one line, as far as it decides what may be said next."""

    def __init__(self) -> None:
        self.state = SessionState.FRESH
        self._attempts: dict[Attempt, _Standing] = {}
        self._holding: tuple[Attempt, ...] = ()

    def attempt(self, job: int, attempt: int) -> AttemptState:
        """How far the two are with that attempt."""
        standing = self._attempts.get(Attempt(job, attempt))
        return standing.state if standing is not None else AttemptState.UNKNOWN

    def take(self, speaker: Role, message: Message) -> None:
        """Note that ``speaker`` says ``message``.

        Raises `OutOfTurn`, with a sentence that names both, if it may not; then nothing
        has changed.
        """
        following = SESSION.get((self.state, speaker, type(message)))
        if following is None:
            raise OutOfTurn(
                f"a {speaker.value} must not say {_name(type(message))} "
                f"in a session that is {self.state.value}"
            )
        if self.state is SessionState.OPEN:
            self._note(speaker, message)
        elif isinstance(message, Hello):
            self._holding = tuple(Attempt(h.job, h.attempt) for h in message.holding)
        elif isinstance(message, Welcome):
            self._begin(message)
        self.state = following

    def reported(self, job: int, attempt: int, number: int, is_last: bool) -> None:
        """As `take` with that report of a worker's, for who has it only as a frame."""
        if (self.state, Role.WORKER, Report) not in SESSION:
            raise OutOfTurn(
                f"a worker must not say report in a session that is {self.state.value}"
            )
        if self.state is SessionState.OPEN:
            key = Attempt(job, attempt)
            self._follow(
                key, Report, lambda standing: _report(key, standing, number, is_last)
            )

    def _begin(self, welcome: Welcome) -> None:
        """What the worker holds counts as reported up to what is recorded."""
        numbers = {Attempt(r.job, r.attempt): r.number for r in welcome.recorded}
        for held in self._holding:
            number = numbers.get(held, 0)
            self._attempts[held] = _Standing(AttemptState.HELD, number)
        for forgotten in welcome.forget:
            self._attempts.pop(forgotten, None)
        self._holding = ()

    def _note(self, speaker: Role, message: Message) -> None:
        match message:
            case Start(order=order):
                self._move(Attempt(order.job, order.attempt), message)
            case Alive(holding=holding) if speaker is Role.WORKER:
                self._keep({Attempt(held.job, held.attempt) for held in holding})
            case Accepted() | Refused() | Report() | Recorded() | Forget() | Cancel():
                self._move(Attempt(message.job, message.attempt), message)

    def _keep(self, holding: set[Attempt]) -> None:
        """What the worker has accepted and no longer names, it is done with."""
        for attempt, standing in list(self._attempts.items()):
            if attempt not in holding and standing.state is not AttemptState.OFFERED:
                del self._attempts[attempt]

    def _move(self, attempt: Attempt, message: Message) -> None:
        def count(standing: _Standing) -> AttemptState | None:
            if isinstance(message, Report):
                is_last = isinstance(message.body, Ended)
                return _report(attempt, standing, message.number, is_last)
            if isinstance(message, Recorded):
                return _record(attempt, standing, message.number)
            return None

        self._follow(attempt, type(message), count)

    def _follow(
        self,
        attempt: Attempt,
        what: type,
        count: Callable[[_Standing], AttemptState | None],
    ) -> None:
        """Take the table's step; ``count`` looks at numbers, where there are any."""
        standing = self._attempts.get(attempt)
        state = standing.state if standing is not None else AttemptState.UNKNOWN
        following = ATTEMPT.get((state, what))
        if following is None:
            raise OutOfTurn(f"{_of(attempt, what)}, which is {state.value}")
        if standing is not None:
            following = count(standing) or following
        if following is AttemptState.UNKNOWN:
            self._attempts.pop(attempt, None)
        elif standing is None:
            self._attempts[attempt] = _Standing(following, 0)
        else:
            standing.state = following


def _report(
    attempt: Attempt, standing: _Standing, number: int, is_last: bool
) -> AttemptState:
    if number != standing.reported + 1:
        raise OutOfTurn(
            f"{_of(attempt, Report)}: number {number} after {standing.reported}"
        )
    if standing.state is AttemptState.OFFERED and not is_last:
        raise OutOfTurn(f"{_of(attempt, Report)}, which was not accepted")
    standing.reported = number
    return AttemptState.ENDED if is_last else AttemptState.HELD


def _record(attempt: Attempt, standing: _Standing, number: int) -> AttemptState:
    if not standing.recorded <= number <= standing.reported:
        raise OutOfTurn(
            f"{_of(attempt, Recorded)}: number {number}, where only "
            f"{standing.recorded} to {standing.reported} make sense"
        )
    standing.recorded = number
    done = standing.state is AttemptState.ENDED and number == standing.reported
    return AttemptState.UNKNOWN if done else standing.state


def _of(attempt: Attempt, what: type) -> str:
    return f"{_name(what)} said of attempt {attempt.attempt} of job {attempt.job}"


def _name(what: Any) -> str:
    """The message's name as the protocol's description writes it."""
    return str(what.__struct_config__.tag)
