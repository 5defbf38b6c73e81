"""Handlers for other people's tools: CCTray and badges in web pages."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from buildmaster.database import Database
from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.problems import bad_request
from buildmaster.store.documents.outside import last_result, last_runs
from protocol.results import BAD, GOOD, Result

_WORDS = {True: ("passing", "#2a7d2e"), False: ("failing", "#b3261e")}


class Outside:
    """What is not JSON, from the same sources."""

    def __init__(self, database: Database, scheme: str) -> None:
        """``scheme`` is how pages are reached: http or https."""
        self._scheme = scheme
        self._database = database

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
