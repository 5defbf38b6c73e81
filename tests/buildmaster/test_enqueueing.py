"""A graph of jobs becomes rows: whole or nothing, and runs in its order."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from buildmaster.farm import LiveFarm
from buildmaster.requests import Enqueued, Refusal
from buildmaster.store import queue
from buildmaster.store.documents.jobs import job_document
from buildmaster.store.documents.runs import run_document
from buildmaster.store.step import AttemptEnd, end_attempts
from buildmaster.tidying import Tidying
from protocol.results import Result
from tests.buildmaster.books import Books, fresh_books
from tests.buildmaster.live_farm import enqueue, live_farm


class EnqueueCase(TestCase):
    books: Books
    farm: LiveFarm

    async def setUp(self) -> None:  # type: ignore[override]
        self.books = await fresh_books(self)
        await self.books.database.run("UPDATE worker SET performs = '{noop,import}'")
        self.farm = live_farm(self, self.books.database)

    async def enqueue(self, *jobs: dict[str, Any], **graph: Any) -> Enqueued:
        return await enqueue(self.farm, *jobs, **graph)

    async def finish(self, job: int, result: Result = Result.SUCCESS, **more: Any) -> str:
        """End the job's current attempt, which a worker has."""
        reason = "" if result is Result.SUCCESS else "for a test"
        (attempt,) = await self.books.database.one(
            "SELECT attempt FROM running WHERE job = %s", (job,)
        )
        end = AttemptEnd(job, attempt, result, reason, **more)
        became = await self.books.database.transaction(
            lambda cursor: end_attempts(cursor, [end], delays=(0.0,), refused_for=1.0)
        )
        return became[job, attempt]

    async def refusal(self, work: Any) -> Refusal:
        try:
            await work
        except Refusal as error:
            return error
        self.fail("it was not refused")

    async def count(self, table: str) -> int:
        (count,) = await self.books.database.one(f"SELECT count(*) FROM {table}")
        return int(count)


