"""Kinds hear of ends after the fact, whatever they do then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from psycopg2.extensions import make_dsn
from twisted.internet import reactor
from zope.interface import implementer

from buildmaster.kinds import ends as ends_module
from buildmaster.kinds.builtin import Native
from buildmaster.kinds.details import Details
from buildmaster.kinds.ends import THREADS, TRIES, KindEnds
from buildmaster.kinds.installation import install
from buildmaster.kinds.interface import After, EndedJob, IJobKind, Statement
from buildmaster.kinds.registry import BadKind, Kinds
from buildmaster.requests import JobRequest, Requirements
from protocol.results import Result
from schema.migrate import BrokenFile, ChangedFile, NewerSchema, migrate_kind
from tests.buildmaster.live_farm import live_farm
from tests.buildmaster.test_enqueueing import EnqueueCase
from tests.postgres import server_dsn


@implementer(IJobKind)
class Counting(Native):
    """A kind that does at an end what a test says."""

    name = "counting"
    description = "counts in a test"
    performs = "noop"
    requirements = Requirements(memory=7)
    hears_ends = True

    def __init__(self, then: Callable[[EndedJob], After | None]) -> None:
        self.heard: list[EndedJob] = []
        self._then = then

    def ended(self, job: EndedJob) -> After | None:
        self.heard.append(job)
        return self._then(job)


COUNT = Statement(
    "INSERT INTO counted (what) VALUES (%(what)s) /* 100%% */", {"what": "one"}
)


class EndCase(EnqueueCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.books.database.run("CREATE TABLE counted (what text)")

    async def kind(
        self, then: Callable[[EndedJob], After | None], patience: float = 30.0
    ) -> tuple[Counting, KindEnds]:
        """A kind that is installed, and what tells it of ends."""
        kind = Counting(then)
        kinds = Kinds([kind])
        await install("", self.books.database, kinds)
        self.farm = live_farm(self, self.books.database, kinds=kinds)
        ends = KindEnds(
            self.books.database,
            kinds,
            self.farm.enqueue_within,
            reactor,
            patience=patience,
        )
        return kind, ends

    async def end_one(self, result: Result = Result.SUCCESS) -> int:
        """A job of the kind that has ended."""
        [job] = (await self.enqueue({"kind": "counting", "performs": None})).jobs
        await self.books.claim()
        await self.finish(job.id, result, output={"n": 1})
        return job.id

    async def now(self) -> None:
        """Let every next try be due."""
        await self.books.database.run("UPDATE kind_end SET next_try = '-infinity'")

    async def tell(self, ends: KindEnds) -> None:
        await ends.round()
        await ends.drain()


class EndTests(EndCase):
    async def test_a_kind_hears_once_and_what_it_says_is_written(self) -> None:
        follow_up = JobRequest(name="next", performs="noop")
        kind, ends = await self.kind(lambda job: After((COUNT,), (follow_up,)))
        job = await self.end_one()
        await self.tell(ends)
        await self.tell(ends)
        [heard] = kind.heard
        self.assertEqual(
            (heard.id, heard.result, heard.output, heard.owner),
            (job, "success", {"n": 1}, "ann"),
        )
        self.assertEqual(await self.count("counted"), 1)
        self.assertEqual(await self.count("kind_end"), 0)
        [(owner, requester)] = await self.books.database.rows(
            "SELECT owner, requester FROM job WHERE name = 'next'"
        )
        self.assertEqual((owner, requester), ("ann", "kind counting"))

    async def test_jobs_that_never_ran_are_told_of_too(self) -> None:
        kind, ends = await self.kind(lambda job: None)
        enqueued = await self.enqueue(
            {"name": "a", "kind": "counting", "performs": None},
            {"name": "b", "kind": "counting", "performs": None, "needs": ["a"]},
        )
        await self.farm.cancel_job(enqueued.jobs[0].id, "ann", "")
        await self.tell(ends)
        self.assertEqual(
            sorted((job.name, job.result) for job in kind.heard),
            [("a", "cancelled"), ("b", "unrun")],
        )

    async def test_native_jobs_leave_no_note(self) -> None:
        await self.kind(lambda job: None)
        [job] = (await self.enqueue({})).jobs
        await self.books.claim()
        await self.finish(job.id)
        self.assertEqual(await self.count("kind_end"), 0)

    async def test_a_kind_that_raises_changes_nothing_and_is_tried_again(self) -> None:
        def fail(job: EndedJob) -> After | None:
            raise RuntimeError("the plug-in's own mistake")

        kind, ends = await self.kind(fail)
        job = await self.end_one()
        self.assertEqual((await self.books.state(job))[:2], ("done", "success"))
        await self.tell(ends)
        await self.tell(ends)
        self.assertEqual(len(kind.heard), 1)
        await self.now()
        kind._then = lambda job: After((COUNT,))
        await self.tell(ends)
        self.assertEqual((len(kind.heard), await self.count("counted")), (2, 1))

    async def test_it_is_not_tried_for_ever(self) -> None:
        kind, ends = await self.kind(lambda job: 1 / 0)  # type: ignore[arg-type, return-value]
        await self.end_one()
        for _ in range(TRIES + 1):
            await self.now()
            await self.tell(ends)
        self.assertEqual(len(kind.heard), TRIES)
        [(payload,)] = await self.books.database.rows(
            "SELECT payload FROM event WHERE kind = 'job.kind-failed'"
        )
        self.assertIn("division by zero", payload["reason"])

    async def test_what_follows_is_written_whole_or_not_at_all(self) -> None:
        for wrong in (
            After((COUNT, Statement("SELECT no_such_function()"))),
            After((COUNT,), (JobRequest(name="x"),)),
            After((COUNT, Statement("SELECT pg_sleep(60)"))),
            "neither",
        ):
            self.patch(ends_module, "WRITING", 1)
            _, ends = await self.kind(lambda job, wrong=wrong: wrong)  # type: ignore[misc]
            await self.end_one()
            await self.tell(ends)
            self.assertEqual(await self.count("counted"), 0)
            await self.books.database.run("DELETE FROM kind_end")

    async def test_a_kind_that_blocks_stalls_nobody_else(self) -> None:
        """Its threads are used up, and that is all."""
        released = threading.Event()
        self.addCleanup(released.set)

        def block(job: EndedJob) -> After | None:
            released.wait(60)
            return After((COUNT,))

        kind, ends = await self.kind(block, patience=0.1)
        for _ in range(THREADS + 2):
            await self.end_one()
        await self.tell(ends)
        await self.now()
        await self.tell(ends)
        self.assertEqual(len(kind.heard), THREADS)
        [job] = (await self.enqueue({"name": "other"})).jobs
        await self.books.claim()
        self.assertEqual(await self.finish(job.id), "done")
        # What comes back too late is not written: the end is told again.
        self.assertEqual(await self.count("counted"), 0)
        self.assertEqual(await self.count("kind_end"), THREADS + 2)

    async def test_two_masters_write_what_follows_once(self) -> None:
        """The first is held up for so long that the second takes the end over."""
        released = threading.Event()
        self.addCleanup(released.set)

        def hold_up_the_first(job: EndedJob) -> After | None:
            if len(kind.heard) == 1:
                released.wait(60)
            return After((COUNT,))

        kind, ends = await self.kind(hold_up_the_first)
        await self.end_one()
        await ends.round()
        await self.now()
        other = KindEnds(
            self.books.database, ends._kinds, self.farm.enqueue_within, reactor
        )
        await self.tell(other)
        released.set()
        await ends.drain()
        self.assertEqual((len(kind.heard), await self.count("counted")), (2, 1))


class KindTests(EndCase):
    async def test_what_its_jobs_need_is_said_by_kind_and_operator(self) -> None:
        kind = Counting(lambda job: None)
        kinds = Kinds([kind], {"counting": Requirements(tags=("net",))})
        await install("", self.books.database, kinds)
        self.farm = live_farm(self, self.books.database, kinds=kinds)
        await self.enqueue({"kind": "counting", "performs": None})
        [row] = await self.books.database.rows(
            "SELECT performs, tags, memory FROM job_class"
        )
        self.assertEqual(row, ("noop", ["net"], 7))
        refusal = await self.refusal(
            self.enqueue({"kind": "counting", "performs": "import"})
        )
        self.assertIn("perform noop and nothing else", refusal.problems[0].message)

    async def test_what_a_kind_tells_of_its_jobs_harms_no_document(self) -> None:
        kind, _ = await self.kind(lambda job: None)
        job = await self.end_one()
        await self.books.database.run(
            "CREATE FUNCTION well(bigint) RETURNS json LANGUAGE sql AS"
            " $$ SELECT json_build_object('job', $1) $$;"
            "CREATE FUNCTION ill(bigint) RETURNS json LANGUAGE sql AS"
            " $$ SELECT json_build_object('x', 1 / ($1 - $1)) $$;"
            "CREATE FUNCTION slow(bigint) RETURNS json LANGUAGE sql AS"
            " $$ SELECT NULL::json FROM pg_sleep(60) $$"
        )
        details = Details(self.books.database, self.farm.kinds)
        self.assertEqual(await details.of(job), "null")
        for function, told in (
            ("well", f'{{"job" : {job}}}'),
            ("ill", "null"),
            ("slow", "null"),
        ):
            kind.document = function
            self.assertEqual(await details.of(job), told)
        self.assertEqual(len(self.flushLoggedErrors()), 2)

    def test_what_is_no_kind_is_passed_over_and_two_of_a_name_are_not(self) -> None:
        well = Counting(lambda job: None)
        ill = Counting(lambda job: None)
        ill.name = "No Kind"
        self.assertEqual(Kinds([object(), ill, well]).plugged, [well])
        self.assertRaises(BadKind, Kinds, [well, Counting(lambda job: None)])


class FileTests(EnqueueCase):
    async def _folder(self, **files: str) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name.removeprefix('f')}.sql").write_text(text)
        return folder

    async def test_files_of_a_kind_are_its_own_and_conflicts_are_sentences(self) -> None:
        dsn = await self._dsn()
        first = await self._folder(f0001_a="CREATE TABLE kind_a (x integer)")
        self.assertEqual(migrate_kind(dsn, "one", first), ["0001_a"])
        # Another kind's file number 1, but a table that is there.
        error = self.assertRaises(BrokenFile, migrate_kind, dsn, "two", first)
        self.assertIn('"kind_a" already exists', str(error))
        changed = await self._folder(f0001_a="CREATE TABLE kind_b (x integer)")
        error = self.assertRaises(ChangedFile, migrate_kind, dsn, "one", changed)
        self.assertIn("of the kind of job one", str(error))
        error = self.assertRaises(
            NewerSchema, migrate_kind, dsn, "one", await self._folder()
        )
        self.assertIn("The kind of job one has schema version 1", str(error))

    async def test_the_farm_goes_on_without_a_kind_that_conflicts(self) -> None:
        kind = Counting(lambda job: None)
        kind.sql_folder = await self._folder(f0001_a="CREATE TABLE job (x integer)")
        kinds = Kinds([kind])
        dsn = await self._dsn()
        await install(dsn, self.books.database, kinds)
        self.assertEqual(kinds.plugged, [])
        self.assertIs(kinds.rules_of("counting"), None)

    async def _dsn(self) -> str:
        (name,) = await self.books.database.one("SELECT current_database()")
        return str(make_dsn(server_dsn(self), dbname=name))
