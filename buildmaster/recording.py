"""Records what workers report: in order, each once, and only for a lease that holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from buildmaster import ending
from buildmaster.database import Cursor
from buildmaster.ending import RetryPolicy
from buildmaster.store import jobs as job_store
from buildmaster.store import reports as report_store
from buildmaster.store.event_log import Event, tell_of_logs, write_events
from buildmaster.store.step import AttemptEnd
from buildmaster.store.text import storable
from protocol.messages import (
    Ended,
    LogChunk,
    PipelineJobEnded,
    PipelineJobStarted,
    Report,
    ReportBody,
)
from protocol.results import BAD, GOOD, Result


@dataclass(frozen=True)
class Outcome:
    """What to answer the worker about one attempt."""

    job: int
    attempt: int
    recorded: int  #: the highest number in the database
    forget: bool  #: the attempt is no longer this worker's
    ended: bool  #: its end is recorded: the slot is free


#: What a worker may say of an attempt; the rest are the master's to decide.
ATTEMPT_RESULTS = BAD | {Result.SUCCESS, Result.CANCELLED}
#: And of one pipeline job.
PIPELINE_JOB_RESULTS = ATTEMPT_RESULTS | {Result.UNRUN}


def attempt_end(
    worker: str, job: int, attempt: int, body: Ended, number: int | None = None
) -> AttemptEnd:
    """The last report of an attempt as the books take it; ``number`` if it is alone."""
    return AttemptEnd(
        job,
        attempt,
        body.result,
        body.reason,
        worker,
        final=body.final,
        reports=number,
        exit_status=body.exit_status,
        output=body.output,
    )


class BadReport(Exception):
    """A worker reported what cannot be; its fault. Nothing was recorded."""


class ReportsMissing(BadReport):
    """Reports in between did not arrive; in a new session they are sent again."""


async def give_up(
    cursor: Cursor, worker: str, job: int, attempt: int, reason: str, policy: RetryPolicy
) -> None:
    """End an attempt whose reports cannot be recorded, as the farm's failure.

    Its worker would send the same again in every session, for ever.
    """
    held = await report_store.progress(cursor, worker, job, attempt)
    if held is not None and held.leased:
        end = AttemptEnd(job, attempt, Result.ERROR, reason, worker)
        await ending.end_attempt(cursor, end, policy)


async def record(
    cursor: Cursor, worker: str, reports: Sequence[Report], policy: RetryPolicy
) -> Outcome:
    """Record reports of one attempt, in the order given; repeated ones change nothing."""
    job, attempt = reports[0].job, reports[0].attempt
    progress = await report_store.progress(cursor, worker, job, attempt)
    if progress is None:
        return Outcome(job, attempt, 0, forget=True, ended=True)
    if not progress.leased:
        told = reports[-1].number <= progress.reports
        return Outcome(job, attempt, progress.reports, forget=not told, ended=True)
    fresh = _without_gaps(reports, progress.reports)
    reached = fresh[-1].number if fresh else progress.reports
    grown = sum(r.body.length for r in fresh if isinstance(r.body, LogChunk))
    await report_store.advance(cursor, job, attempt, reached, progress.log_length + grown)
    recorder = _Recorder(cursor, worker, job, attempt, progress.log_length, policy)
    for body in _logs_joined(fresh):
        await recorder.record(body)
    return Outcome(job, attempt, reached, forget=False, ended=recorder.ended)


def _without_gaps(reports: Sequence[Report], recorded: int) -> list[Report]:
    fresh: list[Report] = []
    for report in reports:
        if report.number == recorded + len(fresh) + 1:
            fresh.append(report)
        elif report.number > recorded + len(fresh) + 1:
            raise ReportsMissing(
                f"report {report.number} of job {report.job} came after report "
                f"{recorded + len(fresh)}"
            )
    return fresh


def _logs_joined(reports: Sequence[Report]) -> list[ReportBody | list[LogChunk]]:
    """The bodies in order; neighbouring log chunks as one list, for one statement."""
    joined: list[ReportBody | list[LogChunk]] = []
    for report in reports:
        if not isinstance(report.body, LogChunk):
            joined.append(report.body)
        elif joined and isinstance(joined[-1], list):
            joined[-1].append(report.body)
        else:
            joined.append([report.body])
    return joined


@dataclass
class _Recorder:
    """Writes the reports of one attempt in one transaction."""

    cursor: Cursor
    worker: str
    job: int
    attempt: int
    log_length: int
    policy: RetryPolicy
    ended: bool = False

    async def record(self, body: ReportBody | list[LogChunk]) -> None:
        if self.ended:
            raise BadReport(f"job {self.job} reported something after its end")
        match body:
            case list():
                await self._log(body)
            case PipelineJobStarted():
                await self._started(body)
            case PipelineJobEnded():
                await self._pipeline_job_ended(body)
            case Ended():
                await self._ended(body)

    async def _log(self, chunks: list[LogChunk]) -> None:
        for chunk in chunks:
            if chunk.start != self.log_length or (chunk.name is None) != (
                chunk.index is None
            ):
                raise BadReport(
                    f"a log chunk of job {self.job} starts at {chunk.start}, "
                    f"not at {self.log_length}"
                )
            self.log_length += chunk.length
        await report_store.add_log(self.cursor, self.job, self.attempt, chunks)
        await tell_of_logs(self.cursor, self.job)

    async def _started(self, body: PipelineJobStarted) -> None:
        if not await report_store.start_pipeline_job(
            self.cursor, self.job, self.attempt, body.name, body.index
        ):
            raise BadReport(f"job {self.job} has no {body.name}:{body.index} to start")
        await self._tell("pipeline-job.running", body.name, body.index, state="running")

    async def _pipeline_job_ended(self, body: PipelineJobEnded) -> None:
        self._check(body.result, PIPELINE_JOB_RESULTS)
        reason = storable(body.reason)
        if body.result not in GOOD:
            reason = reason or "the worker gave no reason"
        stage = await report_store.end_pipeline_job(
            self.cursor, self.job, self.attempt, body, reason
        )
        if stage is None:
            raise BadReport(f"job {self.job} has no {body.name}:{body.index} to end")
        missing = await report_store.add_artifacts(
            self.cursor, self.job, self.attempt, body.name, body.index, body.files
        )
        if missing:
            raise BadReport(
                f"{body.name}:{body.index} of job {self.job} names files that were never "
                f"stored: {missing[0]}"
            )
        await self._tell(
            "pipeline-job.done",
            body.name,
            body.index,
            state="done",
            result=body.result.value,
            reason=reason,
        )
        if body.result is Result.SUCCESS:
            # A submission that adds an edge holds the job; one of the two sees the other.
            await job_store.lock(self.cursor, [self.job])
            number = await report_store.stage_passed(
                self.cursor, self.job, self.attempt, stage
            )
            if number is not None:
                await job_store.pass_stage(self.cursor, self.job, number)

    async def _ended(self, body: Ended) -> None:
        self._check(body.result, ATTEMPT_RESULTS)
        [job] = await job_store.lock(self.cursor, [self.job])
        told = await report_store.results(self.cursor, self.job, self.attempt)
        if job.kind == "build" and (
            body.result is Result.SUCCESS and set(told) != {Result.SUCCESS}
        ):
            raise BadReport(f"job {self.job} calls itself passed, not its pipeline jobs")
        end = attempt_end(self.worker, self.job, self.attempt, body)
        await ending.end_attempt(self.cursor, end, self.policy)
        self.ended = True

    def _check(self, result: Result, possible: Collection[Result]) -> None:
        if result not in possible:
            raise BadReport(
                f"a worker cannot end something of job {self.job} as {result.value}"
            )

    async def _tell(self, kind: str, name: str, index: int, **payload: object) -> None:
        payload |= {"name": name, "index": index, "attempt": self.attempt}
        event = Event(kind, job=self.job, payload=payload)
        await write_events(self.cursor, [event])
