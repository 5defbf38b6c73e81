"""What operators do, on a real PostgreSQL with workers and jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from buildmaster import operations, upkeep
from buildmaster.database import Cursor
from buildmaster.forecasting import Forecaster
from buildmaster.matching import Needs
from buildmaster.operations import Actor, Operations
from buildmaster.patterns import parse_filter
from buildmaster.requests import Refusal
from buildmaster.store import operating, selection
from buildmaster.store import workers as worker_store
from buildmaster.store.selection import matching_jobs
from buildmaster.upkeep import Upkeep
from tests.buildmaster.books import Books, claim, fresh_books, hello
from tests.buildmaster.lines import AMD64, Lines

EVE = Actor("token eve", "192.0.2.7", "a new kernel")
LATER = "2999-01-01T00:00:00+00:00"


class OperatorCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.books: Books = await fresh_books(self)
        await self.books.worker("ant", slots=1000)
        self.database = self.books.database
        self.lines = Lines(self.database)
        self.woken = 0
        self.operations = Operations(self.database, self._wake)
        self.upkeep = Upkeep(self.database, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def refusal(self, asked: Any) -> str:
        try:
            await asked
        except Refusal as refusal:
            return refusal.code
        return "none"

    async def events(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.database.rows(
            "SELECT payload FROM event WHERE kind = %s ORDER BY id", (kind,)
        )
        return [payload for (payload,) in rows]

    async def states(self) -> list[str]:
        rows = await self.database.rows("SELECT state::text FROM job ORDER BY id")
        return [state for (state,) in rows]

    async def settle(self) -> None:
        """Let the chores run until nobody asks for another round."""
        self.woken = 1
        while self.woken:
            self.woken = 0
            await self.upkeep.round()

    async def jobs_claimed(self, worker: str = "ant", slots: int = 4) -> list[int]:
        return [claim.job for claim in await self.books.claim(worker, slots)]


class DutyTests(OperatorCase):
    async def test_a_paused_worker_gets_nothing_until_it_is_resumed(self) -> None:
        [job] = await self.lines.jobs(1)
        names = await self.operations.set_duty("ant", "paused", EVE)
        self.assertEqual(names, ["ant"])
        self.assertEqual(await self.jobs_claimed(), [])
        await self.operations.set_duty("all", "active", EVE)
        self.assertEqual(await self.jobs_claimed(), [job])
        told = await self.events("worker.duty")
        self.assertEqual(
            [(e["duty"], e["by"], e["from"], e["why"]) for e in told],
            [
                ("paused", "token eve", "192.0.2.7", "a new kernel"),
                ("active", "token eve", "192.0.2.7", "a new kernel"),
            ],
        )

    async def test_it_is_kept_when_the_worker_joins_again(self) -> None:
        await self.lines.jobs(1)
        await self.operations.set_duty("ant", "draining", EVE)

        async def join(cursor: Cursor) -> None:
            await worker_store.connect(cursor, [(hello("ant"), "s-ant")], "m")

        await self.database.transaction(join)
        self.assertEqual(await self.jobs_claimed(), [])

    async def test_selectors_mean_names_tags_and_architectures(self) -> None:
        for name in ("mill-1", "mill_2", "mill%3"):
            await self.books.worker(name)
        await self.database.run("UPDATE worker SET tags = '{gpu}' WHERE name = 'mill-1'")
        for selector, wanted in (
            ("mill*", ["mill%3", "mill-1", "mill_2"]),
            ("mill_2", ["mill_2"]),
            ("mill%*", ["mill%3"]),
            ("tag:gpu", ["mill-1"]),
            ("arch:amd64", ["ant", "mill%3", "mill-1", "mill_2"]),
            ("all", ["ant", "mill%3", "mill-1", "mill_2"]),
        ):
            found = await self.operations.set_duty(selector, "paused", EVE)
            self.assertEqual(sorted(found), wanted, selector)
        for selector in ("nobody", "arch:s390x", "' OR true --"):
            asked = self.operations.set_duty(selector, "paused", EVE)
            self.assertEqual(await self.refusal(asked), "no_such_worker")
        asked = self.operations.set_duty("tag:", "paused", EVE)
        self.assertEqual(await self.refusal(asked), "bad_pattern")

    async def test_what_is_for_a_while_ends_by_itself(self) -> None:
        await self.operations.set_duty("ant", "paused", EVE, until=LATER)
        await self.operations.hold("farm", "", EVE, until=LATER)
        await self.upkeep.round()
        self.assertEqual(len(await self.events("queue.released")), 0)
        await self.database.run(
            "UPDATE worker SET duty_until = farm_now() WHERE name = 'ant'"
        )
        await self.database.run("UPDATE queue_hold SET until = farm_now()")
        await self.upkeep.round()
        [(duty, reason)] = await self.database.rows(
            "SELECT duty::text, duty_reason FROM worker"
        )
        self.assertEqual((duty, reason), ("active", ""))
        [told] = await self.events("queue.released")
        self.assertEqual((told["scope"], told["by"]), ("farm", "the farm"))
        past = self.operations.set_duty("ant", "paused", EVE, until="2001-01-01T00:00:00Z")
        self.assertEqual(await self.refusal(past), "bad_until")

    async def test_who_is_retired_joins_no_more_once_nothing_runs(self) -> None:
        await self.lines.jobs(1)
        claim = await self.books.begin()
        await self.operations.set_duty("ant", "retired", EVE)
        self.assertEqual(await operating.retired_of(self.database, ["ant"]), {})
        await self.database.run("DELETE FROM running WHERE job = %s", (claim.job,))
        retired = await operating.retired_of(self.database, ["ant", "bee"])
        self.assertEqual(retired, {"ant": "a new kernel"})
        await self.operations.set_duty("ant", "active", EVE)
        self.assertEqual(await operating.retired_of(self.database, ["ant"]), {})

    async def test_resuming_ends_a_quarantine(self) -> None:
        await self.database.run(
            "UPDATE worker SET quarantined_at = farm_now(), quarantine_reason = 'x'"
        )
        await self.operations.set_duty("ant", "active", EVE)
        [(reason,)] = await self.database.rows("SELECT quarantine_reason FROM worker")
        self.assertEqual(reason, "")


class HoldTests(OperatorCase):
    async def test_nothing_starts_on_a_held_farm_or_architecture(self) -> None:
        for scope, name in (("farm", ""), ("architecture", "amd64")):
            await self.lines.jobs(1)
            await self.operations.hold(scope, name, EVE)  # type: ignore[arg-type]
            self.assertEqual(await self.jobs_claimed(), [])
            await self.operations.release(scope, name, EVE)  # type: ignore[arg-type]
            self.assertEqual(len(await self.jobs_claimed()), 1)
        self.assertEqual(len(await self.events("queue.held")), 2)

    async def test_a_held_project_is_parked_in_batches_and_let_go(self) -> None:
        where: dict[str, Any] = {
            "repository": "https://git.example/a",
            "source_digest": "a" * 40,
        }
        jobs = []
        for part in range(1, 31):
            jobs.append(await self.lines.job(**where, part=part))
        other = await self.lines.job()
        self.patch(upkeep, "BATCH", 7)
        await self.operations.hold("project", "https://git.example/a", EVE)
        await self.settle()
        self.assertEqual(await self.states(), ["parked"] * 30 + ["ready"])
        self.assertEqual(await self.jobs_claimed(slots=9), [other])
        late = await self.lines.job(**where, part=99)
        self.assertEqual((await self.states())[-1], "parked", "it came later")
        told = await Forecaster(self.database, reactor).explain(jobs[0])
        assert told is not None
        self.assertIn("https://git.example/a is held: a new kernel", told.summary)
        await self.operations.release("project", "https://git.example/a", EVE)
        await self.settle()
        claimed = await self.jobs_claimed(slots=99)
        self.assertEqual(sorted(claimed), sorted([*jobs, late]))
        left = await self.database.one("SELECT count(*) FROM hold_release")
        self.assertEqual(left, (0,))

    async def test_what_a_transaction_queued_that_did_not_see_the_hold_is_parked(
        self,
    ) -> None:
        where: dict[str, Any] = {
            "repository": "https://git.example/a",
            "source_digest": "a" * 40,
        }
        [job] = await self.lines.jobs(1, **where)
        await self.database.run("SELECT leave_queue(%s)", (job,))
        await self.database.run("UPDATE job SET state = 'waiting'")

        async def queue_it(cursor: Cursor) -> None:
            await cursor.run("SELECT make_ready(ARRAY[%s]::bigint[])", (job,))

        async def hold_meanwhile(cursor: Cursor) -> None:
            await operating.hold(
                cursor, "project", where["repository"], "x", "eve", "", None
            )

        async def both(cursor: Cursor) -> None:
            await queue_it(cursor)
            await self.database.transaction(hold_meanwhile)
            await self.settle()  # sees nothing of the job yet

        await self.database.transaction(both)
        self.assertEqual(await self.states(), ["ready"])
        await self.settle()
        self.assertEqual(await self.states(), ["parked"])

    async def test_what_cannot_be_held_or_is_not(self) -> None:
        for scope, name in (("farm", "x"), ("project", "")):
            asked = self.operations.hold(scope, name, EVE)  # type: ignore[arg-type]
            self.assertEqual(await self.refusal(asked), "bad_hold")
        self.assertEqual(
            await self.refusal(self.operations.release("farm", "", EVE)), "not_held"
        )


class OneJobTests(OperatorCase):
    async def test_a_moved_job_runs_on_that_worker_only(self) -> None:
        await self.books.worker("bee")
        job = await self.lines.job()
        await self.operations.move(job, "bee", EVE)
        # The dispatcher asks for classes that suit a worker; the new one suits bee only.
        claimed = await self.database.transaction(
            lambda cursor: claim(cursor, "ant", 4, classes=[1])
        )
        self.assertEqual(claimed, [])
        needs = await operating.needs_of_job(self.database, job)
        self.assertEqual(needs, replace(AMD64, worker="bee"))
        self.assertEqual(await self.jobs_claimed("bee"), [job])
        [told] = await self.events("job.moved")
        self.assertEqual((told["worker"], told["from"]), ("bee", "192.0.2.7"))
        self.assertEqual(
            await self.refusal(self.operations.move(job, "ant", EVE)), "has_begun"
        )

    async def test_a_move_that_makes_no_sense_is_refused(self) -> None:
        job = await self.lines.job(Needs("amd64", "native", memory=64))
        await self.database.run("UPDATE worker SET memory = 32")
        for number, worker, code in (
            (job, "nobody", "never"),
            (job, "ant", "never"),
            (4711, "ant", "no_such_job"),
        ):
            asked = self.operations.move(number, worker, EVE)
            self.assertEqual(await self.refusal(asked), code)

    async def test_a_job_goes_earlier_and_back(self) -> None:
        first, second, third = await self.lines.jobs(3)
        await self.operations.rescore(third, 900_000, EVE)
        await self.operations.rescore(second, 1_000_000, EVE)
        await self.operations.rescore(second, None, EVE)
        self.assertEqual(await self.jobs_claimed(slots=1), [third])
        self.assertEqual(await self.jobs_claimed(slots=1), [first])
        told = await self.events("job.rescored")
        self.assertEqual([e["score"] for e in told], [900_000, 1_000_000, None])
        self.assertEqual(
            await self.refusal(self.operations.rescore(4711, 1, EVE)), "no_such_job"
        )

    async def test_a_score_holds_for_who_stands_aside(self) -> None:
        await self.lines.semaphore("s", 1)
        first, second, third = await self.lines.jobs(3, limits=["s"])
        await self.jobs_claimed(slots=3)
        await self.operations.rescore(third, 900_000, EVE)
        await self.database.run("DELETE FROM running WHERE job = %s", (first,))
        await self.database.run("SELECT release_semaphores(ARRAY[%s]::bigint[])", (first,))
        self.assertEqual(await self.jobs_claimed(slots=1), [third])
        del second


class BulkTests(OperatorCase):
    async def all_of(
        self, act: Any, where: str, **more: Any
    ) -> tuple[int, int, dict[str, int]]:
        matched, changed, refused = 0, 0, dict[str, int]()
        after: int | None = 0
        while after is not None:
            told = await self.operations.bulk(act, where, EVE, after=after, **more)
            matched, changed = matched + told.matched, changed + told.changed
            for why, number in told.refused.items():
                refused[why] = refused.get(why, 0) + number
            after = told.next
        return matched, changed, refused

    async def test_each_field_finds_its_jobs(self) -> None:
        first = await self.lines.job(name="alpha", owner="ann")
        second = await self.lines.job(
            Needs("arm64", "native", ("noble",), ("gpu",)), name="be%ta", owner="bob"
        )
        third = await self.lines.job(
            name="gamma",
            repository="https://git.example/a,b",
            source_digest="a" * 40,
            concurrency_group="g",
        )
        await self.jobs_claimed(slots=1)
        for where, wanted in (
            ("state=ready", [second, third]),
            ("state=assigned", [first]),
            ("state!=ready", [first]),
            ("worker=ant", [first]),
            ("worker~a*", [first]),
            ("worker=", [second, third]),
            ("name~*a", [first, second, third]),
            ("name~be%*", [second]),
            ("name~_lpha", []),
            ("name!~a*", [second, third]),
            ("owner=ann|bob,arch=arm64", [second]),
            ("tag=gpu", [second]),
            ("tag!=gpu", [first, third]),
            ("series~no*", [second]),
            ('project="https://git.example/a,b"', [third]),
            ("group=g", [third]),
            (f"id>{first},id<{third}", [second]),
            ("kind=native,isolation=native,performs=", [first, second, third]),
            ("run=1", []),
            ("result=success", []),
            ("reason~*x*", []),
            ('owner="\'; DROP TABLE job; --"', []),
        ):
            told = await self.operations.bulk("cancel", where, EVE, dry_run=True)
            self.assertEqual((list(told.jobs), told.matched), (wanted, len(wanted)), where)
        self.assertEqual(await self.states(), ["assigned", "ready", "ready"])

    async def test_many_are_cancelled_whoever_has_them(self) -> None:
        self.patch(operations, "BATCH", 7)
        jobs = await self.lines.jobs(30)
        await self.lines.jobs(3, owner="bob")
        await self.lines.edge(jobs[0], jobs[29])
        claimed = await self.jobs_claimed(slots=2)
        matched, changed, refused = await self.all_of("cancel", "owner=ann,state!=done")
        # The one downstream ends with the one that it needs, whichever comes first.
        self.assertEqual((matched, changed, refused), (30, 30, {}))
        rows = await self.database.rows(
            "SELECT state::text, count(*) FROM job GROUP BY state ORDER BY state"
        )
        self.assertEqual(dict(rows), {"ready": 3, "assigned": 2, "done": 28})
        told = await self.events("job.cancelling")
        self.assertEqual(len(told), len(claimed))
        self.assertEqual({(e["by"], e["from"]) for e in told}, {("token eve", "192.0.2.7")})
        acts = await self.events("jobs.changed")
        self.assertEqual(sum(e["changed"] for e in acts), 30)
        self.assertEqual({e["where"] for e in acts}, {"owner=ann,state!=done"})
        left = await self.database.one("SELECT count(*) FROM ready")
        self.assertEqual(left, (3,))

    async def test_a_claim_never_waits_for_a_batch_nor_loses_to_it(self) -> None:
        jobs = await self.lines.jobs(10)

        async def cancel(cursor: Cursor) -> Any:
            mine = await operating.lock_line(cursor, jobs[:5])
            claimed = await self.books.claim(slots=9)
            self.assertEqual([claim.job for claim in claimed], jobs[5:], "it did not wait")
            return mine

        self.assertEqual(await self.database.transaction(cancel), jobs[:5])

        async def claim_first(cursor: Cursor) -> Any:
            await cursor.rows("SELECT FROM ready WHERE job = %s FOR UPDATE", (jobs[0],))
            return await self.operations.bulk("rescore", "state=ready", EVE, score=9)

        told = await self.database.transaction(claim_first)
        self.assertEqual((told.matched, told.changed), (5, 5))

    async def test_a_claim_that_comes_to_nothing_leaves_no_job_behind(self) -> None:
        [job] = await self.lines.jobs(1)

        async def claimed_just_now(cursor: Cursor) -> None:
            await cursor.rows("SELECT FROM ready WHERE job = %s FOR UPDATE", (job,))
            told = await self.operations.bulk("cancel", "owner=ann", EVE)
            self.assertEqual((told.matched, told.changed), (1, 1))

        await self.database.transaction(claimed_just_now)
        self.assertEqual(await self.states(), ["ready"])
        await self.database.run("SELECT settle_cancels()")
        self.assertEqual(await self.states(), ["done"])

    async def test_many_are_rescored_and_go_in_the_new_order(self) -> None:
        await self.lines.jobs(5)
        late = await self.lines.jobs(5, owner="bob")
        told = await self.all_of("rescore", "owner=bob", score=900_000)
        self.assertEqual(told, (5, 5, {}))
        self.assertEqual(await self.jobs_claimed(slots=5), late)

    async def test_many_are_retried_but_those_that_need_another(self) -> None:
        first, second, third = await self.lines.jobs(3)
        await self.lines.edge(first, second)
        await self.all_of("cancel", f"id={first}")
        await self.all_of("cancel", f"id={third}")
        matched, changed, refused = await self.all_of("retry", "state=done")
        self.assertEqual((matched, changed), (3, 2))
        self.assertEqual(sum(refused.values()), 1)
        self.assertEqual(await self.states(), ["ready", "waiting", "ready"])

    async def test_a_batch_looks_at_a_bounded_part(self) -> None:
        self.patch(selection, "LOOKED_AT", 7)
        jobs = await self.lines.jobs(20)
        conditions = parse_filter(f"id={jobs[-1]},owner=ann")
        batch = await matching_jobs(self.database, conditions, 0, 100)
        self.assertEqual((batch.jobs, batch.following), ((), jobs[6]))
        told = await self.operations.bulk("cancel", f"id={jobs[-1]}", EVE, after=jobs[13])
        self.assertEqual((told.changed, told.next), (1, None))
