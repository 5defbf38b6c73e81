"""Faults on a real PostgreSQL: quarantine and canaries, outages and probes, limits."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from buildmaster import intervention
from buildmaster.blame import BlameRules
from buildmaster.blaming import Blaming
from buildmaster.ending import RetryPolicy
from buildmaster.store.step import AttemptEnd, Claim, end_attempts
from protocol.results import Result
from tests.buildmaster.books import Books, fresh_books
from tests.buildmaster.lines import Lines

MIRROR = "https://mirror.example/x did not answer"
POLICY = RetryPolicy(delays=(3600.0,))


class BlameCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.books: Books = await fresh_books(self)
        self.database = self.books.database
        self.lines = Lines(self.database)
        for name in ("bee", "cat", "dog"):
            await self.books.worker(name)
        self.blaming = Blaming(self.database, POLICY)

    async def end(
        self, claim: Claim, result: Result = Result.ERROR, reason: str = "", **more: Any
    ) -> None:
        why = reason or ("" if result is Result.SUCCESS else f"odd {'x' * claim.job}")
        end = AttemptEnd(claim.job, claim.attempt, result, why, claim.worker, **more)
        await end_attempts(
            self.database, [end], delays=POLICY.delays, refused_for=POLICY.refusal
        )

    async def failing(self, worker: str, reason: str = "", times: int = 1) -> list[int]:
        """So many of the next jobs fail there."""
        claims = await self.books.claim(worker, times)
        for claim in claims:
            await self.end(claim, reason=reason)
        return [claim.job for claim in claims]

    async def quarantined(self) -> list[str]:
        rows = await self.database.rows(
            "SELECT name FROM worker WHERE quarantined_at IS NOT NULL ORDER BY name"
        )
        return [name for (name,) in rows]

    async def count(self, state: str) -> int:
        (number,) = await self.database.one(
            "SELECT count(*) FROM job WHERE state = %s::job_state", (state,)
        )
        return int(number)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.database.rows(
            "SELECT payload FROM event WHERE kind = %s ORDER BY id", (kind,)
        )
        return [payload for (payload,) in rows]


class QuarantineTests(BlameCase):
    async def test_three_jobs_and_it_gets_a_canary_until_one_passes(self) -> None:
        await self.lines.jobs(20)
        await self.failing("ant", times=3)
        await self.blaming.round()
        self.assertEqual(await self.quarantined(), ["ant"])
        [told] = await self.events("worker.quarantined")
        self.assertIn("3 different jobs failed there", told["why"])
        [canary] = await self.books.claim("ant", 4)
        self.assertEqual(await self.books.claim("ant", 4), [], "one at a time")
        await self.blaming.round()
        self.assertEqual(await self.quarantined(), ["ant"])
        await self.end(canary, Result.FAILURE, "exit status 1")
        await self.blaming.round()
        self.assertEqual(
            await self.quarantined(), [], "its user's fault is none of its own"
        )
        self.assertEqual(len(await self.books.claim("ant", 4)), 4)
        self.assertEqual(len(await self.events("worker.trusted")), 1)

    async def test_a_canary_that_fails_is_followed_by_a_rest(self) -> None:
        await self.lines.jobs(20)
        await self.failing("ant", times=3)
        await self.blaming.round()
        await self.failing("ant")
        await self.blaming.round()
        self.assertEqual(await self.books.claim("ant", 4), [])
        [(duty, by)] = await self.database.rows(
            "SELECT duty::text, duty_by FROM worker WHERE name = 'ant'"
        )
        self.assertEqual((duty, by), ("paused", "the farm"))
        await self.database.run("UPDATE worker SET duty_until = farm_now()")
        await self.database.run("UPDATE fault SET at = at - interval '2 min'")
        await self.database.run(
            "UPDATE worker SET quarantined_at = quarantined_at - interval '2 min' "
            "WHERE quarantined_at IS NOT NULL"
        )
        await self.database.run("SELECT end_due()")
        await self.blaming.round()
        self.assertEqual(len(await self.books.claim("ant", 4)), 1)

    async def test_users_failures_and_passes_leave_no_trace(self) -> None:
        await self.lines.jobs(3)
        for result in (Result.SUCCESS, Result.FAILURE, Result.TIMEOUT):
            [claim] = await self.books.claim("ant", 1)
            await self.end(claim, result, "no")
        self.assertEqual(await self.database.one("SELECT count(*) FROM fault"), (0,))

    async def test_what_would_repeat_anywhere_blames_nobody(self) -> None:
        await self.lines.jobs(5)
        for claim in await self.books.claim("ant", 5):
            await self.end(claim, final=True)
        await self.blaming.round()
        self.assertEqual(await self.quarantined(), [])


class OutageTests(BlameCase):
    async def outage(self) -> list[int]:
        """Three jobs on three workers meet it."""
        met = []
        for worker in ("ant", "bee", "cat"):
            met += await self.failing(worker, MIRROR)
        await self.blaming.round()
        return met

    async def errors(self, job: int) -> int:
        (errors,) = await self.database.one("SELECT errors FROM job WHERE id = %s", (job,))
        return int(errors)

    async def test_it_parks_what_met_it_and_gives_their_retries_back(self) -> None:
        await self.lines.jobs(9)
        met = await self.outage()
        self.assertEqual(await self.count("parked"), 3)
        self.assertEqual(await self.quarantined(), [])
        self.assertEqual([await self.errors(job) for job in met], [0, 0, 0])
        [told] = await self.events("outage.began")
        self.assertEqual((told["jobs"], told["why"]), (3, MIRROR))
        [late] = await self.failing("dog", MIRROR.replace("/x", "/y"))
        await self.blaming.round()
        self.assertEqual(await self.books.state(late), ("parked", None, 2))
        [(why,)] = await self.database.rows(
            "SELECT parked_for FROM job WHERE id = %s", (late,)
        )
        self.assertIn(MIRROR, why)

    async def test_one_job_tries_and_all_follow_when_it_passes(self) -> None:
        await self.lines.jobs(3)
        met = await self.outage()
        await self.blaming.round()
        self.assertEqual(await self.books.claim("dog", 4), [], "it is too early to try")
        await self.database.run("UPDATE outage SET next_at = farm_now()")
        await self.blaming.round()
        await self.blaming.round()
        [probe] = await self.let_due_go_and_claim()
        self.assertEqual(probe.job, met[0])
        await self.end(probe, reason=MIRROR)
        await self.blaming.round()
        self.assertEqual(await self.count("parked"), 3, "it met it, too")
        (probes,) = await self.database.one("SELECT probes FROM outage")
        self.assertEqual(probes, 1)
        self.assertEqual(await self.errors(met[0]), 0)
        await self.database.run("UPDATE outage SET next_at = farm_now()")
        await self.blaming.round()
        [probe] = await self.let_due_go_and_claim("bee")  # no job goes where it just failed
        await self.end(probe, Result.SUCCESS)
        await self.blaming.round()
        self.assertEqual(await self.count("parked"), 0)
        self.assertEqual(len(await self.let_due_go_and_claim()), 2)
        self.assertEqual(await self.database.one("SELECT count(*) FROM outage"), (0,))
        await self.blaming.round()
        self.assertEqual(len(await self.events("outage.began")), 1, "it does not come back")
        self.assertEqual(len(await self.events("outage.over")), 1)

    async def let_due_go_and_claim(self, worker: str = "dog") -> list[Claim]:
        """What a worker gets once waits between attempts are over."""
        rows = await self.database.rows("SELECT job FROM delayed")
        for (job,) in rows:
            await self.books.let_time_pass(job)
        return await self.books.claim(worker, 4)

    async def test_a_job_that_it_ended_for_good_is_given_back(self) -> None:
        await self.lines.jobs(3, error_limit=1)
        met = await self.outage()
        states = [await self.books.state(job) for job in met]
        self.assertEqual(states, [("parked", None, 2)] * 3)

    async def test_a_probe_that_was_cancelled_is_replaced(self) -> None:
        await self.lines.jobs(3)
        met = await self.outage()
        await self.database.run("UPDATE outage SET next_at = farm_now()")
        await self.blaming.round()
        await self.database.run("SELECT leave_queue(%s)", (met[0],))
        await self.database.run("DELETE FROM delayed")
        await self.database.run(
            "SELECT end_unstarted(ARRAY[%s]::bigint[], 'cancelled', 'no')", (met[0],)
        )
        await self.blaming.round()
        (probe,) = await self.database.one("SELECT probe FROM outage")
        self.assertEqual(probe, met[1])

    async def test_an_outage_without_jobs_is_over(self) -> None:
        await self.lines.jobs(3)
        met = await self.outage()
        await self.database.run(
            "SELECT end_unstarted(%s::bigint[], 'cancelled', 'no')", (met,)
        )
        await self.database.run("UPDATE outage SET next_at = farm_now()")
        await self.blaming.round()
        self.assertEqual(await self.database.one("SELECT count(*) FROM outage"), (0,))

    async def test_rules_are_the_operators(self) -> None:
        self.blaming = Blaming(self.database, POLICY, BlameRules(outage_workers=4))
        await self.lines.jobs(3)
        await self.outage()
        self.assertEqual(await self.count("parked"), 0)


class LimitTests(BlameCase):
    async def ended(self, job: int) -> tuple[str, str | None, str]:
        await self.blaming.round()
        state, result, _ = await self.books.state(job)
        (reason,) = await self.database.one("SELECT reason FROM job WHERE id = %s", (job,))
        return state, result, str(reason)

    async def past(self, seconds: int) -> None:
        """Let the stored times be so much earlier."""
        for table, columns in (
            ("job", ("created_at", "ready_at", "deadline")),
            ("time_limit", ("since", "at")),
        ):
            changes = ", ".join(f"{c} = {c} - interval '{seconds} s'" for c in columns)
            await self.database.run(f"UPDATE {table} SET {changes}")

    async def test_nobody_took_it_in_time(self) -> None:
        job = await self.lines.job(queue_limit=60.0)
        self.assertEqual((await self.ended(job))[0], "ready")
        await self.past(61)
        self.assertEqual(
            await self.ended(job),
            (
                "done",
                "timeout",
                "no worker took it within the 60 seconds for which it may stand in the"
                " line",
            ),
        )
        self.assertEqual(await self.database.one("SELECT count(*) FROM ready"), (0,))

    async def test_who_has_a_worker_does_not_stand_in_the_line(self) -> None:
        job = await self.lines.job(queue_limit=60.0)
        await self.books.begin()
        await self.past(61)
        self.assertEqual((await self.ended(job))[0], "running")

    async def test_a_running_job_past_its_total_limit_loses_its_lease(self) -> None:
        job = await self.lines.job(total_limit=100.0)
        down = await self.lines.job()
        await self.lines.edge(job, down)
        await self.books.begin()
        await self.past(101)
        state, result, reason = await self.ended(job)
        self.assertEqual((state, result), ("done", "timeout"))
        self.assertIn("within 100 seconds, waiting and retries included", reason)
        self.assertEqual(await self.database.one("SELECT count(*) FROM running"), (0,))
        self.assertEqual((await self.books.state(down))[1], "unrun")

    async def test_a_deadline_ends_what_waits_or_is_parked(self) -> None:
        up, down = await self.lines.jobs(2, deadline="2999-01-01T00:00:00Z")
        await self.lines.edge(up, down)
        await self.database.run("SELECT park_jobs(ARRAY[%s]::bigint[], 'why')", (up,))
        for job in (down, up):  # the other way round it would have had no time to
            await self.database.run(
                "UPDATE job SET deadline = '2001-01-01 00:00+00' WHERE id = %s", (job,)
            )
            await self.database.run("UPDATE time_limit SET at = farm_now()")
            state, result, reason = await self.ended(job)
            self.assertEqual((state, result), ("done", "timeout"))
            self.assertIn("its deadline has passed: 2001-01-01 00:00:00 UTC", reason)

    async def test_a_retried_job_has_its_time_again(self) -> None:
        job = await self.lines.job(total_limit=100.0)
        await self.past(101)
        self.assertEqual((await self.ended(job))[1], "timeout")
        await self.database.transaction(
            lambda cursor: intervention.retry_job(cursor, job, "eve")
        )
        self.assertEqual((await self.ended(job))[0], "ready")
        await self.past(101)
        self.assertEqual((await self.ended(job))[1], "timeout")

    async def test_jobs_without_limits_are_not_watched(self) -> None:
        await self.lines.jobs(3)
        self.assertEqual(await self.database.one("SELECT count(*) FROM time_limit"), (0,))
