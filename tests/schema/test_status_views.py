from __future__ import annotations

from pathlib import Path

from psycopg2.errors import InsufficientPrivilege
from twisted.trial.unittest import TestCase

from buildmaster.database import Cursor
from tests.buildmaster.http.rows import Rows, connected
from tests.buildmaster.status.test_reading import full_farm

MANUAL = Path(__file__).parent.parent.parent / "docs" / "views.rst"

#: What is promised. Columns may be added here, and none may go or change.
VERSION_1 = {
    "artifact": "job attempt name index path sha256 size",
    "attempt": "job number worker result reason exit_status log_length queued_at"
    " assigned_at started_at finished_at wait_seconds run_seconds",
    "classified": "job attempt classification note link classified_by classified_at rule",
    "edge": "id up up_stage down require resolved_at",
    "event": "id transaction number at kind run job worker payload",
    "firing": "schedule at state reason workflow run result decided_at",
    "job": "id kind name cell part state result reason root_cause attempt architecture"
    " isolation series performs repository source_digest refs owner requester worker score"
    " manual_score created_at ready_at started_at finished_at superseded_by",
    "job_count": "architecture kind state result jobs",
    "node": "job job_name package covers scope reuse key reused_from reused_attempt"
    " verifies gate allow_failure",
    "pipeline_job": "job attempt name index stage place series state result reason"
    " exit_status kept_from started_at finished_at run_seconds",
    "run": "id state result name repository source_digest refs trust_domain requester owner"
    " created_at finished_at",
    "run_job": "run job required merged",
    "schedule": "name cron zone state overlap catch_up catch_up_limit owner made_by made_at"
    " next_at",
    "worker": "name state duty duty_reason master slots tags quarantined_at"
    " quarantine_reason software connected_at last_heard_at",
    "workflow": "id name class version state result reason owner requester parent"
    " generation events waits created_at changed_at finished_at deadline next_try",
    "workflow_wait": "workflow place what name since until job run child",
}


class ViewTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.run_id, self.job = await full_farm(Rows(self.database))

    async def test_the_views_are_those_that_are_promised_and_described(self) -> None:
        rows = await self.database.rows(
            """
            SELECT table_name::text,
                   string_agg(column_name::text, ' ' ORDER BY ordinal_position)
            FROM information_schema.columns WHERE table_schema = 'status_v1'
            GROUP BY table_name
            """
        )
        self.assertEqual(dict(rows), VERSION_1)
        for name in VERSION_1:
            self.assertIn(f"``status_v1.{name}``", MANUAL.read_text())

    async def test_the_role_reads_every_view_and_each_shows_something(self) -> None:
        async def as_reader(cursor: Cursor) -> None:
            await cursor.run("SET LOCAL ROLE headrace_status")
            for name in VERSION_1:
                [count] = await cursor.one(f"SELECT count(*) FROM status_v1.{name}")
                self.assertGreater(count, 0, name)

        await self.database.transaction(as_reader)

    async def test_a_wait_says_since_when_and_until_when(self) -> None:
        [row] = await self.database.rows(
            """SELECT w.state, w.waits, x.what, x.name, extract(epoch FROM x.since)::float8,
                      extract(epoch FROM x.until)::float8
               FROM status_v1.workflow AS w
               JOIN status_v1.workflow_wait AS x ON x.workflow = w.id"""
        )
        self.assertEqual(row, ("open", 1, "sleep", "nap", 0.000005, 0.000007))

    async def test_the_role_reads_nothing_else_and_writes_nowhere(self) -> None:
        for statement in (
            "SELECT * FROM public.worker_token",
            "SELECT * FROM public.api_token",
            "SELECT * FROM public.farm_secret",
            "SELECT * FROM public.log_chunk",
            "SELECT arguments FROM public.workflow",
            "SELECT starts FROM public.schedule",
            "UPDATE status_v1.worker SET name = 'x'",
            "DELETE FROM status_v1.run",
            "CREATE TABLE status_v1.mine (x int)",
            "INSERT INTO status_v1.run_job VALUES (1, 1, true, true)",
            "TRUNCATE public.job CASCADE",
        ):

            async def as_reader(cursor: Cursor, statement: str = statement) -> None:
                await cursor.run("SET LOCAL ROLE headrace_status")
                await cursor.run(statement)

            with self.assertRaises(InsufficientPrivilege, msg=statement):
                await self.database.transaction(as_reader)

    async def test_no_view_shows_a_secret(self) -> None:
        for name, columns in VERSION_1.items():
            for word in ("token", "secret", "sha256" if name != "artifact" else "token"):
                self.assertNotIn(word, columns)
