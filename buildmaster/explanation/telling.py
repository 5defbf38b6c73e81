"""The document that explains a job: why it waits, when it starts, why it ended. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from buildmaster.explanation.blocks import Block, blocks
from buildmaster.explanation.facts import JobFacts, Place
from buildmaster.explanation.outlook import Outlook, Start
from buildmaster.explanation.standings import Workforce
from buildmaster.explanation.words import count, moment, span
from buildmaster.forecast import HIGH, LOW, Estimate


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs stand before one."""

    before: int
    exact: bool  #: else it is about so many


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job stands in the line."""

    of_class: Before
    of_workers: Before  #: among all classes that its workers serve
    classes: int


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """When something is likely to happen."""

    earliest: str
    likely: str
    latest: str
    share: float  #: of ten such intervals so many tenths hold the true time


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``GET /api/v1/jobs/ID/explain``."""

    id: int
    kind: str
    name: str
    state: str
    result: str | None
    attempt: int
    as_of: str
    summary: str
    blocked_by: tuple[Block, ...] = ()
    position: Position | None = None
    start: Interval | None = None
    no_estimate: str | None = None
    worker: str | None = None
    since: str | None = None
    end: Interval | None = None
    root_cause: int | None = None
    cursor: str = "0-0"  #: whatever this does not show yet is told after it


def place_matters(facts: JobFacts) -> bool:
    """Whether the job stands in the line, or will as soon as its time has come."""
    return facts.state == "ready" or (facts.state == "waiting" and facts.open_edges == 0)


def explain(
    facts: JobFacts,
    workforce: Workforce,
    outlook: Outlook,
    places: tuple[Place, Place] | None,
) -> tuple[Explanation, Start | None]:
    """The document, and the start that it tells."""
    if facts.state == "done":
        return _ended(facts, workforce), None
    if facts.state == "running" and facts.lease is not None:
        return _running(facts, workforce, outlook), None
    found = blocks(facts, workforce)
    start, why_not = _start(facts, outlook, places, found)
    if start is not None:
        start = start.later(workforce.picture.at - outlook.picture.at)
    told = None if start is None else start.told
    position = None
    if places is not None:
        of_class, of_workers = places
        position = Position(
            of_class=Before(before=of_class.before, exact=of_class.is_exact),
            of_workers=Before(before=of_workers.before, exact=of_workers.is_exact),
            classes=len(outlook.neighbours(facts.class_id)),
        )
    document = _document(
        facts,
        workforce,
        _waits(facts, found, position, told, why_not),
        blocked_by=tuple(found),
        position=position,
        start=None if told is None else _interval(told, workforce),
        no_estimate=why_not,
    )
    return document, start


def _document(
    facts: JobFacts, workforce: Workforce, summary: str, **more: object
) -> Explanation:
    fields: dict[str, object] = {
        "id": facts.id,
        "kind": facts.kind,
        "name": facts.name,
        "state": facts.state,
        "result": facts.result,
        "attempt": facts.attempt,
        "as_of": _iso(workforce.picture.at),
        "summary": summary,
        "cursor": earlier(facts.cursor, workforce.picture.cursor),
        **more,
    }
    return msgspec.convert(fields, Explanation)


def _start(
    facts: JobFacts,
    outlook: Outlook,
    places: tuple[Place, Place] | None,
    found: list[Block],
) -> tuple[Start | None, str | None]:
    kinds = {block.kind for block in found}
    if facts.state == "assigned":
        return None, None
    if "no_worker" in kinds:
        return None, "no worker can ever run it"
    if facts.state == "parked":
        return None, "it is parked until somebody, or something, lets it go"
    if "edge" in kinds or places is None:
        return None, "it waits for other jobs first"
    if "hold" in kinds:
        return None, "it is held"
    start = outlook.start(facts.id, facts.class_id, places[1], delay=facts.delay)
    if start is None:
        return None, "no worker that suits it takes work now"
    return start, None


