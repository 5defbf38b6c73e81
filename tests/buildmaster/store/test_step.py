"""What a step of a master may never do, each found or feared once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from psycopg2 import connect
from twisted.trial.unittest import SynchronousTestCase

from buildmaster import ending, intervention
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store.step import AttemptEnd, HungryWorker, fold, unaccepted_claims
from protocol.results import Result
from tests.direct import POLICY, Direct, NewEdge, NewJob
from tests.postgres import fresh_dsn


class StepCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.dsn = fresh_dsn(self)
        self.books = Direct(self.dsn)
        self.addCleanup(self.books.close)
        self.books.set_clock(datetime(2026, 1, 1, tzinfo=UTC))
        self.line = self.books.job_class()

    def add(self, *jobs: NewJob, edges: tuple[NewEdge, ...] = ()) -> list[int]:
        return self.books.add_graph(self.line, jobs, edges)[1]

    def end(
        self, job: int, result: str = "success", attempt: int = 1, **more: object
    ) -> str:
        reason = "" if result == "success" else "it broke"
        end = AttemptEnd(job, attempt, Result(result), reason, **more)  # type: ignore[arg-type]
        return self.books.step([end]).ended[job, attempt]

    def state(self, job: int) -> tuple[str, str | None, int]:
        [row] = self.books.rows(
            "SELECT state::text, result::text, attempt FROM job WHERE id = %s", (job,)
        )
        return (row[0], row[1], row[2])

    def cancel(self, job: int) -> None:
        self.books.act(lambda cursor: intervention.cancel_job(cursor, job, "ann", ""))

    def retry(self, job: int) -> int:
        return self.books.act(lambda cursor: intervention.retry_job(cursor, job, "ann"))


class RoomTests(StepCase):
    def test_a_worker_never_has_more_than_it_offers_whatever_a_master_believes(
        self,
    ) -> None:
        self.books.add_worker("ant", 3)
        self.add(*[NewJob() for _ in range(6)])
        self.assertEqual(len(self.books.claim("ant", [self.line], slots=2)), 2)
        self.assertEqual(len(self.books.claim("ant", [self.line], slots=3)), 1)
        self.assertEqual(self.books.claim("ant", [self.line], slots=3), [])

    def test_a_claim_whose_reply_was_lost_is_waited_for_when_it_is_read_again(self) -> None:
        self.books.add_worker("ant", 2)
        self.add(NewJob(), NewJob())
        lost = Direct(self.dsn)
        self.addCleanup(lost.close)
        with lost.connection.cursor() as cursor:
            # The master's connection broke, and the database is still at it.
            cursor.execute(
                "SELECT claim_jobs(%s, %s)",
                (
                    '[{"name": "ant", "session": "s-ant", "bunch": 0, "slots": 2}]',
                    f'[{{"bunch": 0, "class": {self.line}, "from": 0}}]',
                ),
            )
        self.assertEqual(self.books.claim("ant", [self.line], slots=2), [])
        self.books.run("SET lock_timeout = '100ms'")
        with self.assertRaises(Exception) as caught:
            self.books.act(lambda cursor: unaccepted_claims(cursor, ["ant"]))
        self.assertIn("lock timeout", str(caught.exception))
        lost.connection.commit()
        found = self.books.act(lambda cursor: unaccepted_claims(cursor, ["ant"]))
        self.assertEqual(len(found), 2)

    def test_the_worker_that_lacks_least_is_kept_for_a_large_job(self) -> None:
        large = self.books.job_class(slots=1, memory=1000)
        small = self.books.job_class(slots=1, memory=100)
        self.books.add_worker("full", 8, memory=1000)
        self.books.add_worker("near", 2, memory=1000)
        [first] = self.books.add_graph(large, [NewJob()])[1]
        others = self.books.add_graph(small, [NewJob(virtual_start=1)] * 3)[1]
        stepped = self.books.step(
            workers=[
                HungryWorker("full", "s-full", 0, 8, memory=100),  # a long job has the rest
                HungryWorker("near", "s-near", 0, 2, memory=900),
            ],
            classes=[large, small],
        )
        self.assertEqual([(c.worker, c.job) for c in stepped.claims], [("full", others[0])])
        self.assertEqual(self.state(first)[0], "ready")

    def test_each_of_some_large_jobs_keeps_a_worker_of_its_own(self) -> None:
        large, small = self.books.job_class(slots=4), self.books.job_class(slots=1)
        workers = []
        for number in range(6):
            self.books.add_worker(f"w{number}", 4)
            self.books.add_graph(small, [NewJob()])
            self.books.claim(f"w{number}", [small], 1)
            workers.append(HungryWorker(f"w{number}", f"s-w{number}", 0, 3, peers=40))
        waiting = self.books.add_graph(large, [NewJob()] * 5)[1]
        self.books.add_graph(small, [NewJob(virtual_start=1)] * 20)
        stepped = self.books.step(workers=workers, classes=[large, small])
        got = Counter(claim.worker for claim in stepped.claims)
        self.assertEqual(sorted(got.values()), [3, 3], "four are kept: a tenth")
        self.assertEqual({self.state(job)[0] for job in waiting}, {"ready"})

    def test_the_canary_of_a_worker_in_quarantine_may_be_large(self) -> None:
        large, small = self.books.job_class(slots=3), self.books.job_class(slots=1)
        self.books.add_worker("ill", 4)
        self.books.run(
            "UPDATE worker SET quarantined_at = now(), quarantine_reason = 'ill'"
        )
        [job] = self.books.add_graph(large, [NewJob()])[1]
        self.books.add_graph(small, [NewJob(virtual_start=1)] * 3)
        self.assertEqual(self.books.claim("ill", [large, small], 4), [job])
        self.assertEqual(self.books.claim("ill", [large, small], 1), [])


class SemaphoreTests(StepCase):
    def setUp(self) -> None:
        super().setUp()
        self.books.add_worker("ant", 10)

    def claim(self, slots: int = 5) -> list[int]:
        return self.books.claim("ant", [self.line], slots)

    def test_a_place_meant_for_a_job_that_is_cancelled_goes_to_the_next(self) -> None:
        one, two, three = self.add(*[NewJob(limits=("disk",))] * 3)
        self.assertEqual(self.claim(), [one])
        self.end(one)
        self.cancel(two)
        self.assertEqual(self.claim(), [three])

    def test_a_place_that_a_job_could_not_take_goes_to_the_next(self) -> None:
        """It met another semaphore that was full."""
        holder, first, _, last = self.add(
            NewJob(limits=("b",)),
            NewJob(limits=("a",)),
            NewJob(limits=("a", "b")),
            NewJob(limits=("a",)),
        )
        self.assertEqual(self.claim(), [holder, first])
        self.end(first)
        self.assertEqual(self.claim(), [])  # both stands aside for b
        self.books.act(queue.fill_semaphores)
        self.assertEqual(self.claim(), [last])

    def test_a_semaphore_that_nobody_made_has_room_for_one(self) -> None:
        """Else its job would stand before all others for ever."""
        one, two, free = self.add(
            NewJob(limits=("new",)), NewJob(limits=("new",)), NewJob()
        )
        self.assertEqual(self.claim(), [one, free])
        self.end(one)
        self.assertEqual(self.claim(), [two])

    def test_a_semaphore_named_twice_is_taken_once(self) -> None:
        one, two = self.add(NewJob(limits=("a", "a")), NewJob(limits=("a",)))
        self.assertEqual(self.claim(), [one])
        self.end(one)
        self.assertEqual(self.claim(), [two])

    def test_more_room_is_used_and_less_room_is_kept(self) -> None:
        jobs = self.add(*[NewJob(limits=("a",))] * 5)
        self.assertEqual(self.claim(), jobs[:1])
        self.books.run("UPDATE semaphore SET capacity = 3")
        self.books.act(queue.fill_semaphores)
        self.assertEqual(self.claim(), jobs[1:3])
        self.books.run("UPDATE semaphore SET capacity = 1")
        self.end(jobs[0])
        self.books.act(queue.fill_semaphores)
        self.assertEqual(self.claim(), [])
        self.end(jobs[1])
        self.end(jobs[2])
        self.assertEqual(self.claim(), jobs[3:4])

    def test_a_job_that_is_given_back_or_tried_again_lets_go(self) -> None:
        one, two = self.add(NewJob(limits=("a",)), NewJob(limits=("a",)))
        self.assertEqual(self.claim(), [one])
        self.assertEqual(self.claim(), [])
        self.books.act(lambda cursor: queue.give_back(cursor, "ant", one, 1))
        self.assertEqual(self.claim(), [one])  # where it stood: before the other
        self.end(one, "error")
        self.assertEqual(self.claim(), [two])


class CancelTests(StepCase):
    def setUp(self) -> None:
        super().setUp()
        self.books.add_worker("ant", 10)

    def test_a_job_whose_row_was_not_free_is_ended_all_the_same(self) -> None:
        """A claim may look at more jobs than it takes, or come to nothing."""
        [job] = self.add(NewJob())
        other = connect(self.dsn)
        self.addCleanup(other.close)
        with other.cursor() as cursor:
            cursor.execute("SELECT FROM ready FOR UPDATE")
        self.cancel(job)
        self.books.act(queue.settle_cancels)
        self.assertEqual(self.state(job), ("ready", None, 1))
        other.rollback()
        self.books.act(queue.settle_cancels)
        self.assertEqual(self.state(job), ("done", "cancelled", 1))
        self.assertEqual(self.books.rows("SELECT FROM cancel_wish"), [])

    def test_a_job_that_is_given_back_was_to_stop_and_does(self) -> None:
        [job] = self.add(NewJob())
        self.books.claim("ant", [self.line])
        self.cancel(job)
        self.books.act(lambda cursor: queue.give_back(cursor, "ant", job, 1))
        self.assertEqual(self.state(job), ("done", "cancelled", 1))

    def test_a_job_that_was_to_stop_is_not_tried_again(self) -> None:
        [job] = self.add(NewJob(retry=((None, 5),)))
        self.books.claim("ant", [self.line])
        self.cancel(job)
        self.assertEqual(self.end(job, "failure"), "done")
        self.assertEqual(self.state(job), ("done", "failure", 1))


class RetryTests(StepCase):
    def setUp(self) -> None:
        super().setUp()
        self.books.add_worker("ant", 10)

    def test_who_asks_again_gives_all_tries_back(self) -> None:
        [job] = self.add(NewJob(retry=((7, 1),)))
        for attempt in (1, 2):
            self.books.pass_time(30)
            self.assertEqual(self.books.claim("ant", [self.line]), [job])
            self.end(job, "failure", attempt, exit_status=7)
        self.assertEqual(self.state(job), ("done", "failure", 2))
        self.assertEqual(self.retry(job), 3)
        self.books.claim("ant", [self.line])
        self.assertEqual(self.end(job, "failure", 3, exit_status=7), "again")

    def test_a_job_that_killed_its_workers_may_lose_as_many_when_it_is_asked_for_again(
        self,
    ) -> None:
        [job] = self.add(NewJob(error_limit=9))
        for attempt in (1, 2, 3):
            self.books.pass_time(30)
            self.books.claim("ant", [self.line])
            became = self.end(job, "error", attempt, lost=True)
        self.assertEqual(became, "done")
        self.retry(job)
        self.books.claim("ant", [self.line])
        self.assertEqual(self.end(job, "error", 4, lost=True), "again")

    def test_a_run_that_does_not_need_the_job_stays_done(self) -> None:
        """Nothing would ever end it again."""
        run, [needed, extra] = self.books.add_graph(
            self.line, [NewJob(), NewJob(required=False)]
        )
        for job in self.books.claim("ant", [self.line], 2):
            self.end(job)
        self.retry(extra)
        self.assertEqual(
            self.books.value("SELECT state::text FROM run WHERE id = %s", (run,)), "done"
        )
        self.retry(needed)
        self.assertEqual(
            self.books.value("SELECT state::text FROM run WHERE id = %s", (run,)), "sealed"
        )

    def test_many_jobs_that_are_asked_for_again_are_not_before_all_others(self) -> None:
        old = self.add(*[NewJob(virtual_start=n) for n in range(3)])
        for job in self.books.claim("ant", [self.line], 3):
            self.end(job)
        turns = self.books.act(
            lambda cursor: queue.take_turns(cursor, "bob", "", 1, class_id=self.line)
        )
        [new] = self.add(NewJob(owner="bob", virtual_start=turns.first))
        for job in old:
            self.retry(job)
        self.assertEqual(self.books.claim("ant", [self.line], 4), [old[0], new, *old[1:]])


class TurnTests(StepCase):
    """Whose turn it is."""

    def setUp(self) -> None:
        super().setUp()
        self.books.add_worker("ant", 10_000)
        self.begun: dict[tuple[int, int], int] = {}

    def submit(
        self, owner: str, jobs: int, score: int = 500_000, line: int | None = None
    ) -> list[int]:
        turns = self.books.act(
            lambda cursor: queue.take_turns(
                cursor, owner, "", jobs, class_id=line or self.line, score=score
            )
        )
        return self.add(
            *[
                NewJob(owner, line, virtual_start=turns.of(n), score=score)
                for n in range(jobs)
            ]
        )

    def begin(self, count: int, *lines: int) -> list[int]:
        """Claim so many, and tell of it as a master does each second."""
        stepped = self.books.step(
            workers=[HungryWorker("ant", "s-ant", 0, count)], classes=lines or [self.line]
        )
        begun = [(claim.class_id, claim.position) for claim in stepped.claims]
        self.books.act(lambda cursor: fold(cursor, begun))
        return [c.job for c in sorted(stepped.claims, key=lambda c: (c.position, c.job))]

    def test_one_job_after_three_thousand_of_another_is_next(self) -> None:
        self.submit("ann", 3000)
        self.begin(100)
        [one] = self.submit("bob", 1)
        self.assertIn(one, self.begin(2))

    def test_so_it_is_although_the_last_of_them_were_begun_first(self) -> None:
        """They are urgent, or somebody has made them so, or they need what is idle."""
        jobs = self.submit("ann", 3000)
        self.submit("ann", 1, score=900_000)
        spare = self.books.job_class(tags=("spare",))
        self.submit("ann", 1, line=spare)
        self.books.run(
            """
            UPDATE ready SET position = queue_position(700000, virtual_start)
            FROM job WHERE job.id = ready.job AND job.id = %s
            """,
            (jobs[-1],),
        )
        self.begin(2)
        self.begin(1, spare)
        [one] = self.submit("bob", 1)
        self.assertIn(one, self.begin(2))
        [other] = self.submit("cat", 1, line=self.books.job_class(tags=("rare",)))
        line = self.books.job_class(tags=("rare",))
        self.assertIn(other, self.begin(2, self.line, line))

    def test_a_class_in_which_nothing_moves_tells_nobody_where_the_others_are(self) -> None:
        """Its only worker is gone; whoever asks for something else is not that far back."""
        stuck = self.books.job_class(tags=("gone",))
        self.submit("ann", 2, line=stuck)
        self.begin(1, stuck)
        ann = self.submit("ann", 200)
        self.begin(100)
        self.books.set_clock(datetime(2026, 1, 1, 1, tzinfo=UTC))
        self.begin(1)
        turns = self.books.act(lambda cursor: queue.take_turns(cursor, "bob", "", 50))
        bob = self.add(*[NewJob("bob", virtual_start=turns.of(n)) for n in range(50)])
        got = self.begin(40)
        self.assertIn(len(set(got) & set(bob)), range(18, 23))
        self.assertIn(len(set(got) & set(ann)), range(18, 23))

    def test_who_was_away_gets_no_more_than_the_others_from_then_on(self) -> None:
        self.submit("bob", 1)
        self.begin(1)
        ann = self.submit("ann", 200)
        self.begin(100)
        bob = self.submit("bob", 100)
        got = self.begin(100)
        self.assertIn(len(set(got) & set(bob)), range(48, 53))
        self.assertIn(len(set(got) & set(ann)), range(48, 53))

    def test_a_job_that_is_passed_over_holds_nobody_back(self) -> None:
        """Who comes would begin where it stands, before all who were there."""
        ann = self.submit("ann", 200)
        self.books.run(
            """
            INSERT INTO refusal (job, worker, reason, until)
            VALUES (%s, 'ant', 'no', '2027-01-01')
            """,
            (ann[0],),
        )
        self.begin(100)
        bob = self.submit("bob", 100)
        self.assertIn(len(set(self.begin(50)) & set(bob)), range(23, 28))

    def test_older_runs_of_an_owner_come_first(self) -> None:
        older = self.submit("ann", 5)
        newer = self.submit("ann", 5)
        self.assertEqual(self.begin(10), [*older, *newer])

    def test_a_heavier_owner_gets_more(self) -> None:
        self.books.run("INSERT INTO owner (name, weight) VALUES ('ann', 3)")
        ann, bob = self.submit("ann", 100), self.submit("bob", 100)
        got = self.begin(40)
        self.assertIn(len(set(got) & set(ann)), range(28, 33))
        self.assertIn(len(set(got) & set(bob)), range(8, 13))

    def test_what_two_masters_have_begun_both_counts(self) -> None:
        other = Direct(self.dsn)
        self.addCleanup(other.close)
        self.submit("ann", 10)
        with other.connection.cursor() as cursor:
            cursor.execute("SELECT fold_usage(%s, %s)", ([self.line], [2000]))
        self.books.run("SET lock_timeout = '100ms'")
        with self.assertRaises(Exception) as caught:
            self.books.act(lambda cursor: fold(cursor, [(self.line, 1000)]))
        self.assertIn("lock timeout", str(caught.exception))


class StaleTests(StepCase):
    def test_what_is_told_late_or_twice_or_by_others_changes_nothing(self) -> None:
        self.books.add_worker("ant", 10)
        [job] = self.add(NewJob())
        self.books.claim("ant", [self.line])
        self.assertEqual(self.end(job, worker="bee"), "stale")
        self.assertEqual(self.end(job, attempt=2), "stale")
        ends = [AttemptEnd(job, 1, Result.SUCCESS, worker="ant")] * 2
        self.assertEqual(self.books.step(ends).ended, {(job, 1): "done"})
        self.assertEqual(self.end(job, "failure"), "stale")
        self.assertEqual(self.state(job), ("done", "success", 1))
        [(events,)] = self.books.rows("SELECT count(*) FROM event WHERE kind = 'job.done'")
        self.assertEqual(events, 1)

    def test_a_worker_that_refuses_what_was_to_stop_ends_it(self) -> None:
        self.books.add_worker("ant", 10)
        [job] = self.add(NewJob())
        self.books.claim("ant", [self.line])
        self.cancel(job)
        self.books.act(lambda cursor: ending.refused(cursor, "ant", job, 1, "no", POLICY))
        self.assertEqual(self.state(job), ("done", "cancelled", 1))

    def test_an_edge_that_is_added_after_the_end_is_resolved(self) -> None:
        self.books.add_worker("ant", 10)
        up, down, below = self.add(NewJob(), NewJob(), NewJob(), edges=(NewEdge(1, 2),))
        [_, rest] = self.books.claim("ant", [self.line], 2)
        self.end(up, "malformed")
        self.end(rest)
        self.assertEqual(self.state(below), ("ready", None, 1))
        [late] = self.add(NewJob(), edges=())
        self.books.run("DELETE FROM ready WHERE job = %s", (late,))
        self.books.run(
            "UPDATE job SET state = 'waiting', blocked_by = 1 WHERE id = %s", (late,)
        )
        self.books.run("INSERT INTO edge (up, down) VALUES (%s, %s)", (up, late))
        self.books.act(lambda cursor: job_store.settle_done(cursor, up))
        self.assertEqual(self.state(late), ("done", "unrun", 1))
        self.assertEqual(down, rest)
