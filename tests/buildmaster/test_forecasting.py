"""Explanations and forecasts of a farm on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster.explanation.telling import Explanation
from buildmaster.forecasting import Forecaster
from buildmaster.matching import Needs
from buildmaster.store import forecasts
from buildmaster.store.facts import places
from buildmaster.store.step import AttemptEnd, end_attempts
from protocol.messages import Offer
from protocol.results import Result
from tests.buildmaster.books import Books, fresh_books
from tests.buildmaster.lines import Lines


class ExplainCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.books: Books = await fresh_books(self)
        self.database = self.books.database
        self.lines = Lines(self.database)
        self.forecaster = Forecaster(self.database, reactor, seen_for=-1, played_for=-1)

    async def explain(self, job: int) -> Explanation:
        told = await self.forecaster.explain(job)
        assert told is not None
        return told

    async def kinds(self, job: int) -> list[str]:
        return [block.kind for block in (await self.explain(job)).blocked_by]

    async def end(self, job: int, result: Result = Result.SUCCESS, **more: Any) -> None:
        attempt = (await self.books.state(job))[2]
        reason = "" if result is Result.SUCCESS else "it did not work"
        await end_attempts(
            self.database,
            [AttemptEnd(job, attempt, result, reason, **more)],
            delays=[600.0],
            refused_for=900.0,
        )


class WaitingTests(ExplainCase):
    async def test_edges_lead_to_what_runs_now(self) -> None:
        first, second, third = await self.lines.jobs(3)
        await self.lines.edge(first, second)
        await self.lines.edge(second, third)
        await self.books.begin()
        told = await self.explain(third)
        [block] = told.blocked_by
        self.assertEqual((block.kind, block.jobs), ("edge", (second, first)))
        self.assertIn(f"job {second}, which is waiting", block.sentence)
        self.assertIn(f"what runs now is job {first} on ant", block.sentence)
        self.assertIsNone(told.start)
        self.assertIn("other jobs first", str(told.no_estimate))

    async def test_a_delay_tells_why_and_counts(self) -> None:
        job = await self.lines.job()
        await self.books.begin()
        await self.end(job, Result.ERROR)
        told = await self.explain(job)
        [block] = told.blocked_by
        self.assertEqual(block.kind, "delay")
        self.assertIn("it did not work", block.sentence)
        self.assertIn("1 of 3 errors", block.sentence)
        assert told.start is not None
        self.assertGreater(told.start.earliest, told.as_of)

    async def test_what_no_worker_has_is_told_before_it_is_ready(self) -> None:
        up, down = await self.lines.jobs(2, Needs("s390x", "native"))
        await self.lines.edge(up, down)
        self.assertEqual(await self.kinds(down), ["edge", "no_worker"])

    async def test_a_parked_job_tells_for_what(self) -> None:
        job = await self.lines.job()
        await self.database.run("SELECT leave_queue(%s)", (job,))
        await self.database.run(
            "UPDATE job SET state = 'parked', parked_for = 'the mirror is away'"
        )
        told = await self.explain(job)
        self.assertIn("It is parked: the mirror is away.", told.summary)
        self.assertIsNone(told.start)


class ReadyTests(ExplainCase):
    async def test_the_next_one_starts_at_once(self) -> None:
        job = await self.lines.job()
        told = await self.explain(job)
        self.assertEqual(told.blocked_by, ())
        self.assertEqual(
            told.summary,
            "It is next, and a worker has room: it starts at once. It should start now.",
        )

    async def test_those_before_it_are_counted_in_its_class_and_in_all(self) -> None:
        await self.lines.jobs(3)
        await self.lines.jobs(4, Needs("", "native"))
        await self.lines.jobs(5, Needs("s390x", "native"))
        job = (await self.lines.jobs(2))[1]
        told = await self.explain(job)
        assert told.position is not None
        self.assertEqual(told.position.of_class.before, 4)
        self.assertEqual(told.position.of_workers.before, 8)
        self.assertTrue(told.position.of_workers.exact)
        self.assertEqual(told.position.classes, 2)

    async def test_a_busy_farm_gives_an_interval_in_order(self) -> None:
        jobs = await self.lines.jobs(30)
        await self.books.claim(slots=4)
        first, last = await self.explain(jobs[4]), await self.explain(jobs[-1])
        self.assertEqual([b.kind for b in last.blocked_by], ["busy"])
        self.assertIn("Worker ant, which suits it, runs 4.", last.summary)
        self.assertIn("25 jobs stand before it.", last.summary)
        assert first.start is not None and last.start is not None
        self.assertLessEqual(last.start.earliest, last.start.likely)
        self.assertLessEqual(last.start.likely, last.start.latest)
        self.assertLess(first.start.likely, last.start.likely)

    async def test_a_full_semaphore_names_its_holders(self) -> None:
        await self.lines.semaphore("licence", 1)
        first, second, third = await self.lines.jobs(3, limits=["licence"])
        await self.books.claim(slots=3)
        told = await self.explain(third)
        [block] = told.blocked_by
        self.assertEqual((block.kind, block.jobs), ("semaphore", (first,)))
        self.assertIn("licence is full (1 of 1)", block.sentence)
        self.assertIn("1 job wait", block.sentence)
        self.assertIsNotNone(told.start)
        del second

    async def test_groups_and_owners_caps_are_called_by_their_names(self) -> None:
        for name, kind, word in (
            ("group:p/main", "group", "its group p/main"),
            ("cap:ann/amd64", "owner_cap", "ann has 1 of 1 jobs at work on amd64"),
        ):
            await self.lines.semaphore(name, 1)
            _, job = await self.lines.jobs(2, limits=[name])
            await self.books.claim(slots=2)
            [block] = (await self.explain(job)).blocked_by
            self.assertEqual(block.kind, kind)
            self.assertIn(word, block.sentence)

    async def test_holds_of_the_farm_and_of_its_architecture(self) -> None:
        job = await self.lines.job()
        for scope, name in (("farm", ""), ("architecture", "amd64"), ("architecture", "x")):
            await self.database.run(
                """
                INSERT INTO queue_hold (scope, name, reason, held_by)
                VALUES (%s, %s, 'a new kernel', 'eve')
                """,
                (scope, name),
            )
        told = await self.explain(job)
        self.assertEqual([block.kind for block in told.blocked_by], ["hold", "hold"])
        self.assertIn("Architecture amd64 is held by eve: a new kernel.", told.summary)
        self.assertEqual(told.no_estimate, "it is held")

    async def test_the_worker_that_lacks_least_is_named(self) -> None:
        await self.books.worker("bee")
        await self.database.run(
            """
            UPDATE worker SET memory = 32 * 1024, offers = %s WHERE name = 'bee'
            """,
            (
                msgspec.json.encode(
                    [Offer(isolation="native", architecture="s390x", series=("*",))]
                ).decode(),
            ),
        )
        job = await self.lines.job(Needs("s390x", "native", memory=64 * 1024))
        told = await self.explain(job)
        [block] = told.blocked_by
        self.assertEqual(
            block.sentence,
            "No worker can ever run it: it needs native on s390x, memory>=64G; the best"
            " worker, bee, has 32G of memory.",
        )
        self.assertIsNone(told.start)

    async def test_workers_off_duty_away_and_passed_over(self) -> None:
        await self.books.worker("bee")
        await self.books.worker("cat")
        job = await self.lines.job()
        await self.database.run(
            """
            UPDATE worker SET duty = 'paused', duty_reason = 'a new disk', duty_by = 'eve'
            WHERE name = 'ant'
            """
        )
        await self.database.run(
            """
            UPDATE worker SET state = 'unreachable', session = NULL, master = NULL
            WHERE name = 'bee'
            """
        )
        await self.database.run(
            """
            INSERT INTO refusal VALUES (%s, 'cat', 'the disk is full',
                                        farm_now() + interval '1 hour')
            """,
            (job,),
        )
        told = await self.explain(job)
        self.assertEqual(
            [block.kind for block in told.blocked_by], ["refused", "off_duty", "away"]
        )
        self.assertIn("is passed over (the disk is full)", told.summary)
        self.assertIn("is paused (a new disk)", told.summary)
        await self.database.run("DELETE FROM refusal")
        self.assertEqual(await self.kinds(job), [], "cat is free")
        await self.database.run("UPDATE worker SET duty = 'paused', duty_reason = 'x'")
        told = await self.explain(job)
        self.assertEqual(told.blocked_by[0].kind, "no_worker_on_duty")
        self.assertIn("no worker that suits it takes work", str(told.no_estimate))

    async def test_its_only_worker_is_named(self) -> None:
        job = await self.lines.job(Needs("amd64", "native", worker="bee"))
        self.assertIn("there is none of this name", (await self.explain(job)).summary)
        await self.books.worker("bee")
        await self.database.run(
            "UPDATE worker SET duty = 'retired', duty_reason = 'old' WHERE name = 'bee'"
        )
        told = await self.explain(job)
        self.assertIn("Worker bee, the only one it may run on, takes no work", told.summary)


class LaterTests(ExplainCase):
    async def test_a_running_job_tells_where_since_when_and_its_end(self) -> None:
        job = await self.lines.job()
        await self.books.begin()
        told = await self.explain(job)
        self.assertEqual((told.state, told.worker), ("running", "ant"))
        self.assertIn("It runs on worker ant since ", told.summary)
        assert told.end is not None
        self.assertGreater(told.end.latest, told.as_of)

    async def test_what_never_ran_names_its_root_cause(self) -> None:
        first, second, third = await self.lines.jobs(3)
        await self.lines.edge(first, second)
        await self.lines.edge(second, third)
        await self.books.begin()
        await self.end(first, Result.FAILURE)
        told = await self.explain(third)
        self.assertEqual((told.result, told.root_cause), ("unrun", first))
        self.assertIn("It never ran: it needs ", told.summary)
        self.assertIn(
            f"The root cause is job {first}, which ended as failure", told.summary
        )

    async def test_a_job_that_is_not_there_is_none(self) -> None:
        self.assertIsNone(await self.forecaster.explain(4711))


class LearningTests(ExplainCase):
    async def test_what_ended_is_learnt_once_and_asked_for_by_name(self) -> None:
        jobs = await self.lines.jobs(12)
        await self.books.worker("ant", slots=12)
        claims = await self.books.claim(slots=12)
        self.assertEqual(len(claims), 12)
        await self.database.run(
            "UPDATE running SET assigned_at = assigned_at - interval '1000 s'"
        )
        for job in jobs[:8]:
            await self.end(job)
        await self.database.transaction(forecasts.learn)
        await self.database.transaction(forecasts.learn)
        rows = await self.database.rows(
            """
            SELECT name, (SELECT sum(c) FROM unnest(counts) AS c) FROM duration_sketch
            ORDER BY name
            """
        )
        self.assertEqual([(name, int(jobs)) for name, jobs in rows], [("", 8), ("tick", 8)])
        outlook = await self.forecaster._outlook.get()
        mean = outlook.durations.of("native", "tick", 1).mean
        self.assertLess(abs(mean / 1000 - 1), 0.1)

    async def test_told_intervals_are_kept_once_and_compared_with_the_start(self) -> None:
        jobs = await self.lines.jobs(6)
        await self.books.claim(slots=4)
        for _ in range(2):
            for job in jobs:
                await self.explain(job)
        await self.forecaster.round(self.database)
        rows = await self.database.rows("SELECT job FROM forecast ORDER BY job")
        self.assertEqual([job for (job,) in rows], jobs[4:])
        for job in jobs[:4]:
            await self.end(job)
        await self.books.claim(slots=4)
        await self.database.run(
            "UPDATE running SET assigned_at = assigned_at + interval '10 days' "
            "WHERE job = %s",
            (jobs[5],),
        )
        await self.forecaster.round(self.database)
        [(early, within, late)] = await self.database.rows(
            "SELECT sum(early), sum(within), sum(late) FROM forecast_score"
        )
        self.assertEqual((early + within, late), (1, 1))
        left = await self.database.one("SELECT count(*) FROM forecast")
        self.assertEqual(left, (0,))
        page = await forecasts.score_list(self.database)
        [whole, of_class] = msgspec.json.decode(page.items)
        self.assertEqual((whole["class"], whole["forecasts"]), (None, 2))
        self.assertEqual((of_class["class"], of_class["late"]), (1, 1))

    async def test_the_sketches_of_the_database_are_those_of_the_rules(self) -> None:
        from buildmaster.durations import bucket

        values = [0.0, 1e-9, 2**-10, 0.5, 1.0, 1.19, 60.0, 3600.0, 1e6, 1e12]
        for value in values:
            (found,) = await self.database.one("SELECT duration_bucket(%s)", (value,))
            self.assertEqual(found, bucket(value), value)

    async def test_all_who_ask_at_once_share_one_picture(self) -> None:
        self.forecaster = Forecaster(self.database, reactor, seen_for=60, played_for=60)
        jobs = await self.lines.jobs(5)
        asked = [Deferred.fromCoroutine(self.forecaster.explain(job)) for job in jobs]
        asked[0].addErrback(lambda _: None)
        asked[0].cancel()
        told = await gatherResults(asked)
        self.assertEqual(len({each.as_of for each in told if each}), 1)


class DeepTests(ExplainCase):
    async def test_far_back_the_number_is_about_right_and_says_so(self) -> None:
        jobs = await self.lines.jobs(20_000)
        await self.books.claim(slots=4)
        await self.database.run("ANALYZE ready")
        await self.database.run("SELECT fold_counts()")
        told = await self.explain(jobs[15_000])
        assert told.position is not None and told.start is not None
        self.assertFalse(told.position.of_workers.exact)
        self.assertLess(abs(told.position.of_workers.before / 15_000 - 1), 0.25)
        self.assertIn("About ", told.summary)
        near = await self.explain(jobs[100])
        assert near.position is not None and near.start is not None
        self.assertEqual(
            (near.position.of_class.before, near.position.of_class.exact), (96, True)
        )
        self.assertLess(near.start.latest, told.start.earliest)

    async def test_counting_stops_and_uses_the_index(self) -> None:
        await self.lines.jobs(20_000)
        await self.database.run("ANALYZE ready")
        own, whole = await places(self.database, [1], [], 2**62, 2**62)
        self.assertEqual((own.is_exact, whole.is_exact), (False, False))
        rows = await self.database.rows(
            """
            EXPLAIN SELECT FROM ready AS r
            WHERE r.class = 1 AND (r.position, r.job) < (9::bigint, 9::bigint) LIMIT 5000
            """
        )
        plan = "\n".join(line for (line,) in rows)
        self.assertIn("ready_pkey", plan)
        self.assertNotIn("Seq Scan", plan)
