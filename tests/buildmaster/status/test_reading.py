from __future__ import annotations

import json
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyClass

from buildmaster.database import Cursor, Database
from buildmaster.feed import EventFeed
from buildmaster.forecasting import Forecaster
from buildmaster.kinds.details import Details
from buildmaster.kinds.registry import Kinds
from buildmaster.status import questions as q
from buildmaster.status.interface import IStatus
from buildmaster.status.methods import METHODS
from buildmaster.status.problems import StatusProblem
from buildmaster.status.reading import Status
from buildmaster.status.told import Told
from tests.buildmaster.http.rows import COMMIT, HOSTILE, Rows, connected
from tests.postgres import fresh_database

SKIPPED: dict[str, Any] = {
    "architecture": "riscv64",
    "series": None,
    "jobs": [],
    "reason": "none",
}


async def full_farm(rows: Rows) -> tuple[int, int]:
    """One of everything that documents show; a run and one of its jobs."""
    run = await rows.run(notes=json.dumps([SKIPPED, "a note"]))
    job = await rows.job(
        run,
        name=HOSTILE,
        repository="https://example.com/hello.git",
        source_digest=COMMIT,
        state="running",
    )
    down = await rows.job(run, state="ready", ready_at="2026-01-01 12:00+00")
    await rows.attempt(job, worker="ant")
    await rows.artifact(job, "dist/hello.whl", b"wheel")
    await rows.log(job, b"a line\n")
    for statement in (
        "INSERT INTO running VALUES (%(job)s, 1, 'ant', 1)",
        "INSERT INTO attempt (job, number) VALUES (%(down)s, 1)",
        "INSERT INTO ready VALUES (1, 5, %(down)s, 1)",
        "INSERT INTO edge (up, down) VALUES (%(job)s, %(down)s)",
        "INSERT INTO semaphore (name) VALUES ('disk')",
        "INSERT INTO semaphore_hold VALUES ('disk', %(job)s)",
        """INSERT INTO queue_hold (scope, name, reason, held_by)
           VALUES ('architecture', 's390x', 'a move', 'ada')""",
        """INSERT INTO api_token (name, sha256, scopes, created_by)
           VALUES ('ci', sha256('x'), '{read}', 'ada')""",
        """INSERT INTO stay (sha256, who, way, display, expires_at)
           VALUES (sha256('x'), 'ada', 'oidc', 'Ada', '2126-01-01 12:00+00')""",
        "INSERT INTO act (act, who, job) VALUES ('job.cancel', 'token ci', %(job)s)",
        """INSERT INTO forecast_score (class, day, early, within, late)
           VALUES (1, '2026-01-01', 1, 8, 1)""",
        """INSERT INTO failure_rule (pattern, classification, made_by)
           VALUES ('x', 'flaky', 'ada')""",
        """INSERT INTO classified (job, attempt, classification, classified_by)
           VALUES (%(job)s, 1, 'flaky', 'ada')""",
        "UPDATE worker SET offers = '[]', tags = '{big}'",
        "SELECT start_workflow('w', 'Build', 1, '[\"p\"]', 'seed', 'ada', 'ada', 60)",
        "UPDATE workflow_event SET n = 0",
        """UPDATE workflow SET position = 1, waits =
           '[{"what": "sleep", "name": "nap", "since": 5, "until": 7, "seq": 0}]'""",
        """INSERT INTO workflow_command
               (workflow, generation, seq, event, kind, name, options)
           VALUES (1, 1, 0, 0, 'timer', 'nap', '{"due": 7}')""",
        """INSERT INTO schedule (name, cron, zone, starts, owner, made_by)
           VALUES ('s', '@daily', 'UTC', '{}', 'ada', 'ada')""",
        "INSERT INTO firing (schedule, at) VALUES (1, '2026-01-01 12:00+00')",
        """INSERT INTO node (job, job_name, package, covers, scope, reuse, base, inputs,
                             is_late, environment)
           VALUES (%(job)s, 'build', 'A', '{A}', 'each', 'inputs', sha256('b'),
                   sha256('i'), false, 'native/amd64/noble')""",
    ):
        await rows.database.run(statement, {"job": job, "down": down})
    await rows.until_readable(await rows.event("job.ready", job=job, run=None))
    return run, job


class StatusCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.rows = Rows(self.database)
        self.feed = EventFeed(self.database, reactor)
        self.addCleanup(self.feed.stop)
        await self.feed.start()
        self.status = Status(
            self.database,
            Details(self.database, Kinds()),
            Forecaster(self.database, reactor),
            self.feed,
        )

    def question(self, name: str, run: int, job: int) -> q.Question:
        """One that the farm of `full_farm` can answer."""
        given: dict[type[q.Question], dict[str, Any]] = {
            q.OneRun: {"run": run},
            q.OneJob: {"job": job},
            q.OneBuild: {"job": job},
            q.OneWorker: {"worker": "ant"},
            q.OneWorkflow: {"workflow": "w"},
            q.WorkflowTimeline: {"workflow": "w"},
        }
        kind = METHODS[name].question
        return kind(**given.get(kind, {}))


class DocumentTests(StatusCase):
    async def test_every_document_is_exactly_what_its_type_says(self) -> None:
        run, job = await full_farm(self.rows)
        for name, method in METHODS.items():
            told: Told[Any] = await getattr(self.status, name)(
                self.question(name, run, job)
            )
            self.assertIs(told.kind, method.document, name)
            # What the type does not know is lost by reading.
            again = msgspec.json.decode(msgspec.json.encode(told.read()))
            self.assertEqual(again, told.plain(), name)
            lists = [each for each in again.values() if isinstance(each, list)]
            self.assertTrue(not name.endswith("s") or any(lists), f"{name} shows nothing")

    async def test_the_interface_and_the_table_name_the_same_methods(self) -> None:
        verifyClass(IStatus, Status)
        self.assertEqual(set(IStatus.names()), {*METHODS, "follow"})
        for method in METHODS.values():
            self.assertRegex(method.summary, r"^[A-Z].*\.$", method.name)

    async def test_each_field_can_be_chosen_alone(self) -> None:
        await full_farm(self.rows)
        lists = (
            "jobs",
            "runs",
            "workers",
            "semaphores",
            "tokens",
            "workflows",
            "schedules",
            "stays",
            "audit",
        )
        for name in lists:
            whole = (await getattr(self.status, name)(METHODS[name].question())).plain()
            for field in whole[name][0]:
                chosen = METHODS[name].question(fields=(field,))
                page = (await getattr(self.status, name)(chosen)).plain()
                wanted = [{field: each[field]} for each in whole[name]]
                self.assertEqual(page[name], wanted)

    async def test_what_is_not_there_is_a_problem(self) -> None:
        for asked in (
            self.status.job(q.OneJob(job=7)),
            self.status.explain(q.OneJob(job=7)),
            self.status.run(q.OneRun(run=7)),
            self.status.worker(q.OneWorker(worker="nobody")),
            self.status.workflow(q.OneWorkflow(workflow="nobody")),
            self.status.workflow_history(q.WorkflowTimeline(workflow="7")),
        ):
            with self.assertRaises(StatusProblem) as caught:
                await asked
            self.assertEqual(caught.exception.status, 404)


def _stop(database: Database) -> Deferred[None]:
    return Deferred.fromCoroutine(database.stop())


