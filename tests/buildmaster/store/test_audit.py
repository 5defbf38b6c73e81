"""The auditor finds each kind of damage, and nothing in sound books."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.store.audit import Difference, audit, begin_audit, note_audit
from buildmaster.store.step import AttemptEnd
from protocol.results import Result
from tests.direct import Direct, NewEdge, NewJob
from tests.postgres import fresh_dsn

#: What is done to the books, and what is found of it.
DAMAGE = {
    "UPDATE job SET blocked_by = 2 WHERE id = {blocked}": {"blocked_by"},
    "UPDATE edge SET resolved_at = farm_now(), up_attempt = 1": {"blocked_by"},
    "UPDATE edge SET resolved_at = NULL, up_attempt = NULL": {"blocked_by", "edge"},
    "DELETE FROM ready WHERE job = {ready}": {"line"},
    "DELETE FROM aside": {"line"},
    "INSERT INTO ready SELECT class, position, job, attempt FROM aside": {"line", "limits"},
    "UPDATE job SET state = 'waiting' WHERE id = {ready}": {"line", "forgotten"},
    "UPDATE ready SET position = position + 1": {"place"},
    "UPDATE ready SET limits = '{{x}}' WHERE job = {ready}": {"limits"},
    "DELETE FROM running WHERE job = {running}": {"lease", "hold"},
    "UPDATE running SET accepted_at = NULL WHERE job = {running}": {"lease"},
    "UPDATE job SET state = 'assigned' WHERE id = {running}": {"lease"},
    """
    INSERT INTO running (job, attempt, worker, class) VALUES ({ready}, 1, 'ant', {line})
    """: {"lease"},
    """
    UPDATE worker SET state = 'offline', session = NULL, master = NULL;
    UPDATE running SET assigned_at = assigned_at - '2 minutes'::interval
    """: {"worker"},
    "DELETE FROM delayed": {"delayed"},
    "UPDATE delayed SET not_before = not_before - '1 day'::interval": {"delayed"},
    """
    DELETE FROM delayed;
    UPDATE job SET not_before = NULL WHERE id = {delayed}
    """: {"forgotten"},
    "INSERT INTO delayed VALUES ({running}, '2025-01-01')": {"delayed"},
    "UPDATE attempt SET result = NULL, finished_at = NULL WHERE result = 'success'": {
        "attempt"
    },
    "UPDATE job SET attempt = attempt + 1 WHERE id = {running}": {"attempt", "lease"},
    "UPDATE run SET open_jobs = open_jobs + 1": {"open_jobs"},
    """
    UPDATE run SET state = 'done', result = 'success', finished_at = farm_now()
    """: {"run"},
    "DELETE FROM semaphore_hold": {"hold", "aside"},
    "INSERT INTO semaphore_hold VALUES ('s', {ready})": {"hold"},
    "UPDATE job SET limits = NULL WHERE id = {aside}": {"aside"},
    "UPDATE semaphore SET capacity = 2": {"aside"},
    "UPDATE job_count SET jobs = jobs + 1": {"count"},
    "UPDATE owner_count SET jobs = jobs + 1": {"owner count"},
    "DELETE FROM job_count_change": {"count", "owner count"},
    """
    INSERT INTO job_count_change VALUES ({line}, 'native', 'parked', NULL, 1, 'ada')
    """: {"count", "owner count"},
}


class AuditTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.books = books = Direct(fresh_dsn(self))
        self.addCleanup(books.close)
        books.set_clock(datetime(2026, 1, 1, tzinfo=UTC))
        self.line = books.job_class()
        books.add_worker("ant", 4)
        _, jobs = books.add_graph(
            self.line,
            [
                NewJob(),  # will pass
                NewJob(),  # will be tried again
                NewJob(limits=("s",)),  # will run
                NewJob(limits=("s",)),  # stands aside
                NewJob(),  # waits for the first and for the one that runs
                NewJob(virtual_start=9),  # stays in the line
            ],
            [NewEdge(0, 4), NewEdge(2, 4)],
        )
        passed, again, running, aside, blocked, ready = jobs
        self.jobs = {
            "running": running,
            "aside": aside,
            "blocked": blocked,
            "ready": ready,
            "delayed": again,
            "line": self.line,
        }
        books.claim("ant", [self.line], 4)
        books.run("SELECT fold_counts()")
        books.step(
            [
                AttemptEnd(passed, 1, Result.SUCCESS),
                AttemptEnd(again, 1, Result.ERROR, "broken"),
            ],
            [(running, 1, "ant")],
        )
        books.set_clock(datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC))

    def found(self) -> list[Difference]:
        return self.books.act(audit)

    def test_sound_books_are_sound(self) -> None:
        self.assertEqual(self.found(), [])

    def test_each_kind_of_damage_is_found(self) -> None:
        for damage, expected in DAMAGE.items():
            # Some is only told when it has lasted; what was due by then is due still.
            is_late = "worker" in expected or "2025" in damage or "aside" in expected
            at = "2026-01-01 00:02+00" if is_late else "2026-01-01 00:00:05+00"
            with self.books.connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL headrace.now = '{at}'")
                cursor.execute(damage.format(**self.jobs))
                cursor.execute("SELECT what FROM audit_queue()")
                what = {row[0] for row in cursor.fetchall()}
            self.books.connection.rollback()
            due = {"delayed", "forgotten"} if is_late else set()
            self.assertEqual(what - (due - expected), expected, damage)

    def test_a_difference_is_told_in_a_sentence(self) -> None:
        self.books.run(
            "UPDATE job SET blocked_by = 7 WHERE id = %s", (self.jobs["blocked"],)
        )
        [found] = self.found()
        self.assertEqual(
            str(found), f"blocked_by of job {self.jobs['blocked']} is 7, not 1"
        )

    def test_one_master_a_day_audits(self) -> None:
        self.assertTrue(self.books.act(lambda cursor: begin_audit(cursor, 86400)))
        self.assertFalse(self.books.act(lambda cursor: begin_audit(cursor, 86400)))
        self.books.act(lambda cursor: note_audit(cursor, 3))
        self.assertEqual(self.books.value("SELECT differences FROM audit"), 3)
        self.books.set_clock(datetime(2026, 1, 2, 0, 0, 6, tzinfo=UTC))
        self.assertTrue(self.books.act(lambda cursor: begin_audit(cursor, 86400)))
