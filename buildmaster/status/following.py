"""Following: a snapshot of what was asked, and then what happens to it, without a gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from buildmaster.feed import (
    EventFeed,
    FeedStopped,
    Follower,
    FollowerTooSlow,
    TooManyFollowers,
)
from buildmaster.status import questions as q
from buildmaster.status.news import News
from buildmaster.status.problems import StatusProblem
from buildmaster.status.told import Told
from buildmaster.store.events import BadEventId, Event, EventId, events_after

Ask = Callable[[q.Question], Any]


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
    ) -> None:
        """``patience`` are the seconds after which there is news without any event."""
        self._feed = feed
        self._ask = ask
        self._method = method
        self._asked = asked
        self._since = since
        self._patience = patience
        self._follower: Follower | None = None
        self._is_closed = False

    def __aiter__(self) -> Following:
        return self

    async def __anext__(self) -> News:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            if self._follower is None:
                return await self._begin()
            events = await self._follower.next(self._patience)
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

    async def _begin(self) -> News:
        wants = wanted(self._method, self._asked)
        since, snapshot = self._since, None
        if since is None and not isinstance(self._asked, q.Events):
            told: Told[Any] = await self._ask(self._asked)
            snapshot = told.json
            since = msgspec.json.decode(snapshot, type=_Cursor).cursor
        run, job = getattr(self._asked, "run", None), getattr(self._asked, "job", None)
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
        if self._follower is not None:
            self._follower.close()

    async def aclose(self) -> None:
        """The same, as asynchronous generators have it."""
        self.close()


class _Cursor(msgspec.Struct):
    cursor: str


#: Events that change what ended.
_OF_ENDS = frozenset({"job.done", "job.retried", "job.waiting", "job.classified"})
#: Events that change a bar of a timeline.
_OF_BARS = frozenset({"job.assigned", "job.running", "job.done", "job.ready"})


def wanted(method: str, asked: q.Question) -> Callable[[Event], bool] | None:
    """Which events concern what ``asked`` is about; None: whatever run and job allow.

    What never changes decides, as a job's name. What changes, as its state, does not: an
    event that takes a job out of a list concerns the list. `StatusProblem` for questions
    whose answers no event tells of.
    """
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
            pass
        case q.OneJob() | q.OneBuild() | q.OneRun() | q.Events():
            return None
        case q.Nothing() if method == "overview":
            return None
    raise StatusProblem(
        400, "not_followed", "no event tells of changes here: ask again from time to time"
    )


def _fixed(asked: q.Question, *names: str) -> dict[str, str]:
    found = {name: getattr(asked, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _fits(event: Event, fixed: dict[str, str]) -> bool:
    return all(getattr(event.about, name) == value for name, value in fixed.items())
