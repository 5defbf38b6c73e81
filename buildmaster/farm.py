"""The write path on a live database: what `buildmaster.requests.Farm` promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from twisted.internet.threads import deferToThread

from buildmaster import intervention
from buildmaster.blobs import BlobStore
from buildmaster.database import Cursor, Database
from buildmaster.enqueueing import Enqueueing, refusal_of
from buildmaster.graph import BadGraph, Graph, check
from buildmaster.kinds.registry import Kinds
from buildmaster.neighbours import Elsewhere, NeighbourAway
from buildmaster.requests import (
    Enqueued,
    GitRequest,
    GraphRequest,
    MadeRequest,
    Refusal,
    SubmissionRequest,
    Submitted,
    TreeRequest,
)
from buildmaster.source.archive import read_tree_configuration
from buildmaster.source.reader import GitReader
from buildmaster.submission import (
    Material,
    Submission,
    SubmissionRules,
    check_repository,
    read_configuration,
)
from protocol.order import GitSource, TreeSource
from protocol.stages import Cell

#: Jobs and needs of a graph that is checked while the reactor waits.
_SMALL = 200


@dataclass(frozen=True)
class LiveFarm:
    """The write path. Each call is whole or nothing."""

    database: Database
    git: GitReader
    blobs: BlobStore
    rules: SubmissionRules
    cancelled: Callable[[], None]  #: called when a worker may have to be told to stop
    kinds: Kinds = field(default_factory=Kinds)
    elsewhere: Elsewhere | None = None  #: asked for trees that are not among ``blobs``

    async def submit(self, request: SubmissionRequest, by: str) -> Submitted:
        """Plan and queue the pipeline of a source: whole or nothing."""
        submission = await self.prepare(request, by)
        return await self.database.transaction(submission.store)

    async def prepare(self, request: SubmissionRequest, by: str) -> Submission:
        """The same up to where it is written, for a transaction that does more."""
        material = await self._look(request)
        pipeline = read_configuration(request, material.configuration)
        maker = await self._maker(request, by)
        return Submission(request, by, material, pipeline, self.rules, maker)

    async def enqueue(self, request: GraphRequest, by: str) -> Enqueued:
        """Queue new jobs that depend on each other, as one run: whole or nothing."""
        graph = await self._checked(request)
        enqueueing = Enqueueing(request, graph, by, self.rules.run_limit)
        enqueued = await self.database.transaction(enqueueing.store)
        if any(job.concurrency is not None for job in request.jobs):
            self.cancelled()
        return enqueued

    async def enqueue_within(
        self, cursor: Cursor, request: GraphRequest, by: str
    ) -> Enqueued:
        """The same as part of a transaction that does more."""
        graph = await self._checked(request)
        return await Enqueueing(request, graph, by, self.rules.run_limit).store(cursor)

    async def _checked(self, request: GraphRequest) -> Graph:
        size = len(request.jobs) + sum(len(job.needs) for job in request.jobs)
        try:
            if size <= _SMALL:
                return check(request, self.kinds.rules_of)
            return await deferToThread(check, request, self.kinds.rules_of)
        except BadGraph as error:
            raise refusal_of(error) from error

    async def cancel_job(self, job: int, by: str, why: str) -> None:
        """Ask a job to stop; nothing happens to one that is done."""
        await self.database.transaction(
            lambda cursor: intervention.cancel_job(cursor, job, by, why)
        )
        self.cancelled()

    async def cancel_run(self, run: int, by: str, why: str) -> None:
        """Ask every job that only this run wants to stop."""
        await self.database.transaction(
            lambda cursor: intervention.cancel_run(cursor, run, by, why)
        )
        self.cancelled()

    async def retry_job(
        self,
        job: int,
        by: str,
        only: Cell | None,
        from_start: bool,
        linger: float | None = None,
    ) -> int:
        """Queue another attempt of a job that is done; its number."""
        return await self.database.transaction(
            lambda cursor: intervention.retry_job(cursor, job, by, only, from_start, linger)
        )

    async def _look(self, request: SubmissionRequest) -> Material:
        if isinstance(request.source, GitRequest):
            return await self._look_at_git(request.source, request.configuration)
        if isinstance(request.source, MadeRequest):
            return Material(None, None, None, request.source.pipeline.encode())
        return await self._look_at_tree(request.source, request.configuration)

    async def _maker(self, request: SubmissionRequest, by: str) -> Enqueueing | None:
        """What queues the job that makes the source, if one does."""
        if not isinstance(request.source, MadeRequest):
            return None
        job = request.source.by
        if job.key is not None:
            raise Refusal(
                422,
                "bad_graph",
                "The job that makes a source is one of its own: give it no 'key'.",
            )
        graph = GraphRequest(
            jobs=(msgspec.structs.replace(job, stores=True),),
            owner=request.owner,
        )
        return Enqueueing(graph, await self._checked(graph), by, self.rules.run_limit)

    async def _look_at_git(self, source: GitRequest, path: str) -> Material:
        check_repository(source.repository)
        revision = await self.git.read(source.repository, source.revision, path)
        return Material(
            source.repository,
            revision.commit,
            GitSource(repository=source.repository, commit=revision.commit),
            revision.text,
        )

    async def _look_at_tree(self, source: TreeRequest, path: str) -> Material:
        archive = self.blobs.path(source.sha256)
        if archive is None and self.elsewhere is not None:
            archive = await self._from_elsewhere(source.sha256)
        if archive is None:
            raise Refusal(
                422,
                "no_such_tree",
                f"The farm has no archive {source.sha256}; store it first with "
                f"PUT /api/v1/artifacts/{source.sha256}.",
            )
        text = await deferToThread(read_tree_configuration, archive, path)
        size = archive.stat().st_size
        # Where it is fetched from is the dispatching master's to say.
        return Material(
            source.name,
            f"sha256:{source.sha256}",
            TreeSource(url="", sha256=source.sha256, size=size),
            text,
        )

    async def _from_elsewhere(self, sha256: str) -> Path | None:
        assert self.elsewhere is not None
        try:
            return await self.elsewhere.fetch(sha256)
        except NeighbourAway as error:
            raise Refusal(503, "master_away", str(error)) from error
