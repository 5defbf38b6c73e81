"""Tells what happened to a job between two looks at it, in lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from buildmaster.cli.console import tone
from buildmaster.client.documents import JobDocument, PipelineJobDocument
from protocol.stages import title

#: What people call a result; the others are words of their own.
_WORDS = {"success": "passed", "failure": "failed"}


@dataclass(frozen=True)
class Line:
    """One line to print, and its tone (a result's, ``bold`` or ``faint``)."""

    text: str
    tone: str | None = None


def in_words(result: str | None) -> str:
    """``passed``, ``failed``, or the result's own name."""
    return _WORDS.get(result or "", result or "unfinished")


def seconds_between(start: str | None, end: str | None) -> str:
    """`` in 3.2 s`` for two times of a document, or nothing if one is missing."""
    if not start or not end:
        return ""
    try:
        taken = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    except ValueError:
        return ""
    return f" in {taken.total_seconds():.1f} s"


def log_length(job: JobDocument) -> int:
    """Bytes of the current attempt's log that were recorded when ``job`` was read."""
    for attempt in job.attempts:
        if attempt.number == job.attempt:
            return attempt.log_length or 0
    return 0


def narrate(before: JobDocument | None, after: JobDocument) -> Iterator[Line]:
    """What to tell about ``after`` to somebody who knows ``before``."""
    same_attempt = before is not None and before.attempt == after.attempt
    if before is not None and not same_attempt:
        yield from _another_attempt(after)
    earlier = before if same_attempt else None
    if after.worker and (earlier is None or not earlier.worker) and after.state != "done":
        yield Line(f"on worker {after.worker}", "faint")
    known = {(p.name, p.index): p for p in (earlier.pipeline_jobs if earlier else ())}
    begun = {p.stage for p in known.values() if _has_begun(p)}
    for each in after.pipeline_jobs:
        was = known.get((each.name, each.index))
        if _has_begun(each) and each.stage not in begun:
            begun.add(each.stage)
            yield from _stage_begins(after, each)
        has_ended = each.result is not None and (was is None or was.result is None)
        # The log itself says of each job that ran and passed that it did.
        if has_ended and not (_has_begun(each) and each.result == "success"):
            yield _ended(each)
    if after.state == "done" and (earlier is None or earlier.state != "done"):
        yield from _job_ended(after)


def _has_begun(each: PipelineJobDocument) -> bool:
    return each.started_at is not None


def _another_attempt(job: JobDocument) -> Iterator[Line]:
    last = next((a for a in job.attempts if a.number == job.attempt - 1), None)
    why = f": {last.reason}" if last is not None and last.reason else ""
    yield Line(f"attempt {job.attempt} follows{why}", "void")


def _stage_begins(job: JobDocument, first: PipelineJobDocument) -> Iterator[Line]:
    if first.stage is None or not 0 <= first.stage < len(job.stages):
        return
    names = ", ".join(title(name, index) for name, index in job.stages[first.stage])
    yield Line(f"stage {first.stage + 1} of {len(job.stages)}: {names}", "bold")


def _ended(each: PipelineJobDocument) -> Line:
    taken = seconds_between(each.started_at, each.finished_at)
    if each.kept_from is not None:
        taken = f" in attempt {each.kept_from}, and is kept"
    why = f": {each.reason}" if each.reason else ""
    text = f"{title(each.name, each.index)} {in_words(each.result)}{taken}{why}"
    return Line(text, tone(each.result))


def _job_ended(job: JobDocument) -> Iterator[Line]:
    if job.result != "success":
        why = f": {job.reason}" if job.reason else ""
        yield Line(f"{in_words(job.result)}{why}", tone(job.result))