class PatienceTests(StatusCase):
    async def test_a_reader_that_waits_too_long_is_told_and_holds_up_nobody(self) -> None:
        """Somebody holds the table; the reader's own time-out ends its statement."""
        dsn = await fresh_database(self)
        books = Database(dsn, reactor, size=1)
        readers = Database(dsn, reactor, size=1, statement_timeout=0.1)
        for database in (books, readers):
            await database.start()
            self.addCleanup(_stop, database)
        status = Status(
            readers, Details(readers, Kinds()), Forecaster(readers, reactor), self.feed
        )

        async def hold(cursor: Cursor) -> None:
            await cursor.run("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
            for asking in (
                status.jobs(q.Jobs()),
                status.grid(q.Grid()),
                status.graph(q.OneRun(run=1)),
                status.build(q.OneBuild(job=1)),
                status.queue(q.Queue()),
                status.timeline(q.Timeline()),
                status.history(q.History()),
                status.worker(q.OneWorker(worker="ant")),
            ):
                with self.assertRaises(StatusProblem) as caught:
                    await asking
                self.assertEqual(
                    (caught.exception.status, caught.exception.code), (503, "too_slow")
                )

        await books.transaction(hold)
        self.assertEqual((await status.jobs(q.Jobs())).read().jobs, ())


class FilterTests(StatusCase):
    async def ids(self, **asked: Any) -> list[int]:
        page = (await self.status.jobs(q.Jobs(**asked))).read()
        return [each.id for each in page.jobs]

    async def test_every_filter_of_jobs_narrows_and_all_of_them_together(self) -> None:
        run, job = await full_farm(self.rows)
        await self.rows.worker("bee")
        matching: dict[str, Any] = {
            "run": run,
            "state": ("running", "parked"),
            "kind": "build",
            "name": HOSTILE,
            "repository": "https://example.com/hello.git",
            "source_digest": COMMIT,
            "owner": "ada",
            "architecture": "amd64",
            "worker": "ant",
        }
        other: dict[str, Any] = {
            "run": run + 1,
            "state": ("done",),
            "kind": "noop",
            "name": "hello'--",
            "repository": "https://example.com/",
            "source_digest": "0" * 40,
            "owner": "eve",
            "architecture": "arm64",
            "worker": "bee",
        }
        for name in matching:
            self.assertIn(job, await self.ids(**{name: matching[name]}), name)
            self.assertNotIn(job, await self.ids(**{name: other[name]}), name)
            mixed = {**matching, name: other[name]}
            self.assertEqual(await self.ids(**mixed), [], name)
        self.assertEqual(await self.ids(**matching), [job])
        self.assertEqual(await self.ids(result=("success",)), [])

    async def test_the_other_order_is_the_same_list_backwards(self) -> None:
        jobs = [await self.rows.job() for _ in range(5)]
        self.assertEqual(await self.ids(order="id"), jobs)
        seen: list[int] = []
        after = None
        while True:
            asked = q.Jobs(order="id", limit=2, after=after)
            page = (await self.status.jobs(asked)).read()
            seen += [each.id for each in page.jobs]
            after = page.next
            if after is None:
                break
        self.assertEqual(seen, jobs)

    async def test_jobs_that_stand_aside_are_ready_too(self) -> None:
        job = await self.rows.job(state="ready")
        await self.database.run("INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,))
        await self.database.run("INSERT INTO semaphore (name) VALUES ('disk')")
        await self.database.run(
            "INSERT INTO aside VALUES (%s, 'disk', (SELECT class FROM job), 5, 1)", (job,)
        )
        self.assertEqual(await self.ids(state=("ready",)), [job])

    async def test_runs_and_workers_are_narrowed_and_turned_round(self) -> None:
        runs = [await self.rows.run(owner=owner) for owner in ("ada", "eve", "ada")]
        page = (await self.status.runs(q.Runs(owner="ada", order="id"))).read()
        self.assertEqual([each.id for each in page.runs], [runs[0], runs[2]])
        for name in ("ant", "bee", "cat"):
            await self.rows.worker(name)
        await self.database.run(
            "UPDATE worker SET duty = 'paused', duty_reason = 'x' WHERE name <> 'bee'"
        )
        asked = q.Workers(duty=("paused", "draining"), order="-name", limit=1)
        first = (await self.status.workers(asked)).read()
        self.assertEqual([each.name for each in first.workers], ["cat"])
        asked = q.Workers(duty=("paused",), order="-name", limit=1, after=first.next)
        second = (await self.status.workers(asked)).read()
        self.assertEqual([each.name for each in second.workers], ["ant"])
        self.assertIsNone(second.next)
