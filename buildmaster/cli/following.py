"""Follows a run to its end: its log live, and a line for each thing that happens."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from buildmaster.cli.console import Console
from buildmaster.cli.log_stream import LogStream
from buildmaster.cli.narration import log_length, narrate
from buildmaster.client.documents import JobDocument, RunDocument, RunJob
from buildmaster.client.event_stream import ServerSentEvent
from buildmaster.client.http import Client, FarmAway

#: Events are hints that something happened; without one, look after so many seconds.
LOOK_AGAIN = 2.0
#: Seconds that a farm may be away (its master restarts) before we give up.
AWAY_WITHIN = 120.0
#: Seconds between two tries while it is away.
TRY_AGAIN = 1.0
#: Seconds that the rest of a log may take once its job is done.
LOG_WITHIN = 15.0

_AT_WORK = ("assigned", "running")


class RunFollower:
    """Shows one run; `follow` ends with it."""

    def __init__(self, reactor: Any, client: Client, console: Console, run: int) -> None:
        self._reactor = reactor
        self._client = client
        self._console = console
        self._run = run
        self._jobs: dict[int, JobDocument] = {}
        self._streams: dict[tuple[int, int], LogStream] = {}
        self._tasks: list[Deferred[None]] = []
        self._prefixes: dict[int, str] = {}
        self._waiting: Deferred[None] = Deferred()
        self._has_news = False
        self._failure: BaseException | None = None
        self._away_since: float | None = None
        self._is_over = False

    @property
    def jobs(self) -> list[JobDocument]:
        """The jobs as they were last seen."""
        return list(self._jobs.values())

    async def follow(self) -> RunDocument:
        """The run, once it is done and its logs were shown. May be cancelled."""
        self._begin(self._listen())
        try:
            while True:
                try:
                    run = await self._look()
                    self._away_since = None
                except FarmAway as error:
                    await self._bear(error)
                    continue
                if run.state == "done":
                    await self._end_logs()
                    return run
                await self._next_event()
        finally:
            self._is_over = True
            for task in self._tasks:
                task.cancel()
            for stream in self._streams.values():
                stream.end()

    async def _look(self) -> RunDocument:
        run = await self._client.run(self._run)
        self._name(run.jobs)
        for job in run.jobs:
            before = self._jobs.get(job.id)
            if (
                before is None
                or (before.state, before.attempt) != (job.state, job.attempt)
                or job.state in _AT_WORK
            ):
                after = await self._client.job(job.id)
                self._jobs[job.id] = after
                self._show(before, after)
        return run

    def _name(self, jobs: tuple[RunJob, ...]) -> None:
        """With several jobs, every line says whose it is."""
        several = len(jobs) > 1
        for job in jobs:
            label = job.architecture or job.name
            if sum(other.architecture == job.architecture for other in jobs) > 1:
                label += f" {job.id}"
            self._prefixes.setdefault(job.id, f"{label} | " if several else "")

    def _show(self, before: JobDocument | None, after: JobDocument) -> None:
        key = (after.id, after.attempt)
        length = log_length(after)
        if key not in self._streams and (after.state in _AT_WORK or length):
            source = f"{after.id}.{after.attempt}"
            stream = LogStream(self._console, source, self._prefixes[after.id])
            self._streams[key] = stream
            self._begin(self._stream_log(after.id, after.attempt, stream))
        for line in narrate(before, after):
            if key in self._streams:
                self._streams[key].tell(line, length)
            else:
                self._console.say(f"{self._prefixes[after.id]}==> {line.text}", line.tone)

    async def _stream_log(self, job: int, attempt: int, stream: LogStream) -> None:
        while True:
            try:
                await self._client.log(
                    job,
                    stream.received,
                    attempt=attempt,
                    follow=True,
                    skip=stream.shown,
                )
                # A farm that stops in good order ends its answers, too.
                now = await self._client.job(job)
                if now.attempt != attempt or now.state not in _AT_WORK:
                    break
            except FarmAway:
                if self._is_over:  # What was asked just then was given up.
                    return
            await deferLater(self._reactor, TRY_AGAIN)
        stream.end()
        self._notice()

    async def _end_logs(self) -> None:
        """Wait for the rest of the logs, but not for ever."""
        deadline = self._reactor.seconds() + LOG_WITHIN
        while not all(stream.has_ended for stream in self._streams.values()):
            if self._reactor.seconds() > deadline:
                self._tell("the farm does not send the rest of the log")
                return
            await self._next_event()

    async def _listen(self) -> None:
        """Hear of events for as long as we follow."""
        since: str | None = None

        def heard(event: ServerSentEvent) -> None:
            nonlocal since
            since = event.id or since
            self._notice()

        while True:
            with suppress(FarmAway):
                await self._client.events(heard, since=since, run=self._run)
            if self._is_over:
                return
            await deferLater(self._reactor, TRY_AGAIN)

    async def _next_event(self) -> None:
        """Wait until something happened, or until it is time to look anyway."""
        if self._failure is not None:
            raise self._failure
        if not self._has_news:
            self._waiting = Deferred()
            look = self._reactor.callLater(LOOK_AGAIN, self._notice)
            try:
                await self._waiting
            finally:
                if look.active():
                    look.cancel()
        self._has_news = False

    def _notice(self) -> None:
        self._has_news = True
        if not self._waiting.called:
            self._waiting.callback(None)

    def _begin(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        task = Deferred.fromCoroutine(work)
        task.addErrback(self._failed)
        self._tasks.append(task)

    def _failed(self, failure: Failure) -> None:
        """A log or the events cannot be had; the next look says so."""
        if not failure.check(CancelledError):
            self._failure = failure.value
            self._notice()

    async def _bear(self, error: FarmAway) -> None:
        """Go on for a while without a farm that may come back."""
        now = self._reactor.seconds()
        if self._away_since is None:
            self._away_since = now
            self._tell(f"{error} Waiting for it to come back")
        if now - self._away_since > AWAY_WITHIN:
            raise error
        await deferLater(self._reactor, TRY_AGAIN)

    def _tell(self, text: str) -> None:
        self._console.say(f"==> {text}", "void")
