"""Following: a snapshot of what was asked, and then what happens to it, without a gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from buildmaster.feed import (
    EventFeed,
    FeedStopped,
    Follower,
    FollowerTooSlow,
    TooManyFollowers,
)
from buildmaster.grants import is_within
from buildmaster.status import questions as q
from buildmaster.status.news import News
from buildmaster.status.problems import StatusProblem
from buildmaster.status.told import Told
from buildmaster.store.events import START, BadEventId, Event, EventId, events_after

Ask = Callable[[q.Question], Any]

#: Answers that almost any event may change a little: who follows gets the whole answer
#: again, when something happened, this many seconds after the last one at the earliest.
RENEWED = {"queue": 1.0, "explain": 2.0}
#: Answers that no event tells of: they are looked at again, so many seconds after the last
#: look, and told when they are others than before.
LOOKED_AT = {
    "forecast": 10.0,
    "rules": 2.0,
    "tokens": 2.0,
    "stays": 2.0,
    "audit": 2.0,
    "schedules": 2.0,
    "workflow_history": 1.0,
}


class Following:
    """One following; an asynchronous iterator of `News` that ends when it is closed.

    It raises `StatusProblem`: 503 ``too_slow`` for who does not keep up, who goes on from
    the last ``cursor``; 503 ``not_now`` when the farm goes down.
    """

    def __init__(
        self,
        feed: EventFeed,
        ask: Ask,
        method: str,
        asked: q.Question,
        since: str | None,
        patience: float | None = None,
        within: tuple[str, ...] | None = None,
    ) -> None:
        """``patience`` are the seconds after which there is news without any event.

        ``ask`` is asked for the snapshot; and again and again by those whose news are
        snapshots (`RENEWED`). With ``within`` only what is of these projects is told.
        """
        self._within = within
        self._feed = feed
        self._ask = ask
        self._method = method
        self._asked = asked
        self._since = since
        self._patience = patience
        self._follower: Follower | None = None
        self._is_closed = False
        self._pace = RENEWED.get(method)  # None: its news are events
        self._look = LOOKED_AT.get(method)  # None: something tells when to look
        self._last: dict[str, Any] | None = None  # what was told of one that is looked at
        self._asked_at = 0.0
        self._is_stale = False  # something happened since it was asked for
        self._is_behind = False  # and is not yet in what came
        self._latest = START
        self._rest: Deferred[None] | None = None

    def __aiter__(self) -> Following:
        return self

    async def __anext__(self) -> News:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            if self._follower is None:
                return await self._begin()
            if self._look is not None:
                return await self._looked(self._follower, self._look)
            if self._pace is not None and self._is_behind:
                return await self._renewed(self._pace)
            events = await self._follower.next(self._patience)
            if self._pace is not None and events:
                return await self._renewed(self._pace)
        except BadEventId as error:
            self.close()
            raise StatusProblem(400, "bad_event_id", str(error)) from error
        except FollowerTooSlow as error:
            self.close()
            raise StatusProblem(503, "too_slow", str(error)) from error
        except (FeedStopped, TooManyFollowers) as error:
            self.close()
            raise StatusProblem(503, "not_now", str(error)) from error
        except BaseException:
            self.close()
            raise
        place = str(events[-1].id) if events else str(self._follower.place)
        return News(place, events=tuple(event.happened for event in events))

    async def _looked(self, follower: Follower, pace: float) -> News:
        """What is there now, once it is another than it was."""
        began = self._feed.clock.seconds()
        while True:
            await follower.next(pace)  # which has nothing to tell, but the farm's end
            snapshot = await self._snapshot()
            if self._is_other(snapshot):
                return News(_cursor(snapshot), snapshot=snapshot)
            waited = self._feed.clock.seconds() - began
            if self._patience is not None and waited >= self._patience:
                return News(str(follower.place))

    def _is_other(self, snapshot: bytes) -> bool:
        content = msgspec.json.decode(snapshot)
        del content["cursor"]  # moves on with the farm
        before, self._last = self._last, content
        return bool(content != before)

    async def _renewed(self, pace: float) -> News:
        """Another snapshot, at its time: all that happened until then is in it."""
        clock = self._feed.clock
        if (pause := self._asked_at + pace - clock.seconds()) > 0:
            self._rest = Deferred()
            timer = clock.callLater(pause, self._wake)
            try:
                await self._rest
            finally:
                self._rest = None
                if timer.active():
                    timer.cancel()
        if self._is_closed:
            raise StopAsyncIteration
        snapshot = await self._snapshot()
        cursor = _cursor(snapshot)
        # It may have been made from what was known a moment earlier.
        self._is_behind = EventId.parse(cursor) < self._latest
        return News(cursor, snapshot=snapshot)

    async def _snapshot(self) -> bytes:
        self._is_stale = False
        self._asked_at = self._feed.clock.seconds()
        told: Told[Any] = await self._ask(self._asked)
        return told.json

    def _wake(self) -> None:
        if self._rest is not None and not self._rest.called:
            self._rest.callback(None)

    def _wants_one(self, event: Event) -> bool:
        """The first event that makes the last snapshot old; the others make it no older."""
        if not self._concerns(event):
            return False
        self._latest = max(self._latest, event.id)
        if self._is_stale:
            return False
        self._is_stale = True
        return True

    async def _begin(self) -> News:
        wants = _bounded(wanted(self._method, self._asked), self._within)
        if self._pace is not None:
            self._concerns = wants or _anything
            wants = self._wants_one
        since, snapshot = self._since, None
        if since is None and not isinstance(self._asked, q.Events):
            snapshot = await self._snapshot()
            since = _cursor(snapshot)
            if self._look is not None:
                self._is_other(snapshot)
        run, job = getattr(self._asked, "run", None), getattr(self._asked, "job", None)
        if self._pace is not None:
            run = job = None  # what happens to others changes its place in the line
        place = None if since is None else EventId.parse(since)
        if self._since is not None and place is not None:
            # One of another farm would wait for ever.
            await events_after(self._feed.database, place, limit=1)
        self._follower = self._feed.follow(place, run=run, job=job, wants=wants)
        if self._is_closed:
            self._follower.close()
        return News(since or str(self._follower.place), snapshot=snapshot)

    def close(self) -> None:
        """Follow no longer. Harmless when repeated."""
        self._is_closed = True
        self._wake()
        if self._follower is not None:
            self._follower.close()

    async def aclose(self) -> None:
        """The same, as asynchronous generators have it."""
        self.close()


class _Cursor(msgspec.Struct):
    cursor: str


def _cursor(document: bytes) -> str:
    return msgspec.json.decode(document, type=_Cursor).cursor


def _anything(event: Event) -> bool:
    return True


#: Events that change who stands in the line, in which order, or who takes from it.
_OF_THE_LINE = frozenset(
    {"job.ready", "job.assigned", "job.aside", "job.in_line", "job.parked", "job.waiting"}
    | {"job.done", "job.rescored", "job.moved", "job.refused", "queue.held"}
    | {"queue.released", "semaphore.set", "semaphore.removed"}
)
#: Events that change what ended.
_OF_ENDS = frozenset({"job.done", "job.retried", "job.waiting", "job.classified"})
#: Events that change a bar of a timeline.
_OF_BARS = frozenset({"job.assigned", "job.running", "job.done", "job.ready"})


def _bounded(
    wants: Callable[[Event], bool] | None, projects: tuple[str, ...] | None
) -> Callable[[Event], bool] | None:
    if projects is None:
        return wants
    return lambda event: (
        is_within(projects, event.about.repository) and (wants is None or wants(event))
    )


def wanted(method: str, asked: q.Question) -> Callable[[Event], bool] | None:
    """Which events concern what ``asked`` is about; None: whatever run and job allow.

    What never changes decides, as a job's name. What changes, as its state, does not: an
    event that takes a job out of a list concerns the list.
    """
    if method in LOOKED_AT:
        return lambda event: False
    match asked:
        case q.Jobs():
            fixed = _fixed(asked, "kind", "name", "repository", "source_digest", "owner")
            fixed |= _fixed(asked, "architecture")
            return lambda event: event.job is not None and _fits(event, fixed)
        case q.Runs():
            # A job of a run may be of another owner, who asked for it first.
            of_job = _fixed(asked, "repository", "source_digest")
            of_run = of_job | _fixed(asked, "owner", "requester")
            return lambda event: (
                bool(event.runs) and _fits(event, of_run if event.job is None else of_job)
            )
        case q.OneWorker(worker=name):
            return lambda event: event.about.worker == name
        case q.Workers():
            return lambda event: event.about.worker is not None
        case q.Workflows():
            return lambda event: event.kind.startswith("workflow.")
        case q.OneWorkflow(workflow=name):
            return lambda event: (
                event.kind.startswith("workflow.") and name in _workflow_of(event)
            )
        case q.Grid():
            # Cells come and go; so do the runs that have any.
            of_run = _fixed(asked, "repository", "owner")
            of_job = _fixed(asked, "repository")
            return lambda event: (
                bool(event.runs) and _fits(event, of_run if event.job is None else of_job)
            )
        case q.History():
            fixed = _fixed(asked, "name", "repository", "kind", "owner", "architecture")
            return lambda event: event.kind in _OF_ENDS and _fits(event, fixed)
        case q.Timeline(worker=name):
            return lambda event: (
                event.kind in _OF_BARS
                or (
                    event.about.worker is not None
                    and (name is None or event.about.worker == name)
                )
            )
        case q.OneJob() if method == "explain":
            return lambda event: event.job == asked.job or _moves_the_line(event)
        case q.Queue():
            return _moves_the_line
        case q.Semaphores():
            return lambda event: (
                event.about.is_limited or event.kind.startswith("semaphore.")
            )
        case q.Nothing() if method == "holds":
            return lambda event: event.kind in ("queue.held", "queue.released")
        case q.OneJob() | q.OneBuild() | q.OneRun() | q.Events():
            return None
        case q.Nothing() if method == "overview":
            return None
    raise NotImplementedError(f"which events concern the answer to {method}?")


def _workflow_of(event: Event) -> tuple[str, str]:
    """The name and the number of the workflow that an event is of."""
    payload = msgspec.json.decode(event.document)["payload"]
    return str(payload.get("name")), str(payload.get("workflow"))


def _moves_the_line(event: Event) -> bool:
    return event.kind in _OF_THE_LINE or event.about.worker is not None


def _fixed(asked: q.Question, *names: str) -> dict[str, str]:
    found = {name: getattr(asked, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _fits(event: Event, fixed: dict[str, str]) -> bool:
    return all(getattr(event.about, name) == value for name, value in fixed.items())
