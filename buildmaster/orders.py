"""Makes the order for a claimed build out of the books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from buildmaster.database import Cursor
from buildmaster.handing import handed_over, variables_of
from buildmaster.settling import settle
from buildmaster.sources import MadeSource, Source
from buildmaster.store import orders as store
from buildmaster.submission import TRUSTED
from protocol.messages import FRAME_LIMIT, Start, encode
from protocol.order import (
    Artifacts,
    KeptFile,
    KeptJob,
    Limits,
    Order,
    TreeSource,
)
from protocol.pipeline.configuration import parse
from protocol.pipeline.model import Pipeline


class NoOrder(Exception):
    """The books do not hold what an order needs; the sentence says what."""


@dataclass(frozen=True)
class OrderMaker:
    """Knows what all orders of a master have in common."""

    artifacts_url: str  #: as workers reach it
    attempt_token: Callable[[int, int], str]  #: lets an attempt store its files
    fence_after: float  #: seconds

    def artifacts(self, job: int, attempt: int) -> Artifacts:
        """Where an attempt puts files, and what lets it."""
        return Artifacts(url=self.artifacts_url, token=self.attempt_token(job, attempt))

    async def make(
        self, cursor: Cursor, job: int, attempt: int, *, settling: bool = False
    ) -> Order:
        """The order for an attempt of a build; raises `NoOrder`.

        With ``settling`` it is about to run: `Settled` if it turns out that it need not.
        """
        row = await store.build_row(cursor, job, attempt)
        if row is None:
            raise NoOrder(f"job {job} is not a build that could be dispatched")
        pipeline = _pipeline(row.configuration)
        names = sorted({name for stage in row.stages for name, _ in stage})
        source = msgspec.json.decode(row.source, type=Source)
        if isinstance(source, MadeSource):
            source = await _made(cursor, job, source)
        if isinstance(source, TreeSource):
            source = msgspec.structs.replace(
                source, url=f"{self.artifacts_url}/{source.sha256}"
            )
        node = row.node
        if node is not None and settling:
            if node["is_due"]:
                await store.lift_deadline(cursor, job)
            domains = (row.trust_domain, TRUSTED)
            node = await settle(cursor, job, attempt, node, domains)
        kept = await store.kept_rows(cursor, job, attempt)
        order = Order(
            job=row.job,
            attempt=row.attempt,
            trusted=row.trust_domain == TRUSTED,
            isolation=row.isolation,  # type: ignore[arg-type]
            architecture=row.architecture,
            series=row.series,
            source=source,
            project=row.project.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git"),
            stages=tuple(
                tuple((name, index) for name, index in stage) for stage in row.stages
            ),
            stage_numbers=row.stage_numbers,
            jobs={name: pipeline.jobs[name] for name in names},
            license=pipeline.license,
            kept=tuple(_kept(entry) for entry in kept),
            upstream=tuple(_kept(entry) for entry in await self._upstream(cursor, row)),
            handed=() if node is None else await handed_over(cursor, job, node),
            variables={} if node is None else variables_of(node),
            artifacts=self.artifacts(row.job, row.attempt),
            limits=Limits(run=row.run_limit, idle=row.idle_limit),
            fence_after=self.fence_after,
            linger=row.linger,
        )
        check_size(order)
        return order

    async def _upstream(self, cursor: Cursor, row: store.BuildRow) -> list[store.KeptRow]:
        """What other builds made, but what this one makes itself or two made alike.

        Of a job that this architecture runs as well, in an earlier part, only its own.
        """
        mine = {name for stage in row.stages for name, _ in stage}
        rows = [
            entry
            for entry in await store.upstream_rows(cursor, row.job)
            if entry.name not in mine
        ]
        near = {entry.name for entry in rows if entry.architecture == row.architecture}
        rows = [
            entry
            for entry in rows
            if entry.name not in near or entry.architecture == row.architecture
        ]
        counts = Counter((entry.name, entry.index) for entry in rows)
        return [entry for entry in rows if counts[entry.name, entry.index] == 1]


def check_size(order: Order) -> None:
    """`NoOrder`, with what makes it so large, if ``order`` cannot be sent to a worker."""
    size = len(encode(Start(order=order)))
    if size <= FRAME_LIMIT:
        return
    names = len(msgspec.msgpack.encode(order.handed))
    if 2 * names > size:
        count = sum(len(handed.files) for handed in order.handed)
        raise NoOrder(
            f"the names of the {count} files that it is handed take {names} bytes, and "
            f"{FRAME_LIMIT} can be sent to a worker: let the jobs that it needs pack them "
            "into one, or choose with `artifacts` which are handed over"
        )
    raise NoOrder(
        f"its part of the pipeline takes {size} bytes written out, and "
        f"{FRAME_LIMIT} can be sent to a worker: make its jobs fewer or shorter"
    )


class _Tree(msgspec.Struct, frozen=True):
    """What a job tells of the tree that it made."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
    size: Annotated[int, Meta(ge=0, le=2**62)]


class _Output(msgspec.Struct, frozen=True):
    tree: _Tree


async def _made(cursor: Cursor, job: int, source: MadeSource) -> TreeSource:
    made_by = f"job {source.job}, which was to make the source,"
    output = await store.output_of_upstream(cursor, job, source.job)
    try:
        tree = msgspec.convert(output, _Output).tree
    except msgspec.ValidationError as error:
        raise NoOrder(
            f"{made_by} returned no tree: its output must hold 'tree' with 'sha256' and"
            f" 'size', as context.store.tree() returns it ({error})"
        ) from error
    size = await store.size_of_blob(cursor, tree.sha256)
    if size is None:
        raise NoOrder(f"{made_by} named the tree {tree.sha256}, which the farm has not")
    return TreeSource(url="", sha256=tree.sha256, size=size)


def _kept(row: store.KeptRow) -> KeptJob:
    return KeptJob(
        name=row.name,
        index=row.index,
        properties=row.properties,
        files=tuple(KeptFile(**file) for file in row.files),
    )


# Builds of one submission share a text, and each attempt asks again.
@lru_cache(maxsize=256)
def _pipeline(text: str) -> Pipeline:
    parsed = parse(text.encode())
    if parsed.pipeline is None:
        raise NoOrder("its configuration, accepted before, is refused by this version")
    return parsed.pipeline
