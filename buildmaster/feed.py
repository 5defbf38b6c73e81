"""What is new: events read once and told to every follower, and logs that grew.

Notifications wake the feed at once; a timer wakes it anyway, because a notification is a
hint that can be lost. A follower misses no event and gets none twice: it first reads
from the database what came before the place where the feed stood when it joined, and
then what the feed tells from that place on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from buildmaster.database import Database, DatabaseAway
from buildmaster.store.events import Event, EventId, events_after, newest

#: Events that wait for one follower before it is dropped as too slow.
BACKLOG = 10_000
#: Followers at a time.
FOLLOWERS = 5_000

#: Whether a follower wants an event; never waits.
Wants = Callable[[Event], bool]

#: Seconds until the next look at events held back by an older transaction; doubles.
_SOON = 0.01


class TooManyFollowers(Exception):
    """The feed is full; whoever asks should come back later."""


class FollowerTooSlow(Exception):
    """More events waited for this follower than may; it has to begin anew."""


class FeedStopped(Exception):
    """The farm shuts down; nothing more will be told."""


class Follower:
    """One reader's place in the feed; made by `EventFeed.follow`."""

    def __init__(
        self,
        feed: EventFeed,
        since: EventId,
        joined: EventId,
        run: int | None,
        job: int | None,
        wants: Wants | None,
    ) -> None:
        self._feed = feed
        self._place = since  # told up to here
        self._joined = joined  # until here from the database, then from the feed
        self._run = run
        self._job = job
        self._wants_too = wants
        self._waiting: deque[Event] = deque()
        self._news: Deferred[None] | None = None
        self._end: Exception | None = None
        self._timer: IDelayedCall | None = None
        self._patient_until = 0.0

    async def next(self, patience: float | None = None) -> tuple[Event, ...]:
        """The next events, oldest first; waits for them, and is empty after ``patience``.

        ``patience`` is in seconds. Raises `FollowerTooSlow` or `FeedStopped` when there
        is no going on, `BadEventId` if the follower asked for the future.
        """
        while self._place < self._joined:
            if events := await self._earlier():
                return events
        if not self._waiting and self._end is None:
            await self._wait(patience)
        if self._end is not None and not self._waiting:
            raise self._end
        return self._later()

    async def _wait(self, patience: float | None) -> None:
        self._news = Deferred()
        if patience is not None:
            clock = self._feed.clock
            self._patient_until = clock.seconds() + patience
            # One timer for many waits: a thousand followers hear of each event.
            if self._timer is None:
                self._timer = clock.callLater(patience, self._look_at_clock)
        try:
            await self._news
        finally:
            self._news = None

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._news is None:
            return
        left = self._patient_until - self._feed.clock.seconds()
        if left > 0:
            self._timer = self._feed.clock.callLater(left, self._look_at_clock)
        else:
            self._wake()

    async def _earlier(self) -> tuple[Event, ...]:
        reading = await events_after(
            self._feed.database,
            self._place,
            until=self._joined,
            run=self._run,
            job=self._job,
        )
        self._place = reading.position
        return tuple(event for event in reading.events if self._wants(event))

    @property
    def place(self) -> EventId:
        """Everything that is wanted was told up to here."""
        return self._place

    def _later(self) -> tuple[Event, ...]:
        # Whoever asked to go on after a place ahead of the feed has those events already.
        events = tuple(event for event in self._waiting if event.id > self._place)
        self._waiting.clear()
        if events:
            self._place = events[-1].id
        return events

    def tell(self, events: tuple[Event, ...]) -> None:
        """Called by the feed with every new event; never waits."""
        self._waiting.extend(event for event in events if self._wants(event))
        if len(self._waiting) > BACKLOG:
            self._waiting.clear()
            self.end(FollowerTooSlow("this reader did not take events fast enough"))
        elif self._waiting:
            self._wake()

    def _wants(self, event: Event) -> bool:
        return (
            (self._run is None or self._run in event.runs)
            and (self._job is None or self._job == event.job)
            and (self._wants_too is None or self._wants_too(event))
        )

    def end(self, reason: Exception) -> None:
        """Tell nothing more; a waiting reader gets ``reason``."""
        self._end = reason
        self.close()
        self._wake()

    def close(self) -> None:
        """Leave the feed. Harmless when repeated."""
        self._feed.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._news is not None and not self._news.called:
            self._news.callback(None)


class LogWatch:
    """Tells one reader that a log may have grown; made by `EventFeed.watch_log`."""

    def __init__(self, feed: EventFeed, job: int) -> None:
        self.job = job
        self._feed = feed
        self._is_stale = False
        self._news: Deferred[None] | None = None

    async def changed(self) -> None:
        """Wait until the log grew or may have ended since the last call, or a while.

        `FeedStopped` when the farm shuts down.
        """
        if not self._is_stale and self._feed.is_running:
            self._news = Deferred()
            timer = self._feed.clock.callLater(self._feed.interval, self.ring)
            try:
                await self._news
            finally:
                self._news = None
                if timer.active():
                    timer.cancel()
        if not self._feed.is_running:
            raise FeedStopped("the farm shuts down")
        self._is_stale = False

    def ring(self) -> None:
        """Called by the feed; never waits."""
        self._is_stale = True
        if self._news is not None and not self._news.called:
            self._news.callback(None)

    def close(self) -> None:
        """Stop watching. Harmless when repeated."""
        self._feed.unwatch(self)


