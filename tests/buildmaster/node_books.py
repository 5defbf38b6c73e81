"""Books of a farm with files of references submitted to it, whose nodes end as said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.trial.unittest import TestCase

from buildmaster import intervention
from buildmaster.database import Cursor
from buildmaster.nodes import NodeSubmission, Source, paths_in, read_references
from buildmaster.orders import OrderMaker
from buildmaster.requests import (
    GitRequest,
    Rerun,
    RerunRequest,
    SubmissionRequest,
    Submitted,
)
from buildmaster.rerunning import rerun
from buildmaster.series import DEFAULT_SERIES
from buildmaster.settling import Settled
from buildmaster.store import queue
from buildmaster.store.step import AttemptEnd, Claim, step
from buildmaster.submission import Material, SubmissionRules, read_configuration
from protocol.messages import FileMade, Offer
from protocol.order import GitSource, Order
from protocol.results import Result
from tests.buildmaster.books import NO_DELAY, Books, ended, fresh_books, over

REPOSITORY = "https://git.example/p.git"
_ORDERS = OrderMaker("http://farm", lambda job, attempt: "token", 270.0)


def prepared(
    text: str,
    commit: str,
    domain: str = "trusted",
    tree: str = "",
    repository: str = REPOSITORY,
    parts: Mapping[str, str] | None = None,
    included: Mapping[str, str] | None = None,
    **fields: Any,
) -> NodeSubmission:
    """A submission that is not written yet.

    ``tree`` is what the source's content is called, ``parts`` that of its paths.
    """
    request = SubmissionRequest(
        source=GitRequest(repository=repository),
        configuration=".headrace.yaml",
        **fields,
    )
    source = GitSource(repository=repository, commit=commit)
    file = read_references(request, text.encode())
    files = {name: said.encode() for name, said in (included or {}).items()}
    digests = {**dict.fromkeys(paths_in(file), tree or commit), **(parts or {})}
    return NodeSubmission(
        request,
        "ann",
        Material(repository, commit, source, text.encode()),
        file,
        {name: read_configuration(request, said) for name, said in files.items()},
        Source(files, digests),
        SubmissionRules(DEFAULT_SERIES, trust_domain=domain),
    )


class NodeBooks(TestCase):
    """Tests on a real database; a worker named ant can run everything."""

    books: Books

    async def setUp(self) -> None:  # type: ignore[override]
        self.orders: dict[str, Order] = {}
        self.books = await fresh_books(self)
        offers = [
            Offer(isolation=isolation, architecture=architecture, series=("*",))
            for isolation in ("native", "chroot")
            for architecture in ("amd64", "arm64")
        ]
        await self.books.database.run(
            "UPDATE worker SET offers = %s::jsonb", (msgspec.json.encode(offers).decode(),)
        )

    async def submit(self, text: str, commit: str = "a" * 40, **more: Any) -> Submitted:
        """Submit a file of a commit; ``more`` as `prepared` takes it."""
        store = prepared(text, commit, **more).store
        return await self.books.database.transaction(store)

    # What becomes of them

    async def end(
        self, claim: Claim, result: Result = Result.SUCCESS, made: Mapping[str, str] = {}
    ) -> None:
        """Let an attempt that was begun end, all of its pipeline jobs alike.

        ``made`` are the texts of the files that each makes.
        """
        rows = await self.books.database.rows(
            "SELECT name, index FROM pipeline_job WHERE job = %s AND attempt = %s"
            " ORDER BY stage, place",
            (claim.job, claim.attempt),
        )
        reason = "" if result is Result.SUCCESS else "it failed"
        files = [await self._file(path, text) for path, text in made.items()]
        reports = [
            msgspec.structs.replace(
                ended(name, result=result, reason=reason, files=tuple(files)), index=index
            )
            for name, index in rows
        ]
        await self.books.report(claim, *reports, over(result, reason))

    async def _file(self, path: str, text: str) -> FileMade:
        sha256 = hashlib.sha256(text.encode())
        await self.books.database.run(
            "INSERT INTO blob (sha256, size) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (sha256.digest(), len(text)),
        )
        return FileMade(path=path, sha256=sha256.hexdigest(), size=len(text))

    async def run_one(self, result: Result = Result.SUCCESS) -> int:
        """Let the first of the line run, and end."""
        claim = await self.books.begin()
        await self.end(claim, result)
        return claim.job

    async def begin(self) -> tuple[str, Claim] | None:
        """The first of the line, as a master gives it to a worker; None: nothing waits.

        Those that turn out not to have to run end, and are passed over. What a worker is
        told stands in `orders`.
        """
        # What meets a full group stands aside first: then there may be another.
        while claims := await self.books.claim() or await self.books.claim():
            [claim] = claims
            title, order = await self.books.database.transaction(
                lambda cursor, claim=claim: _ordered(cursor, claim)  # type: ignore[misc]
            )
            if isinstance(order, Order):
                self.orders[title] = order
                return title, claim
        return None

    async def run_all(
        self, made: Mapping[str, Mapping[str, str]] = {}, /, **results: Result
    ) -> list[str]:
        """Let everything run that can; the names of what ran, with their cells.

        By identifier: what fails, else it passes, and the files that it makes.
        """
        ran = []
        while begun := await self.begin():
            title, claim = begun
            ran.append(title)
            job = title.partition(" ")[0].rpartition("/")[2]
            result = results.get(job.replace("-", "_"), Result.SUCCESS)
            await self.end(claim, result, made.get(job, {}))
        return ran

    # What people ask for

    async def retry(self, job: int) -> None:
        await self.books.database.transaction(
            lambda cursor: intervention.retry_job(cursor, job, "ann")
        )

    async def cancel(self, job: int) -> None:
        await self.books.database.transaction(
            lambda cursor: intervention.cancel_job(cursor, job, "ann", "")
        )

    async def release(self, job: int) -> None:
        await self.books.database.transaction(
            lambda cursor: intervention.release_job(cursor, job, "ann")
        )

    async def rerun(self, run: int, **asked: Any) -> Rerun:
        return await self.books.database.transaction(
            lambda cursor: rerun(cursor, run, RerunRequest(**asked), "ann")
        )

    # How it stands

    async def results(self) -> dict[str, str]:
        """Of every job the result, or else its state; without the architecture."""
        found = await self.cells()
        return {name.split(" arch")[0]: result for name, result in found.items()}

    async def cells(self, run: int | None = None) -> dict[str, str]:
        """The same by the whole cell, of all runs or of one."""
        rows = await self.books.database.rows(
            "SELECT name || CASE cell WHEN '' THEN '' ELSE ' ' || cell END,"
            " coalesce(result::text, state::text) FROM job"
            " WHERE %(run)s::bigint IS NULL OR EXISTS"
            " (SELECT FROM run_job AS r WHERE r.job = job.id AND r.run = %(run)s)"
            " ORDER BY id",
            {"run": run},
        )
        return dict(rows)

    async def count(self, table: str) -> int:
        (count,) = await self.books.database.one(f"SELECT count(*) FROM {table}")
        return int(count)

    async def audit(self) -> None:
        """The books agree with themselves."""
        self.assertEqual(await self.books.database.rows("SELECT * FROM audit_queue()"), [])


async def _ordered(cursor: Cursor, claim: Claim) -> tuple[str, Order | Settled]:
    """What a master makes of a claim: an order, which is accepted, or an end."""
    row = await cursor.one(
        "SELECT name || CASE cell WHEN '' THEN '' ELSE ' ' || cell END FROM job"
        " WHERE id = %s",
        (claim.job,),
    )
    try:
        order = await _ORDERS.make(cursor, claim.job, claim.attempt, settling=True)
    except Settled as settled:
        end = AttemptEnd(claim.job, claim.attempt, settled.result, str(settled), "ant")
        await step(cursor, [end], delays=NO_DELAY.delays, refused_for=NO_DELAY.refusal)
        return str(row[0]), settled
    await queue.accept(cursor, "ant", claim.job, claim.attempt)
    return str(row[0]), order
