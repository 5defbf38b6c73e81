"""A request becomes a plan, and the plan becomes rows: whole or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from buildmaster.database import Cursor
from buildmaster.enqueueing import Enqueueing
from buildmaster.farm_series import (
    Offering,
    lacking,
    required,
    series_offered,
    what_is_offered,
)
from buildmaster.graph import needs_of
from buildmaster.intervention import retry_job
from buildmaster.lifecycle import JobState
from buildmaster.planner import Plan, PlannedBuild, plan
from buildmaster.requests import (
    MadeRequest,
    Problem,
    Refusal,
    Requirements,
    Skipped,
    SubmissionRequest,
    Submitted,
    SubmittedJob,
)
from buildmaster.series import Series
from buildmaster.sources import MadeSource, Source
from buildmaster.store import jobs as job_store
from buildmaster.store import queue, semaphores
from buildmaster.store import submissions as store
from buildmaster.store import workers as worker_store
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.submissions import Identity, NewBuild, NewRun, Stored
from buildmaster.submission_notes import about_images, about_merged, some
from protocol.order import GitSource, TreeSource
from protocol.pipeline.configuration import parse
from protocol.pipeline.model import Pipeline
from protocol.results import Result
from protocol.stages import Cell, title

#: The name, in identities, of the job that runs a pipeline's builds; that of another
#: file of the same source is another job.
PIPELINE = "pipeline"
USUAL_FILE = ".launchpad.yaml"
#: The file that goes before it where a source has one: of jobs that refer to each other.
REFERENCES = ".headrace.yaml"
#: The trust domain of those whose code may run without any isolation.
TRUSTED = "trusted"


@dataclass(frozen=True)
class Material:
    """What is to be built, once the master has looked at the source."""

    repository: str | None  #: None of both: a job of the run makes the source
    digest: str | None
    source: GitSource | TreeSource | None
    configuration: bytes


class Prepared(Protocol):
    """A submission up to where it is written."""

    async def store(self, cursor: Cursor) -> Submitted:
        """Write it, in the transaction of ``cursor``: whole or nothing."""


@dataclass(frozen=True)
class SubmissionRules:
    """What the operator decided about submissions."""

    series: tuple[Series, ...]
    isolation: str = "native"  #: of trusted work that does not ask for another
    trust_domain: str = TRUSTED
    run_limit: float | None = 6 * 3600.0
    idle_limit: float | None = 3600.0
    requirements: Requirements = field(default_factory=Requirements)  #: of builds


def check_repository(repository: str) -> None:
    """Refuse an address that carries a secret: it would be stored and shown."""
    try:
        password = urlsplit(repository).password
    except ValueError:
        password = None
    if password is not None:
        raise Refusal(
            422,
            "secret_in_address",
            "The address of the repository contains a password, which would be stored and "
            "shown. Give an address without one.",
        )


def read_configuration(request: SubmissionRequest, text: bytes) -> Pipeline:
    """The pipeline in ``text``, or a `Refusal` that lists everything wrong with it."""
    parsed = parse(text)
    if parsed.pipeline is None:
        problems = tuple(
            Problem(where=error.where, line=error.line, message=error.message)
            for error in parsed.errors
        )
        count = "an error" if len(problems) == 1 else f"{len(problems)} errors"
        file = request.configuration or USUAL_FILE
        raise Refusal(
            422,
            "bad_configuration",
            f"{file} has {count}; mend the file and submit again.",
            problems,
        )
    return parsed.pipeline


@dataclass(frozen=True)
class Submission:
    """One request on its way into the database."""

    request: SubmissionRequest
    by: str
    material: Material
    pipeline: Pipeline
    rules: SubmissionRules
    maker: Enqueueing | None = None  #: of the job that makes the source

    @property
    def name(self) -> str:
        """What a job that runs this pipeline is called."""
        if isinstance(self.request.source, MadeRequest):
            return self.request.source.name
        file = self.request.configuration or USUAL_FILE
        return PIPELINE if file == USUAL_FILE else f"{PIPELINE} ({file})"

    @property
    def isolation(self) -> str:
        """Where the builds are to run."""
        return self.request.isolation or self.rules.isolation

    async def store(self, cursor: Cursor) -> Submitted:
        """Plan for the farm as it is, and write everything."""
        if self.isolation == "native" and self.rules.trust_domain != TRUSTED:
            raise Refusal(
                422,
                "not_trusted",
                f"Code of the trust domain {self.rules.trust_domain} never runs natively: "
                "ask for a chroot or a vm (--isolation).",
            )
        await semaphores.keep(cursor)
        offerings = await worker_store.offerings(cursor)
        planned = self._plan(offerings)
        digest = await store.add_configuration(
            cursor, self.material.configuration.decode("utf-8", "replace")
        )
        run = await self._add_run(cursor, digest)
        made_by = await self._add_maker(cursor, run)
        source = self.material.source or MadeSource(job=made_by[0].id)
        stored = [
            (build, await self._add_build(cursor, build, digest, source, offerings))
            for build in sorted(planned.builds, key=lambda b: (b.architecture, b.part))
        ]
        skipped = tuple(_skipped(planned))
        notes = (
            *(
                about_images(build.architecture, hopeless)
                for build, _ in stored
                if (hopeless := self._hopeless(build, offerings))
            ),
            *(
                about_merged(build.architecture, job, self.isolation, self.request.force)
                for build, job in stored
                if job.merged
            ),
        )
        await store.set_notes(cursor, run, _stored_notes(skipped, notes))
        await store.add_to_run(cursor, run, {job.id: job.merged for _, job in stored})
        await self._connect(cursor, stored)
        for maker in made_by:
            await store.wait_for(cursor, maker.id, [job.id for _, job in stored])
        await queue.make_ready(cursor, [job.id for _, job in stored if not job.merged])
        if self.request.force:
            await self._force(cursor, stored, offerings)
        await job_store.end_run_without_jobs(cursor, run)
        answer = await self._answer(cursor, run, stored, skipped, notes)
        return msgspec.structs.replace(answer, jobs=(*made_by, *answer.jobs))

    def _plan(self, offerings: Sequence[Offering]) -> Plan:
        series = (
            self.rules.series
            if self.request.wait_for_worker
            else series_offered(self.rules.series, offerings, self.isolation)
        )
        planned = plan(self.pipeline, series, self.request.cross_architecture)
        if planned.errors:
            lines = parse(self.material.configuration).lines
            raise Refusal(
                422,
                "unplannable",
                f"The pipeline cannot be run: {planned.errors[0].message}",
                tuple(
                    Problem(
                        where=error.where,
                        line=lines.get(error.where, error.line),
                        message=error.message,
                    )
                    for error in planned.errors
                ),
            )
        _refuse_repetition(planned)
        if not planned.builds:
            reasons = "; ".join(f"{s.architecture}: {s.reason}" for s in planned.skipped)
            raise Refusal(
                422,
                "nothing_to_run",
                f"Nothing of this pipeline can run here. {reasons or 'It has no jobs'}. "
                f"{what_is_offered(offerings, self.isolation)}",
            )
        if not self.request.wait_for_worker:
            for build in planned.builds:
                self._check_series(build, offerings)
        return planned

    def _check_series(self, build: PlannedBuild, offerings: Sequence[Offering]) -> None:
        """Refuse what would wait for a worker that the farm does not have.

        A series of which no worker at all has an image is not waited for: its jobs stay
        where they are, and end with an error that names it.
        """
        cells = self._series_of(build)
        missing = lacking(
            self._needed(build, offerings), build.architecture, offerings, self.isolation
        )
        if missing:
            jobs = [title(*cell) for cell, series in cells.items() if series in missing]
            raise Refusal(
                422,
                "no_worker",
                f"No worker of this farm can run all of this pipeline on "
                f"{build.architecture}: {some(jobs)} would need {some(missing)}. "
                f"{what_is_offered(offerings, self.isolation)} --wait-for-worker queues it "
                f"all the same.",
            )

    def _needed(self, build: PlannedBuild, offerings: Sequence[Offering]) -> set[str]:
        """The series that the worker of ``build`` must have."""
        return required(
            self._series_of(build).values(),
            build.architecture,
            offerings,
            self.isolation,
            {series.name for series in self.rules.series},
            self.request.wait_for_worker,
        )

    def _hopeless(
        self, build: PlannedBuild, offerings: Sequence[Offering]
    ) -> dict[Cell, str]:
        """The jobs of a series of which nobody has an image, and that series."""
        needed = self._needed(build, offerings)
        return {
            cell: series
            for cell, series in self._series_of(build).items()
            if series not in needed
            and lacking([series], build.architecture, offerings, self.isolation)
        }

    def _series_of(self, build: PlannedBuild) -> dict[Cell, str]:
        return {
            (name, index): self.pipeline.jobs[name][index].series
            for stage in build.stages
            for name, index in stage
        }

    async def _add_build(
        self,
        cursor: Cursor,
        build: PlannedBuild,
        configuration: bytes,
        source: Source,
        offerings: Sequence[Offering],
    ) -> Stored:
        series_of = self._series_of(build)
        owner = self.request.owner or self.by
        class_id = await self._class_of(cursor, build, offerings)
        turns = await queue.take_turns(
            cursor, owner, build.architecture, 1, class_id=class_id
        )
        caps = await semaphores.caps_among(cursor, [(owner, build.architecture)])
        return await store.add_build(
            cursor,
            NewBuild(
                identity=Identity(
                    repository=self.material.repository,
                    source_digest=self.material.digest,
                    trust_domain=self.rules.trust_domain,
                    name=self.name,
                    cell=f"arch={build.architecture},series={build.series}",
                    part=build.part,
                ),
                refs=self.request.refs,
                requester=self.by,
                owner=owner,
                class_id=class_id,
                virtual_start=turns.first,
                architecture=build.architecture,
                series=build.series,
                stages=build.stages,
                stage_numbers=build.stage_numbers,
                series_of=series_of,
                configuration=configuration,
                source=source,
                run_limit=self.rules.run_limit,
                idle_limit=self.rules.idle_limit,
                limits=tuple(caps.values()),
            ),
        )

    async def _class_of(
        self, cursor: Cursor, build: PlannedBuild, offerings: Sequence[Offering]
    ) -> int:
        needed = tuple(sorted(self._needed(build, offerings)))
        wanted = needs_of(
            Requirements(architecture=build.architecture), self.rules.requirements, ""
        )
        wanted = replace(wanted, isolation=self.isolation, series=needed)
        return await queue.class_for(cursor, wanted)

    async def _add_maker(self, cursor: Cursor, run: int) -> tuple[SubmittedJob, ...]:
        """The job that makes the source, if one does."""
        if self.maker is None:
            return ()
        enqueued = await self.maker.store(cursor, run)
        return tuple(
            SubmittedJob(
                id=job.id,
                kind=job.kind,
                name=job.name,
                architecture="",
                series="",
                part=0,
                state=job.state,
                result=job.result,
                attempt=job.attempt,
                merged=job.merged,
            )
            for job in enqueued.jobs
        )

    async def _add_run(self, cursor: Cursor, configuration: bytes) -> int:
        source = self.request.source
        name = source.name if isinstance(source, MadeRequest) else ""
        run = await store.add_run(
            cursor,
            NewRun(
                repository=self.material.repository,
                source_digest=self.material.digest,
                refs=self.request.refs,
                trust_domain=self.rules.trust_domain,
                configuration=configuration,
                cross_architecture=self.request.cross_architecture,
                requester=self.by,
                owner=self.request.owner or self.by,
                name=name,
            ),
        )
        payload = {
            "state": "sealed",
            "repository": self.material.repository,
            "name": name,
        }
        await write_events(cursor, [Event("run.created", run=run, payload=payload)])
        return run

    async def _connect(
        self, cursor: Cursor, stored: Sequence[tuple[PlannedBuild, Stored]]
    ) -> None:
        """Add the edges that new builds wait on, and resolve those already decided."""
        ups: dict[int, set[int]] = {}
        for build, job in stored:
            for wait in () if job.merged else build.waits:
                for other, up in stored:
                    if (
                        other.architecture == wait.architecture
                        and wait.stage in other.stage_numbers
                        and up.id != job.id
                    ):
                        await store.add_edge(cursor, up.id, wait.stage, job.id)
                        if up.merged:
                            ups.setdefault(up.id, set()).add(wait.stage)
        for up_job in await job_store.lock(cursor, list(ups)):
            passed = await store.passed_stages(cursor, up_job.id)
            for stage in sorted(ups[up_job.id] & set(passed)):
                await job_store.pass_stage(cursor, up_job.id, stage)
            if up_job.state is JobState.DONE:
                await job_store.settle_done(cursor, up_job.id)

    async def _force(
        self,
        cursor: Cursor,
        stored: Sequence[tuple[PlannedBuild, Stored]],
        offerings: Sequence[Offering],
    ) -> None:
        # What others wait for begins with an earlier stage, and must be tried first.
        for build, job in sorted(stored, key=lambda one: one[0].stage_numbers[0]):
            again = job.merged and job.state == JobState.DONE.value
            if again and job.result != Result.UNRUN.value:
                class_id = await self._class_of(cursor, build, offerings)
                await store.move_to_class(cursor, job.id, class_id)
                await retry_job(cursor, job.id, self.by, from_start=True)

    async def _answer(
        self,
        cursor: Cursor,
        run: int,
        stored: Sequence[tuple[PlannedBuild, Stored]],
        skipped: tuple[Skipped, ...],
        notes: tuple[str, ...],
    ) -> Submitted:
        now = {
            job.id: job for job in await job_store.lock(cursor, [j.id for _, j in stored])
        }
        return Submitted(
            run=run,
            source_digest=self.material.digest,
            jobs=tuple(
                SubmittedJob(
                    id=job.id,
                    kind="build",
                    name=self.name,
                    architecture=build.architecture,
                    series=build.series,
                    part=build.part,
                    state=now[job.id].state.value,
                    result=_value(now[job.id].result),
                    attempt=now[job.id].attempt,
                    merged=job.merged,
                )
                for build, job in stored
            ),
            skipped=skipped,
            notes=notes,
        )


def _refuse_repetition(planned: Plan) -> None:
    """Results, logs and files are known by ``name:index``, so each may run once."""
    for build in planned.builds:
        cells = Counter(cell for stage in build.stages for cell in stage)
        for (name, index), count in cells.items():
            if count > 1:
                raise Refusal(
                    422,
                    "repeated_job",
                    f"The pipeline runs {title(name, index)} more than once, and its "
                    f"results could not be told apart: give the second one a name of its "
                    f"own.",
                )


def _value(result: Result | None) -> str | None:
    return result.value if result else None


def _stored_notes(skipped: Sequence[Skipped], notes: Sequence[str]) -> list[object]:
    """What a run remembers: objects for what was left out, texts for what was said."""
    return [*(msgspec.structs.asdict(entry) for entry in skipped), *notes]


def _skipped(planned: Plan) -> list[Skipped]:
    return [
        Skipped(
            architecture=entry.architecture,
            series=entry.series,
            jobs=entry.jobs,
            reason=entry.reason,
        )
        for entry in planned.skipped
    ]
