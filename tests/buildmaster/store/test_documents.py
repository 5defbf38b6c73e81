from __future__ import annotations

import json
from typing import Any, get_args

from twisted.trial.unittest import TestCase

from buildmaster.status.questions import JobResult, Jobs, JobState, Runs, RunState, Workers
from buildmaster.store.documents.jobs import (
    job_document,
    job_in_short,
    job_list,
    retried_job,
)
from buildmaster.store.documents.pages import Listing
from buildmaster.store.documents.runs import (
    JOBS_IN_LIST,
    run_document,
    run_in_short,
    run_list,
)
from buildmaster.store.documents.workers import worker_document, worker_list
from tests.buildmaster.http.rows import COMMIT, HOSTILE, Rows, connected

TIME = "2026-03-04T05:06:07.089000Z"


class DocumentCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.rows = Rows(self.database)

    def ids(self, page: Listing) -> list[int]:
        return [each["id"] for each in json.loads(page.items)]

    def read(self, text: str | None) -> dict[str, Any]:
        assert text is not None
        document: dict[str, Any] = json.loads(text)
        return document


class JobTests(DocumentCase):
    async def test_a_job_tells_everything_about_its_current_attempt(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job(
            run,
            repository="https://example.com/hello.git",
            source_digest=COMMIT,
            refs=["refs/heads/main"],
            created_at="2026-03-04 07:06:07.089+02",
        )
        await self.rows.attempt(job, worker="ant")
        digest = await self.rows.artifact(job, "dist/hello.whl", b"wheel")
        document = self.read(await job_document(self.database, job))
        self.assertEqual(document["created_at"], TIME)
        self.assertEqual(document["runs"], [run])
        self.assertEqual(document["worker"], "ant")
        self.assertEqual(document["architecture"], "amd64")
        self.assertEqual(document["isolation"], "chroot")
        self.assertEqual(document["series"], "bookworm")
        self.assertEqual(document["stages"], [[["test", 0]]])
        self.assertEqual(document["stage_numbers"], [0])
        self.assertEqual(document["refs"], ["refs/heads/main"])
        [pipeline_job] = document["pipeline_jobs"]
        self.assertEqual(pipeline_job["title"], "test:0")
        self.assertEqual(pipeline_job["state"], "waiting")
        self.assertEqual(
            pipeline_job["artifacts"],
            [
                {
                    "path": "dist/hello.whl",
                    "sha256": digest,
                    "size": 5,
                    "url": f"/api/v1/artifacts/{digest}",
                }
            ],
        )
        [attempt] = document["attempts"]
        self.assertEqual((attempt["number"], attempt["worker"]), (1, "ant"))
        self.assertRegex(attempt["queued_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")

    async def test_pipeline_jobs_of_earlier_attempts_are_not_shown(self) -> None:
        job = await self.rows.job()
        await self.rows.attempt(job)
        await self.rows.end_attempt(job)
        await self.rows.attempt(job, 2)
        await self.database.run("UPDATE job SET attempt = 2 WHERE id = %s", (job,))
        await self.database.run(
            "UPDATE pipeline_job SET reason = 'old' WHERE job = %s AND attempt = 1", (job,)
        )
        document = self.read(await job_document(self.database, job))
        self.assertEqual([each["reason"] for each in document["pipeline_jobs"]], [""])
        self.assertEqual([each["number"] for each in document["attempts"]], [1, 2])

    async def test_edges_show_on_both_ends(self) -> None:
        up, down = await self.rows.job(), await self.rows.job()
        await self.database.run(
            "INSERT INTO edge (up, up_stage, down, require) VALUES (%s, 1, %s, 'finished')",
            (up, down),
        )
        need = {
            "job": up,
            "stage": 1,
            "require": "finished",
            "handed": None,
            "resolved_at": None,
        }
        document = self.read(await job_document(self.database, down))
        self.assertEqual(document["needs"], [need])
        self.assertEqual(document["wanted_by"], [])
        document = self.read(await job_document(self.database, up))
        self.assertEqual(document["wanted_by"], [{**need, "job": down}])

    async def test_hostile_text_stays_text(self) -> None:
        job = await self.rows.job(name=HOSTILE)
        self.assertEqual(self.read(await job_in_short(self.database, job))["name"], HOSTILE)

    async def test_an_unknown_job_is_none(self) -> None:
        self.assertIsNone(await job_document(self.database, 7))
        self.assertIsNone(await job_in_short(self.database, 7))
        self.assertIsNone(await retried_job(self.database, 7))

    async def test_a_retry_is_told_in_short(self) -> None:
        job = await self.rows.job()
        self.assertEqual(
            self.read(await retried_job(self.database, job)),
            {"id": job, "kind": "build", "attempt": 1, "state": "waiting", "result": None},
        )


class JobListTests(DocumentCase):
    async def test_pages_follow_each_other_without_gap_or_repetition(self) -> None:
        jobs = [await self.rows.job() for _ in range(5)]
        seen: list[int] = []
        before = None
        for _ in range(3):
            page = await job_list(self.database, Jobs(after=before, limit=2))
            seen += self.ids(page)
            before = None if page.following is None else int(page.following)
        self.assertEqual(seen, jobs[::-1])
        self.assertIsNone(before)

    async def test_a_page_that_ends_with_the_last_job_has_no_next(self) -> None:
        for _ in range(2):
            await self.rows.job()
        page = await job_list(self.database, Jobs(limit=2))
        self.assertIsNone(page.following)

    async def test_every_state_can_be_asked_for(self) -> None:
        rows = await self.database.rows("SELECT unnest(enum_range(NULL::job_state))::text")
        self.assertEqual([row[0] for row in rows], list(get_args(JobState)))
        rows = await self.database.rows("SELECT unnest(enum_range(NULL::run_state))::text")
        self.assertEqual([row[0] for row in rows], list(get_args(RunState)))
        rows = await self.database.rows("SELECT unnest(enum_range(NULL::job_result))::text")
        self.assertEqual([row[0] for row in rows], list(get_args(JobResult)))

    async def test_states_narrow_the_list(self) -> None:
        waiting = await self.rows.job()
        ready = await self.rows.job(state="ready")
        stale = await self.rows.job(state="parked")
        for job in (ready, stale):
            await self.database.run(
                "INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,)
            )
            await self.database.run("INSERT INTO ready VALUES (1, %s, %s, 1)", (job, job))
        running = await self.rows.job(state="running")
        assigned = await self.rows.job(state="assigned")
        await self.rows.worker()
        for job in (running, assigned):
            await self.database.run(
                "INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,)
            )
            await self.database.run("INSERT INTO running VALUES (%s, 1, 'ant', 1)", (job,))
        states: dict[JobState, int] = {
            "waiting": waiting,
            "ready": ready,
            "running": running,
            "assigned": assigned,
            "parked": stale,
        }
        for state, job in states.items():
            page = await job_list(self.database, Jobs(state=(state,)))
            self.assertEqual(self.ids(page), [job], state)

    async def test_a_run_narrows_the_list_and_states_do_within_it(self) -> None:
        run = await self.rows.run()
        await self.rows.job(state="parked")
        mine = await self.rows.job(run, state="parked")
        other = await self.rows.job(run)
        page = await job_list(self.database, Jobs(run=run))
        self.assertEqual(self.ids(page), [other, mine])
        page = await job_list(self.database, Jobs(run=run, state=("parked",)))
        self.assertEqual(self.ids(page), [mine])
        page = await job_list(self.database, Jobs(run=run, kind="nothing"))
        self.assertEqual(self.ids(page), [])

    async def test_the_cursor_is_the_newest_event(self) -> None:
        page = await job_list(self.database, Jobs())
        self.assertEqual(page.cursor, "0-0")
        place = await self.rows.event("job.ready")
        await self.rows.until_readable(place)
        page = await job_list(self.database, Jobs())
        self.assertEqual(page.cursor, place)


class RunTests(DocumentCase):
    async def test_a_run_in_a_list_shows_its_jobs_in_short(self) -> None:
        run = await self.rows.run(created_at="2026-03-04 05:06:07.089+00")
        job = await self.rows.job(run)
        [document] = json.loads((await run_list(self.database, Runs())).items)
        self.assertEqual(document["kind"], "run")
        self.assertIsNone(document["attempt"])
        self.assertEqual(document["created_at"], TIME)
        self.assertEqual(
            document["jobs"],
            [
                {
                    "id": job,
                    "name": "hello",
                    "state": "waiting",
                    "result": None,
                    "architecture": "amd64",
                    "series": "bookworm",
                }
            ],
        )
        self.assertEqual(self.read(await run_in_short(self.database, run)), document)

    async def test_a_large_run_shows_some_of_its_jobs_and_how_many_there_are(self) -> None:
        run = await self.rows.run()
        for _ in range(JOBS_IN_LIST + 1):
            await self.rows.job(run)
        [document] = json.loads((await run_list(self.database, Runs())).items)
        self.assertEqual(len(document["jobs"]), JOBS_IN_LIST)
        self.assertEqual(document["job_count"], JOBS_IN_LIST + 1)
        whole = self.read(await run_document(self.database, run))
        self.assertEqual(len(whole["jobs"]), JOBS_IN_LIST + 1)

    async def test_notes_and_what_was_skipped_are_told_apart(self) -> None:
        skipped: dict[str, Any] = {
            "architecture": "riscv64",
            "series": None,
            "jobs": [],
            "reason": "none",
        }
        run = await self.rows.run(notes=json.dumps([skipped, "b", "a", skipped]))
        document = self.read(await run_document(self.database, run))
        self.assertEqual(document["skipped"], [skipped, skipped])
        self.assertEqual(document["notes"], ["b", "a"])

    async def test_pages_of_runs_follow_each_other(self) -> None:
        runs = [await self.rows.run() for _ in range(3)]
        first = await run_list(self.database, Runs(limit=2))
        self.assertEqual(self.ids(first), runs[:0:-1])
        assert first.following is not None
        second = await run_list(self.database, Runs(after=int(first.following), limit=2))
        self.assertEqual(self.ids(second), runs[:1])
        self.assertIsNone(second.following)

    async def test_states_narrow_the_runs(self) -> None:
        await self.rows.run()
        sealed = await self.rows.run(state="sealed")
        page = await run_list(self.database, Runs(state=("sealed",)))
        self.assertEqual(self.ids(page), [sealed])

    async def test_an_unknown_run_is_none(self) -> None:
        self.assertIsNone(await run_document(self.database, 7))
        self.assertIsNone(await run_in_short(self.database, 7))


class WorkerTests(DocumentCase):
    async def test_a_worker_shows_what_it_runs_and_no_secret(self) -> None:
        await self.rows.worker("ant")
        await self.database.run(
            "INSERT INTO worker_token (worker, sha256) VALUES ('ant', sha256('secret'))"
        )
        job = await self.rows.job(state="running")
        await self.database.run("INSERT INTO attempt (job, number) VALUES (%s, 1)", (job,))
        await self.database.run("INSERT INTO running VALUES (%s, 1, 'ant', 1)", (job,))
        text = await worker_document(self.database, "ant")
        document = self.read(text)
        self.assertEqual(document["id"], "ant")
        self.assertEqual(document["kind"], "worker")
        self.assertTrue(document["may_join"])
        self.assertEqual(document["running"], [{"job": job, "attempt": 1}])
        self.assertNotIn("token", str(text))

    async def test_workers_come_by_name_and_page_by_page(self) -> None:
        for name in ("cat", "ant", "bee"):
            await self.rows.worker(name)
        first = await worker_list(self.database, Workers(limit=2))
        self.assertEqual([w["name"] for w in json.loads(first.items)], ["ant", "bee"])
        self.assertEqual(first.following, '"bee"')
        second = await worker_list(self.database, Workers(after="bee", limit=2))
        self.assertEqual([w["name"] for w in json.loads(second.items)], ["cat"])
        self.assertIsNone(second.following)

    async def test_an_unknown_worker_is_none(self) -> None:
        self.assertIsNone(await worker_document(self.database, "nobody"))