def _waits(
    facts: JobFacts,
    found: list[Block],
    position: Position | None,
    start: Estimate | None,
    why_not: str | None,
) -> str:
    parts = [block.sentence for block in found[:3]]
    if len(found) > 3:
        parts.append(f"{count(len(found) - 3, 'further reason')}.")
    if position is not None and facts.state == "ready":
        ahead = position.of_workers
        about = "" if ahead.exact else "about "
        if ahead.before:
            verb = "stands" if ahead.before == 1 else "stand"
            parts.append(
                f"{about}{count(ahead.before, 'job')} {verb} before it.".capitalize()
            )
        elif not found:
            parts.append("It is next, and a worker has room: it starts at once.")
        else:
            parts.append("It is next.")
    if not parts:
        parts.append("It is about to be queued.")
    if start is not None:
        parts.append(_when("It should start", start))
    elif why_not is not None:
        parts.append(f"When it starts cannot be told: {why_not}.")
    return " ".join(parts)


def _when(what: str, found: Estimate) -> str:
    if found.high < 2:
        return f"{what} now."
    share = round(10 * (HIGH - LOW))
    return (
        f"{what} in about {span(found.middle)}; {share} times of 10 it is between"
        f" {span(found.low)} and {span(found.high)}."
    )


def _running(facts: JobFacts, workforce: Workforce, outlook: Outlook) -> Explanation:
    lease = facts.lease
    assert lease is not None
    since = lease.accepted_at or lease.assigned_at
    summary = f"It runs on worker {lease.worker} since {moment(since)} UTC."
    if lease.worker_state != "connected":
        summary += (
            f" The worker is {lease.worker_state}: it may come back and go on, else"
            f" another attempt follows after the grace."
        )
    if facts.is_cancelling:
        summary += f" It was asked to stop: {facts.cancel_reason}."
    end = outlook.end(facts.kind, facts.name, facts.class_id, lease.elapsed)
    summary += " " + _when("It should end", end)
    return _document(
        facts,
        workforce,
        summary,
        worker=lease.worker,
        since=since,
        end=_interval(end, workforce),
    )


#: What a result means, before its reason.
_ENDS = {
    "success": "It passed",
    "reused": "An earlier success stands in for it",
    "skipped": "It was not to run",
    "failure": "What it ran did not pass",
    "error": "The farm could not run it",
    "timeout": "It took too long",
    "malformed": "What was asked for makes no sense",
    "unrun": "It never ran",
    "cancelled": "It was cancelled",
}


def _ended(facts: JobFacts, workforce: Workforce) -> Explanation:
    summary = _ENDS[facts.result or "success"]
    if facts.reason:
        summary += f": {facts.reason}"
    summary = summary.rstrip(".") + "."
    if facts.result == "error" and facts.attempt > 1:
        summary += f" It was tried {facts.attempt} times."
    if facts.root is not None:
        ended = facts.root.result or "not over"
        summary += f" The root cause is {facts.root.title}, which ended as {ended}"
        if facts.root.reason and facts.root.reason not in summary:
            summary += f": {facts.root.reason}"
        summary = summary.rstrip(".") + "."
    if facts.superseded_by is not None:
        summary += f" {facts.superseded_by.title.capitalize()} took its place."
    return _document(
        facts,
        workforce,
        summary,
        worker=facts.worker,
        root_cause=facts.root.job if facts.root else None,
    )


def _interval(found: Estimate, workforce: Workforce) -> Interval:
    at = workforce.picture.at
    return Interval(
        earliest=_iso(at + found.low),
        likely=_iso(at + found.middle),
        latest=_iso(at + found.high),
        share=round(HIGH - LOW, 3),
    )


def earlier(one: str, other: str) -> str:
    """Of two places in the event log the one that comes first."""

    def place(cursor: str) -> tuple[int, int]:
        transaction, _, number = cursor.partition("-")
        return int(transaction), int(number)

    return min(one, other, key=place)


def interval(start: Start, workforce: Workforce) -> Interval:
    """A start as it is told."""
    return _interval(start.told, workforce)


def _iso(seconds: float) -> str:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    # What takes longer than a century takes a century.
    at = epoch + timedelta(seconds=min(seconds, 4102444800.0))
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
