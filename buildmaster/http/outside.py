"""Handlers for other people's tools: Prometheus, CCTray and badges in web pages."""

from __future__ import annotations

from collections import Counter
from xml.sax.saxutils import quoteattr

from buildmaster import metrics
from buildmaster.database import Database
from buildmaster.feed import EventFeed
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.problems import bad_request
from buildmaster.status import questions as q
from buildmaster.status.interface import IStatus
from buildmaster.store.documents.outside import event_lag, last_result, last_runs
from protocol.results import BAD, GOOD, Result

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_WORDS = {True: ("passing", "#2a7d2e"), False: ("failing", "#b3261e")}


class Requests:
    """Counts what was asked over HTTP, and how long answers took."""

    def __init__(self) -> None:
        self.seconds = metrics.Histogram()
        self.answers: Counter[tuple[str, str]] = Counter()

    def note(self, method: str, status: int, seconds: float) -> None:
        """One answer went out."""
        known = method if method in ("GET", "HEAD", "POST", "PUT", "OPTIONS") else "other"
        self.answers[known, str(status)] += 1
        self.seconds.add(seconds)


class Outside:
    """What is not JSON, from the same sources."""

    def __init__(
        self,
        database: Database,
        status: IStatus,
        feed: EventFeed,
        requests: Requests,
        scheme: str,
    ) -> None:
        """``scheme`` is how pages are reached: http or https."""
        self._scheme = scheme
        self._database = database
        self._status = status
        self._feed = feed
        self._requests = requests

    async def metrics(self, call: Call) -> Answer:
        """GET /metrics"""
        call.query.allow()
        overview = (await self._status.overview(q.Nothing())).read()
        parts = [
            metrics.of_overview(overview, await event_lag(self._database)),
            metrics.metric(
                "headrace_followers",
                "gauge",
                "Readers that follow events at this master.",
                [({}, self._feed.followers)],
            ),
            metrics.metric(
                "headrace_readers_connections",
                "gauge",
                "Connections to the database for what is read, at this master.",
                [
                    ({"state": state}, count)
                    for state, count in self._database.connections().items()
                ],
            ),
            metrics.metric(
                "headrace_http_answers_total",
                "counter",
                "Answers of this master since it began.",
                [
                    ({"method": method, "status": status}, count)
                    for (method, status), count in sorted(self._requests.answers.items())
                ],
            ),
            *self._requests.seconds.lines("headrace_http_answer_seconds"),
        ]
        return Answer(body=("\n".join(parts) + "\n").encode(), content_type=_PROMETHEUS)

    async def cctray(self, call: Call) -> Answer:
        """GET /cctray.xml"""
        call.query.allow()
        lines = ["<Projects>"]
        for last in await last_runs(self._database):
            host = call.head.header("Host") or ""
            told = {
                "name": last.repository,
                "activity": "Building" if last.is_going else "Sleeping",
                "lastBuildStatus": _cctray_status(last.result),
                "lastBuildLabel": last.label,
                "lastBuildTime": last.finished_at,
                "webUrl": f"{self._scheme}://{host}/#/runs/{last.run}",
            }
            pairs = " ".join(f"{key}={_attribute(text)}" for key, text in told.items())
            lines.append(f"<Project {pairs}/>")
        lines.append("</Projects>")
        body = '<?xml version="1.0" encoding="UTF-8"?>\n' + "\n".join(lines) + "\n"
        return Answer(
            body=body.encode(), content_type="application/xml; charset=utf-8", has_etag=True
        )

    async def badge(self, call: Call) -> Answer:
        """GET /badge.svg?repository=URL&ref=REF"""
        call.query.allow("repository", "ref")
        repository = call.query.text("repository")
        if not repository:
            raise bad_request(
                "bad_parameter", "the parameter 'repository' says whose badge is wanted"
            )
        result = await last_result(self._database, repository, call.query.text("ref"))
        word, colour = "unknown", "#6b6b6b"
        if result is not None:
            word, colour = _WORDS.get(_is_good(result) or False, (word, colour))
            if _is_good(result) is None:
                word, colour = "not run", "#8a6d00"
        return Answer(
            body=_svg(word, colour).encode(),
            content_type="image/svg+xml; charset=utf-8",
            headers={"Cross-Origin-Resource-Policy": "cross-origin"},
            has_etag=True,
        )


def _is_good(result: str) -> bool | None:
    known = Result(result)
    return True if known in GOOD else False if known in BAD else None


def _cctray_status(result: str | None) -> str:
    if result is None:
        return "Unknown"
    if result in ("error", "timeout", "malformed"):
        return "Exception"
    return {True: "Success", False: "Failure", None: "Unknown"}[_is_good(result)]


def _attribute(text: str) -> str:
    # XML has no place at all for most control characters.
    return quoteattr(
        "".join(c if c >= " " and c not in "\ufffe\uffff" else " " for c in text)
    )


def _svg(word: str, colour: str) -> str:
    """Of words of ours only: nothing that was asked for is in it."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="104" height="20" role="img"'
        f' aria-label="build: {word}"><title>build: {word}</title>'
        '<rect width="104" height="20" rx="3" fill="#444"/>'
        f'<rect x="40" width="64" height="20" rx="3" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"'
        ' text-anchor="middle"><text x="20" y="14">build</text>'
        f'<text x="72" y="14">{word}</text></g></svg>'
    )
