"""GET /metrics: how the farm is, and how this master is, for Prometheus."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from buildmaster import metrics
from buildmaster.database import Database
from buildmaster.feed import EventFeed
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.metrics import Histogram, metric
from buildmaster.status import questions as q
from buildmaster.status.interface import IStatus
from buildmaster.store import watching

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
#: Seconds for which what takes the database longer is not read again, whoever asks.
_GOOD_FOR = 10.0


class Requests:
    """Counts what was asked over HTTP, and how long answers took."""

    def __init__(self) -> None:
        self.seconds = Histogram()
        self.answers: Counter[tuple[str, str]] = Counter()

    def note(self, method: str, status: int, seconds: float) -> None:
        """One answer went out."""
        known = method if method in ("GET", "HEAD", "POST", "PUT", "OPTIONS") else "other"
        self.answers[known, str(status)] += 1
        self.seconds.add(seconds)


@dataclass(frozen=True)
class Meters:
    """What one master measures of itself."""

    requests: Requests = field(default_factory=Requests)
    dispatch: Histogram = field(default_factory=Histogram)
    pools: Mapping[str, Database] = field(default_factory=dict)  #: by what they are for
    folder: Path | None = None  #: of its files


class Prometheus:
    """Puts the text together."""

    def __init__(
        self,
        database: Database,
        status: IStatus,
        feed: EventFeed,
        meters: Meters,
        clock: IReactorTime,
    ) -> None:
        self._database = database
        self._status = status
        self._feed = feed
        self._meters = meters
        self._clock = clock
        self._seen: watching.Seen | None = None
        self._seen_at = 0.0

    async def get(self, call: Call) -> Answer:
        """GET /metrics"""
        call.query.allow()
        overview = (await self._status.overview(q.Nothing())).read()
        lag = await watching.event_lag(self._database)
        meters = self._meters
        parts = [
            metrics.of_overview(overview, lag),
            _of_farm(await self._look()),
            metric(
                "headrace_followers",
                "gauge",
                "Readers that follow events at this master.",
                [({}, self._feed.followers)],
            ),
            metric(
                "headrace_database_connections",
                "gauge",
                "This master's connections to the database, and who waits for one.",
                [
                    ({"pool": name, "state": state}, count)
                    for name, pool in meters.pools.items()
                    for state, count in pool.connections().items()
                ],
            ),
            metric(
                "headrace_http_answers_total",
                "counter",
                "Answers of this master since it began.",
                [
                    ({"method": method, "status": status}, count)
                    for (method, status), count in sorted(meters.requests.answers.items())
                ],
            ),
            *meters.requests.seconds.lines(
                "headrace_http_answer_seconds", "How long answers of this master took."
            ),
            *meters.dispatch.lines(
                "headrace_dispatch_seconds",
                "From when this master heard of room or work until an order was sent.",
            ),
        ]
        if meters.folder is not None:
            parts.append(_disk(meters.folder))
        return Answer(body=("\n".join(parts) + "\n").encode(), content_type=_PROMETHEUS)

    async def _look(self) -> watching.Seen:
        now = self._clock.seconds()
        if self._seen is None or now - self._seen_at >= _GOOD_FOR:
            self._seen, self._seen_at = await watching.look(self._database), now
        return self._seen


def _of_farm(seen: watching.Seen) -> str:
    lines = [
        (
            {
                "architecture": each.architecture,
                "isolation": each.isolation,
                "performs": each.performs,
            },
            each,
        )
        for each in seen.lines
    ]
    return "\n".join(
        (
            metric(
                "headrace_queue_jobs",
                "gauge",
                "Jobs that stand in the line, by what they need.",
                [(labels, each.jobs) for labels, each in lines],
            ),
            metric(
                "headrace_queue_oldest_seconds",
                "gauge",
                "How long the job with the lowest number among them has stood there.",
                [(labels, each.oldest) for labels, each in lines],
            ),
            metric(
                "headrace_failures",
                "gauge",
                "Failures of the last 24 hours, by cause; none: of no class yet.",
                [
                    ({"result": each.result, "cause": each.cause}, each.jobs)
                    for each in seen.failures
                ],
            ),
            metric(
                "headrace_worker_faults",
                "gauge",
                "Attempts of the last 24 hours that a worker could not run.",
                [({"worker": each.worker}, each.attempts) for each in seen.faults],
            ),
            metric(
                "headrace_outages",
                "gauge",
                "Things outside of the farm that are away, so that jobs are parked.",
                [({}, seen.outages)],
            ),
        )
    )


def _disk(folder: Path) -> str:
    usage = shutil.disk_usage(folder)
    return "\n".join(
        (
            metric(
                "headrace_disk_free_bytes",
                "gauge",
                "Room left where this master keeps files.",
                [({}, usage.free)],
            ),
            metric(
                "headrace_disk_bytes",
                "gauge",
                "All the room there.",
                [({}, usage.total)],
            ),
        )
    )