class EnqueueingTests(EnqueueCase):
    async def test_a_chain_runs_in_its_order_and_ends_its_run(self) -> None:
        enqueued = await self.enqueue(
            {"name": "b", "needs": ["a"]}, {"name": "a"}, name="two"
        )
        b, a = enqueued.jobs
        self.assertEqual((b.name, b.state, a.name, a.state), ("b", "waiting", "a", "ready"))
        for job in (a, b):
            [claim] = await self.books.claim(slots=4)
            self.assertEqual(claim.job, job.id)
            await self.finish(job.id)
        self.assertEqual(await self.books.run_result(enqueued.run), "success")
        text = await run_document(self.books.database, enqueued.run)
        run = json.loads(text or "")
        self.assertEqual((run["name"], run["repository"]), ("two", None))

    async def test_every_wish_of_a_job_is_kept(self) -> None:
        await self.books.database.run("INSERT INTO semaphore VALUES ('lab', 2)")
        [job] = (
            await self.enqueue(
                {
                    "performs": "import",
                    "arguments": {"url": "x", "deep": [{"a": None}]},
                    "requirements": {
                        "architecture": "amd64",
                        "tags": ["b", "a"],
                        "slots": 2,
                        "cpu": 0.25,
                        "memory": 100,
                        "worker": "ant",
                    },
                    "semaphores": ["lab"],
                    "limits": {"run": 5, "idle": 6, "queue": 7, "total": 8},
                    "deadline": "2036-01-01T00:00:00Z",
                    "not_before": "2035-01-01T00:00:00+01:00",
                    "retry": [{"exit": 75, "limit": 2}],
                    "error_limit": 7,
                    "score": 400_000,
                    "owner": "bob",
                }
            )
        ).jobs
        document = json.loads(await job_document(self.books.database, job.id) or "")
        expected = {
            "performs": "import",
            "arguments": {"url": "x", "deep": [{"a": None}]},
            "semaphores": ["lab"],
            "limits": {"run": 5, "idle": 6, "queue": 7, "total": 8},
            "deadline": "2036-01-01T00:00:00.000000Z",
            "not_before": "2034-12-31T23:00:00.000000Z",
            "retry": [{"exit": 75, "limit": 2}],
            "score": 400_000,
            "owner": "bob",
            "requester": "ann",
            "state": "waiting",
        }
        self.assertEqual({name: document[name] for name in expected}, expected)
        needs = {"architecture": "amd64", "tags": ["a", "b"], "slots": 2, "cpu": 0.25}
        self.assertEqual({k: document["requirements"][k] for k in needs}, needs)
        self.assertEqual(await self.count("delayed"), 1)

    async def test_the_order_of_a_claim_has_the_arguments(self) -> None:
        await self.enqueue({"arguments": {"n": 1}, "limits": {"run": 9}})
        [claim] = await self.books.claim()
        self.assertEqual(
            json.loads(claim.payload or ""),
            {"performs": "noop", "arguments": {"n": 1}, "run": 9, "stores": False},
        )

    async def test_turns_follow_the_order_of_the_graph(self) -> None:
        """What others wait for has the earlier turn; each owner has turns of its own."""
        enqueued = await self.enqueue(
            {"name": "z", "needs": ["m"]},
            {"name": "m", "needs": ["a"]},
            {"name": "a"},
            {"name": "other", "owner": "bob"},
        )
        turns: dict[str, int] = dict(
            await self.books.database.rows("SELECT name, virtual_start FROM job")
        )
        self.assertLess(turns["a"], turns["m"])
        self.assertLess(turns["m"], turns["z"])
        self.assertEqual(turns["other"], turns["a"])
        self.assertEqual([job.name for job in enqueued.jobs], ["z", "m", "a", "other"])

    async def test_needs_of_jobs_that_exist_wait_or_are_judged_at_once(self) -> None:
        [a] = (await self.enqueue({"name": "a"})).jobs
        later = await self.enqueue(
            {"name": "b", "needs": [a.id]}, {"name": "c", "needs": ["b"]}
        )
        self.assertEqual([job.state for job in later.jobs], ["waiting", "waiting"])
        await self.books.claim()
        await self.finish(a.id, Result.FAILURE)
        self.assertEqual(await self.books.run_result(later.run), "unrun")
        after = await self.enqueue(
            {"name": "d", "needs": [a.id]},
            {"name": "e", "needs": ["d"]},
            {"name": "f", "needs": [{"job": a.id, "require": "bad"}]},
            {"name": "g", "needs": [{"job": a.id, "require": "finished"}, "f"]},
            {"name": "h", "needs": [{"job": 987_654, "weak": True}]},
        )
        self.assertEqual(
            [(job.state, job.result) for job in after.jobs],
            [
                ("done", "unrun"),
                ("done", "unrun"),
                ("ready", None),
                ("waiting", None),
                ("ready", None),
            ],
        )
        (open_jobs,) = await self.books.database.one(
            "SELECT open_jobs FROM run WHERE id = %s", (after.run,)
        )
        self.assertEqual(open_jobs, 3)

    async def test_a_run_that_is_over_at_once_is_done(self) -> None:
        [a] = (await self.enqueue({"name": "a"})).jobs
        await self.books.claim()
        await self.finish(a.id)
        over = await self.enqueue({"needs": [{"job": a.id, "require": "bad"}]})
        self.assertEqual(over.jobs[0].result, "skipped")
        self.assertEqual(await self.books.run_result(over.run), "skipped")

    async def test_what_cannot_be_leaves_nothing_behind(self) -> None:
        for jobs in (
            [{"name": "a"}, {"name": "b", "needs": [987_654]}],
            [{"name": "a"}, {"name": "b", "semaphores": ["nobody-made-it"]}],
            [{"name": "a", "needs": ["b"]}, {"name": "b", "needs": ["a"]}],
        ):
            error = await self.refusal(self.enqueue(*jobs))
            self.assertEqual((error.status, error.code), (422, "bad_graph"))
            self.assertEqual(len(error.problems), 1)
        for table in ("run", "job", "edge", "attempt"):
            self.assertEqual(await self.count(table), 0)

    async def test_a_semaphore_that_is_nearly_named_is_suggested(self) -> None:
        await self.books.database.run("INSERT INTO semaphore VALUES ('signing-key')")
        error = await self.refusal(self.enqueue({"semaphores": ["sining-key"]}))
        self.assertIn("did you mean signing-key?", error.problems[0].message)

    async def test_a_thousand_jobs_take_no_more_statements_than_three(self) -> None:
        """The number of statements does not grow with the graph."""
        counts = []
        for size in (3, 1000):
            cursors: list[Any] = []
            jobs = [{"name": f"j{n}", "needs": ["j0"] if n else []} for n in range(size)]

            async def counted(work: Any, cursors: list[Any] = cursors) -> Any:
                async def wrapped(cursor: Any) -> Any:
                    cursors.append(_Counting(cursor))
                    return await work(cursors[-1])

                return await self.books.database.transaction(wrapped)

            farm = live_farm(self, _Transacting(counted))  # type: ignore[arg-type]
            await enqueue(farm, *jobs)
            counts.append(cursors[-1].statements)
        self.assertEqual(counts[0], counts[1])
        self.assertEqual(await self.count("edge"), 2 + 999)

    async def test_a_retry_of_a_native_job_lets_those_downstream_wait_again(self) -> None:
        enqueued = await self.enqueue(
            {"name": "a", "retry": [{"limit": 1}]}, {"name": "b", "needs": ["a"]}
        )
        a, b = (job.id for job in enqueued.jobs)
        await self.books.claim()
        self.assertEqual(await self.finish(a, Result.FAILURE), "again")
        await self.books.let_time_pass(a)
        await self.books.claim()
        self.assertEqual(await self.finish(a, Result.FAILURE, exit_status=3), "done")
        self.assertEqual(await self.books.state(b), ("done", "unrun", 1))
        self.assertEqual(await self.farm.retry_job(a, "ann", None, False), 3)
        self.assertEqual(await self.books.state(b), ("waiting", None, 2))
        await self.books.claim()
        # Somebody asked for it anew: it may fail once again.
        self.assertEqual(await self.finish(a, Result.FAILURE), "again")
        await self.books.let_time_pass(a)
        await self.books.claim()
        await self.finish(a, output={"n": 1})
        await self.books.claim()
        await self.finish(b)
        self.assertEqual(await self.books.run_result(enqueued.run), "success")
        document = json.loads(await job_document(self.books.database, a) or "")
        self.assertEqual(
            [(each["exit_status"], each["output"]) for each in document["attempts"]],
            [(None, None), (3, None), (None, None), (None, {"n": 1})],
        )

    async def test_the_same_key_under_way_is_the_same_job(self) -> None:
        first = await self.enqueue({"name": "a", "key": "k"})
        again = await self.enqueue(
            {"name": "b", "key": "k", "needs": ["c"]},
            {"name": "c"},
            {"name": "d", "needs": ["b"]},
        )
        a, b, d = first.jobs[0], again.jobs[0], again.jobs[2]
        self.assertEqual((b.id, b.merged, d.merged), (a.id, True, False))
        # Whoever cancels one run leaves the job to the other.
        await self.farm.cancel_run(first.run, "ann", "")
        self.assertEqual(await self.books.state(a.id), ("ready", None, 1))
        await self.books.claim(slots=4)
        await self.finish(a.id)
        self.assertEqual(await self.books.state(d.id), ("ready", None, 1))
        self.assertEqual(await self.books.run_result(first.run), "success")
        # It has ended: now it is another job.
        [later] = (await self.enqueue({"key": "k"})).jobs
        self.assertEqual((later.merged, later.id == a.id), (False, False))

    async def test_twenty_at_once_with_one_key_are_one_job(self) -> None:
        answers = await gatherResults(
            [
                Deferred.fromCoroutine(
                    self.enqueue(
                        {"name": "x", "key": f"{n % 2}"},
                        {"name": "y", "key": f"{(n + 1) % 2}"},
                    )
                )
                for n in range(20)
            ]
        )
        self.assertEqual(len({job.id for answer in answers for job in answer.jobs}), 2)

    async def test_a_job_that_is_being_stopped_is_not_joined(self) -> None:
        [a] = (await self.enqueue({"key": "k"})).jobs
        await self.books.claim()
        await self.farm.cancel_job(a.id, "ann", "")
        [b] = (await self.enqueue({"key": "k"})).jobs
        self.assertNotEqual(a.id, b.id)

    async def test_keys_of_jobs_that_ended_long_ago_are_forgotten(self) -> None:
        database = self.books.database
        done, under_way = (await self.enqueue({"name": "a", "key": "a"}, {"key": "b"})).jobs
        [claim] = await self.books.claim()
        self.assertEqual(claim.job, done.id)
        await self.finish(done.id)
        tidying = Tidying(database)
        await tidying.round()
        keys = "SELECT key FROM job_key ORDER BY key"
        self.assertEqual(await database.rows(keys), [("a",), ("b",)])
        await database.run("UPDATE job SET finished_at = finished_at - interval '8 days'")
        await tidying.round()
        self.assertEqual(await database.rows(keys), [("b",)])
        [again] = (await self.enqueue({"key": "b"})).jobs
        self.assertEqual(again.id, under_way.id)

    async def test_cancelling_the_run_ends_what_has_not_begun(self) -> None:
        enqueued = await self.enqueue({"name": "a"}, {"name": "b", "needs": ["a"]})
        await self.farm.cancel_run(enqueued.run, "ann", "no need")
        self.assertEqual(await self.books.run_result(enqueued.run), "cancelled")

    async def test_jobs_of_a_held_project_are_not_touched(self) -> None:
        """Native jobs are of no project."""
        await self.books.database.run(
            "INSERT INTO queue_hold (scope, name, reason, held_by) "
            "VALUES ('project', 'p', 'why', 'ann')"
        )
        enqueued = await self.enqueue({"name": "a"})
        self.assertEqual(enqueued.jobs[0].state, "ready")
        self.assertEqual(
            await self.books.database.transaction(
                lambda cursor: queue.leave_queue(cursor, enqueued.jobs[0].id)
            ),
            True,
        )


class _Transacting:
    """A database of which only transactions are asked."""

    def __init__(self, transaction: Any) -> None:
        self.transaction = transaction


class _Counting:
    """A cursor that counts what it is asked."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        self.statements += 1
        return getattr(self._cursor, name)