class EventFeed:
    """Reads the event log once for all followers, and wakes readers of growing logs."""

    log = Logger()

    def __init__(
        self, database: Database, clock: IReactorTime, *, interval: float = 1.0
    ) -> None:
        self.database = database
        self.clock = clock
        self.interval = interval
        self.is_running = False
        self._position: EventId | None = None  # told up to here; None: not known yet
        self._followers: set[Follower] = set()
        self._watches: dict[int, set[LogWatch]] = {}
        self._forgetting: list[Callable[[], None]] = []
        self._is_reading = False
        self._is_again = False  # woken while reading
        self._is_away = False  # the database was, when last asked
        self._started: Deferred[None] = Deferred()
        self._rest: Deferred[None] | None = None  # fires when the reading has ended
        self._timer: IDelayedCall | None = None
        self._pause = _SOON

    def start(self) -> Deferred[None]:
        """Begin to listen; fires when the feed knows where it stands."""
        self.is_running = True
        self.database.listen("headrace_events", lambda _: self._heard())
        self.database.listen("headrace_logs", self._log_grew)
        self.wake()
        return self._started

    def stop(self) -> Deferred[None]:
        """End every follower with `FeedStopped`; fires when nothing is under way."""
        self.is_running = False
        self._set_timer(None)
        for follower in list(self._followers):
            follower.end(FeedStopped("the farm shuts down"))
        self._ring_all()
        self._rest = Deferred()
        rest = self._rest
        if not self._is_reading:
            rest.callback(None)
        return rest

    def follow(
        self,
        since: EventId | None = None,
        *,
        run: int | None = None,
        job: int | None = None,
        wants: Wants | None = None,
    ) -> Follower:
        """Join the feed: events after ``since``, or from now on. Close it in the end.

        With ``run`` or ``job`` only what concerns it, and with ``wants`` only what passes
        that, too. `TooManyFollowers` if full, `FeedStopped` if the farm is not up.
        """
        if not self.is_running or self._position is None:
            raise FeedStopped("the farm is not up, or not yet; ask again soon")
        if len(self._followers) >= FOLLOWERS:
            raise TooManyFollowers(
                f"{FOLLOWERS} readers follow the events of this farm already; close some"
            )
        joined = self._position
        follower = Follower(
            self, joined if since is None else since, joined, run, job, wants
        )
        self._followers.add(follower)
        self.wake()
        return follower

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def forget(self, follower: Follower) -> None:
        """Tell ``follower`` nothing more."""
        self._followers.discard(follower)

    def watch_log(self, job: int) -> LogWatch:
        """Be told when a log of ``job`` grows. Begin before reading, and close it."""
        watch = LogWatch(self, job)
        self._watches.setdefault(job, set()).add(watch)
        self.wake()
        return watch

    def unwatch(self, watch: LogWatch) -> None:
        """Tell ``watch`` nothing more."""
        watches = self._watches.get(watch.job, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.job, None)

    def wake(self) -> None:
        """Look for new events now, or as soon as the reading under way has ended."""
        if self._is_reading:
            self._is_again = True
        elif not self._is_heard and self._position is not None:
            pass  # The timer runs: a farm that nobody follows is not read all the time.
        elif self.is_running:
            self._set_timer(None)
            self._is_reading = True
            Deferred.fromCoroutine(self._read())

    @property
    def _is_heard(self) -> bool:
        return bool(self._followers or self._watches)

    async def _read(self) -> None:
        pause = self.interval
        try:
            pause = await self._read_all()
            self._is_away = False
        except DatabaseAway as error:
            if not self._is_away:
                self.log.warn("events have to wait: {error}", error=error)
            self._is_away = True
        except Exception:
            self.log.failure("could not read the event log; trying again")
        self._is_reading = False
        if self.is_running:
            self._set_timer(0 if self._is_again else pause)
        self._is_again = False
        if self._rest is not None:
            self._rest.callback(None)

    def _look(self) -> None:
        """The time has come: read, whoever hears it."""
        self._timer = None
        if not self._is_reading and self.is_running:
            self._is_reading = True
            Deferred.fromCoroutine(self._read())

    async def _read_all(self) -> float:
        """Tell all that is readable; seconds until the next look."""
        if self._position is None:
            self._position = await newest(self.database)
            self._started.callback(None)
        if not self._is_heard:
            passed = await newest(self.database)
            if not self._is_heard:
                self._position = max(self._position, passed)
                return self.interval
            # Whoever joined meanwhile was promised all that comes after the old place.
        while True:
            reading = await events_after(self.database, self._position)
            self._position = reading.position
            if reading.events:
                # The notification may come later than what was read, or never.
                self._forget()
                self._tell(reading.events)
            if not reading.is_full:
                break
        if not reading.holds_back:
            self._pause = _SOON
            return self.interval
        # No notification comes when the older transaction ends without an event.
        pause, self._pause = self._pause, min(self._pause * 2, self.interval)
        return pause

    def _tell(self, events: tuple[Event, ...]) -> None:
        for follower in list(self._followers):
            follower.tell(events)
        if self._watches:
            for job in {event.job for event in events if event.job is not None}:
                self._ring(job)

    def before_news(self, forget: Callable[[], None]) -> None:
        """Have ``forget`` called when something happened, before anybody is told of it."""
        self._forgetting.append(forget)

    def _heard(self) -> None:
        self._forget()
        self.wake()

    def _forget(self) -> None:
        for forget in self._forgetting:
            forget()

    def _log_grew(self, job: str) -> None:
        if job.isdecimal():
            self._ring(int(job))
        elif not job:  # the connection was lost, and perhaps notifications with it
            self._ring_all()

    def _ring(self, job: int) -> None:
        for watch in list(self._watches.get(job, ())):
            watch.ring()

    def _ring_all(self) -> None:
        for job in list(self._watches):
            self._ring(job)

    def _set_timer(self, pause: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if pause is None else self.clock.callLater(pause, self._look)
