"""The write path on a live database: what `buildmaster.requests.Farm` promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from buildmaster.nodes import NodeSubmission, Source, paths_in, read_references
from buildmaster.references.reading import is_references
from buildmaster.requests import (
    Enqueued,
    GitRequest,
    GraphRequest,
    MadeRequest,
    Refusal,
    Rerun,
    RerunRequest,
    SubmissionRequest,
    Submitted,
    TreeRequest,
)
from buildmaster.rerunning import rerun
from buildmaster.source.archive import read_tree_configuration, read_tree_parts
from buildmaster.source.reader import GitReader, Parts
from buildmaster.submission import (
    REFERENCES,
    USUAL_FILE,
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
        prepared = await self.prepare(request, by)
        submitted = await self.database.transaction(prepared.store)
        if isinstance(prepared, NodeSubmission) and prepared.replaces:
            self.cancelled()
        return submitted

    async def prepare(
        self, request: SubmissionRequest, by: str
    ) -> Submission | NodeSubmission:
        """The same up to where it is written, for a transaction that does more."""
        material, path = await self._look(request)
        request = msgspec.structs.replace(request, configuration=path)
        if is_references(path) and not isinstance(request.source, MadeRequest):
            return await self._nodes(request, by, material)
        if request.trigger is not None:
            raise Refusal(
                422,
                "no_triggers",
                f"{path} knows no triggers; only jobs of a {REFERENCES} do.",
            )
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

    async def release_job(self, job: int, by: str) -> None:
        """Let a job go that waits for somebody."""
        await self.database.transaction(
            lambda cursor: intervention.release_job(cursor, job, by)
        )

    async def rerun(self, run: int, request: RerunRequest, by: str) -> Rerun:
        """Queue another attempt of some jobs of a run."""
        return await self.database.transaction(
            lambda cursor: rerun(cursor, run, request, by)
        )

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

    async def _nodes(
        self, request: SubmissionRequest, by: str, material: Material
    ) -> NodeSubmission:
        """The jobs of a file of references, with the parts of the source it speaks of."""
        file = await deferToThread(read_references, request, material.configuration)
        parts = await self._parts(request, material, file.includes, paths_in(file))
        included = {
            path: read_configuration(
                msgspec.structs.replace(request, configuration=path), text
            )
            for path, text in parts.files.items()
        }
        source = Source(parts.files, parts.digests)
        return NodeSubmission(request, by, material, file, included, source, self.rules)

    async def _parts(
        self,
        request: SubmissionRequest,
        material: Material,
        files: Sequence[str],
        paths: Sequence[str],
    ) -> Parts:
        if isinstance(request.source, GitRequest):
            assert material.digest is not None
            return await self.git.parts(
                request.source.repository, material.digest, files, paths
            )
        assert isinstance(request.source, TreeRequest)
        archive = await self._archive(request.source)
        return await deferToThread(read_tree_parts, archive, files, paths)

    async def _look(self, request: SubmissionRequest) -> tuple[Material, str]:
        """What is to be built, and which file says how."""
        paths = (REFERENCES, USUAL_FILE)
        if request.configuration is not None:
            paths = (request.configuration,)  # type: ignore[assignment]
        if isinstance(request.source, GitRequest):
            return await self._look_at_git(request.source, paths)
        if isinstance(request.source, MadeRequest):
            material = Material(None, None, None, request.source.pipeline.encode())
            return material, request.configuration or USUAL_FILE
        return await self._look_at_tree(request.source, paths)

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

    async def _look_at_git(
        self, source: GitRequest, paths: Sequence[str]
    ) -> tuple[Material, str]:
        check_repository(source.repository)
        revision = await self.git.read(source.repository, source.revision, *paths)
        material = Material(
            source.repository,
            revision.commit,
            GitSource(repository=source.repository, commit=revision.commit),
            revision.text,
        )
        return material, revision.path

    async def _archive(self, source: TreeRequest) -> Path:
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
        return archive

    async def _look_at_tree(
        self, source: TreeRequest, paths: Sequence[str]
    ) -> tuple[Material, str]:
        archive = await self._archive(source)
        text, path = await deferToThread(read_tree_configuration, archive, *paths)
        size = archive.stat().st_size
        # Where it is fetched from is the dispatching master's to say.
        material = Material(
            source.name,
            f"sha256:{source.sha256}",
            TreeSource(url="", sha256=source.sha256, size=size),
            text,
        )
        return material, path

    async def _from_elsewhere(self, sha256: str) -> Path | None:
        assert self.elsewhere is not None
        try:
            return await self.elsewhere.fetch(sha256)
        except NeighbourAway as error:
            raise Refusal(503, "master_away", str(error)) from error
