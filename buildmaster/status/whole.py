"""Documents that are put together from several: one build whole, and the line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from buildmaster.database import Database
from buildmaster.explanation.telling import Explanation, Interval, earlier
from buildmaster.forecasting import Forecaster
from buildmaster.status.documents import LogTail
from buildmaster.status.problems import bad_parameter, not_there
from buildmaster.status.questions import OneBuild, Queue, Timeline
from buildmaster.store.documents.history import similar
from buildmaster.store.documents.line import line
from buildmaster.store.log_tail import log_tail

#: How long a timeline may be.
LONGEST = timedelta(days=31)


async def build(
    database: Database, asked: OneBuild, job: str, explanation: Explanation
) -> bytes:
    """What `buildmaster.status.documents.Build` describes, around the document of the job.

    That one is made first, so its cursor is good for all of it.
    """
    tail = await log_tail(database, asked.job, asked.attempt, asked.tail)
    if tail is None:
        raise not_there(f"attempt {asked.attempt} of job {asked.job}")
    trend, entries = await similar(database, asked.job)
    cursor = msgspec.json.decode(job, type=_Cursor).cursor
    log = LogTail(
        attempt=tail.attempt,
        from_=tail.start,
        length=tail.length,
        text=tail.text,
        ended=tail.has_ended,
    )
    return (
        f'{{"job":{job},"explanation":{_json(explanation)},"log":{_json(log)},'
        f'"history":{trend},"similar":{entries},"cursor":"{cursor}"}}'
    ).encode()


async def queue(database: Database, forecaster: Forecaster, asked: Queue) -> bytes:
    """What `buildmaster.status.documents.Queue` describes."""
    found = await line(database, asked)
    told = await forecaster.of_line(
        [each.class_id for each in found.classes],
        [(each.job, each.class_id, each.place - 1) for each in found.jobs],
    )
    classes = ",".join(
        f'{each.text[:-1]},"free_slots":{told.free_slots[each.class_id]}}}'
        for each in found.classes
    )
    jobs = ",".join(
        f"{each.text[:-1]},{_start(told.starts[each.job])}}}" for each in found.jobs
    )
    following = "null" if found.following is None else f'"{found.following}"'
    return (
        f'{{"classes":[{classes}],"jobs":[{jobs}],"next":{following},'
        f'"cursor":"{earlier(found.cursor, told.cursor)}"}}'
    ).encode()


def _start(found: Interval | None) -> str:
    if found is None:
        return '"likely_start":null,"earliest_start":null,"latest_start":null'
    return (
        f'"likely_start":"{found.likely}","earliest_start":"{found.earliest}",'
        f'"latest_start":"{found.latest}"'
    )


def window(asked: Timeline) -> tuple[datetime | None, datetime | None]:
    """From when to when, as far as it was said; `StatusProblem` for what makes no sense."""
    since, until = _moment("since", asked.since), _moment("until", asked.until)
    if since is not None and until is not None:
        if until <= since:
            raise bad_parameter("until", "must be later than 'since'")
        if until - since > LONGEST:
            raise bad_parameter("until", "must be within 31 days of 'since'")
    return since, until


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_parameter(name, f"is no time: {error}") from error
    # There must be room for an hour before it, and a day after.
    if not 1970 <= moment.year < 9000:
        raise bad_parameter(name, "must be between the years 1970 and 9000")
    return moment.astimezone(UTC)


class _Cursor(msgspec.Struct):
    cursor: str


def _json(one: Any) -> str:
    return msgspec.json.encode(one).decode()
