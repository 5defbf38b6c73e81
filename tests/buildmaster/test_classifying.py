"""Failures that people or rules classify, on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from buildmaster.classification import Classification, FailureRule
from buildmaster.classifying import SEARCHED, Classifying, Reader
from buildmaster.requests import Refusal
from buildmaster.store import classifying as store
from tests.buildmaster.http.rows import HOSTILE, Rows, connected

REPOSITORY = "https://example.com/team/hello.git"
SOURCE = {"repository": REPOSITORY, "source_digest": "c0ffee" + "0" * 34}


class ClassifyingCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.rows = Rows(self.database)
        self.classifying = Classifying(self.database)
        self.reader = Reader(self.database)

    async def failed(self, *log: bytes, name: str = "hello", **columns: Any) -> int:
        """A job that has failed, with this log."""
        job = await self.rows.job(name=name, **columns)
        await self.rows.attempt(job, worker="ant")
        await self.rows.log(job, *log)
        await self.end(job)
        return job

    async def end(self, job: int, result: str = "failure") -> None:
        await self.database.run(
            "UPDATE attempt SET result = %s, reason = 'exit status 1',"
            " finished_at = farm_now() WHERE job = %s AND result IS NULL",
            (result, job),
        )
        await self.database.run(
            "UPDATE job SET state = 'done', result = %s, reason = 'exit status 1',"
            " finished_at = farm_now() WHERE id = %s",
            (result, job),
        )

    async def rule(self, pattern: str, days: float = 0.0, **more: Any) -> int:
        made = FailureRule(0, pattern, Classification.INFRASTRUCTURE, **more)
        return await self.classifying.add_rule(made, "ada", days)

    async def said(self) -> list[tuple[Any, ...]]:
        return await self.database.rows(
            "SELECT job, classification::text, classified_by, rule FROM classified"
            " ORDER BY job"
        )

    async def unread(self) -> int:
        (count,) = await self.database.one("SELECT count(*) FROM unread_failure")
        return int(count)

    async def refused(self, code: str, coroutine: Any) -> Refusal:
        with self.assertRaises(Refusal) as caught:
            await coroutine
        self.assertEqual(caught.exception.code, code)
        refusal: Refusal = caught.exception
        return refusal


class ByHandTests(ClassifyingCase):
    async def test_it_is_said_said_otherwise_and_taken_back(self) -> None:
        job = await self.failed()
        link = "https://bugs.example/7"
        await self.classifying.say(job, Classification.KNOWN_ISSUE, HOSTILE, link, "ada")
        await self.classifying.say(job, Classification.FLAKY, "", "", "bob")
        self.assertEqual(await self.said(), [(job, "flaky", "bob", None)])
        await self.classifying.say(job, None, "", "", "bob")
        await self.classifying.say(job, None, "", "", "bob")
        self.assertEqual(await self.said(), [])
        events = await self.database.rows(
            "SELECT payload ->> 'classification', payload ->> 'by' FROM event"
            " WHERE kind = 'job.classified' AND job = %s ORDER BY id",
            (job,),
        )
        self.assertEqual(events, [("known_issue", "ada"), ("flaky", "bob"), (None, "bob")])

    async def test_only_failures_are_failures(self) -> None:
        job = await self.rows.job()
        await self.rows.attempt(job)
        say = self.classifying.say
        await self.refused("not_failed", say(job, Classification.FLAKY, "", "", "ada"))
        await self.end(job, "success")
        await self.refused("not_failed", say(job, Classification.FLAKY, "", "", "ada"))
        await self.refused("no_such_job", say(4711, Classification.FLAKY, "", "", "ada"))
        never_tried = await self.rows.job()
        await self.end(never_tried, "timeout")
        await self.refused(
            "not_failed", say(never_tried, Classification.FLAKY, "", "", "ada")
        )

    async def test_another_attempt_is_another_failure(self) -> None:
        job = await self.failed()
        await self.classifying.say(job, Classification.FLAKY, "", "", "ada")
        await self.rows.attempt(job, 2)
        await self.database.run("UPDATE job SET attempt = 2 WHERE id = %s", (job,))
        await self.end(job)
        await self.classifying.say(job, Classification.KNOWN_ISSUE, "", "", "ada")
        rows = await self.database.rows(
            "SELECT attempt, classification::text FROM classified ORDER BY attempt"
        )
        self.assertEqual(rows, [(1, "flaky"), (2, "known_issue")])

    async def test_a_job_that_is_shown_is_shown_anew(self) -> None:
        job = await self.failed()
        version = "SELECT xmin::text FROM job WHERE id = %s"
        before = await self.database.one(version, (job,))
        await self.classifying.say(job, Classification.FLAKY, "", "", "ada")
        said = await self.database.one(version, (job,))
        await self.classifying.say(job, None, "", "", "ada")
        self.assertEqual(len({before, said, await self.database.one(version, (job,))}), 3)


class RuleTests(ClassifyingCase):
    async def test_what_fails_after_a_rule_is_found_by_it(self) -> None:
        early = await self.failed(b"No space left on device\n")
        number = await self.rule("No space left")
        hit = await self.failed(b"cc main.c\n", b"No space left", b" on device\n")
        await self.failed(b"syntax error\n")
        await self.reader.round()
        self.assertEqual(
            await self.said(), [(hit, "infrastructure", f"rule {number}", number)]
        )
        self.assertEqual(await self.unread(), 0)
        self.assertNotEqual(early, hit)

    async def test_nothing_is_noted_while_there_are_no_rules(self) -> None:
        await self.failed(b"x\n")
        self.assertEqual(await self.unread(), 0)

    async def test_passes_and_cancellations_are_not_read(self) -> None:
        await self.rule("x")
        for result in ("success", "cancelled"):
            job = await self.rows.job()
            await self.rows.attempt(job, worker="ant")
            await self.end(job, result)
        self.assertEqual(await self.unread(), 0)

    async def test_earlier_failures_are_read_but_those_that_are_settled(self) -> None:
        settled = await self.failed(b"No space left\n")
        await self.classifying.say(settled, Classification.FLAKY, "", "", "ada")
        old = await self.failed(b"No space left\n")
        await self.database.run(
            "UPDATE job SET finished_at = finished_at - interval '8 days' WHERE id = %s",
            (old,),
        )
        hit = await self.failed(b"No space left\n")
        number = await self.rule("No space left", days=7.0)
        await self.reader.round()
        self.assertEqual(
            await self.said(),
            [
                (settled, "flaky", "ada", None),
                (hit, "infrastructure", f"rule {number}", number),
            ],
        )

    async def test_reasons_are_read_like_a_last_line(self) -> None:
        number = await self.rule("^exit status 1$")
        job = await self.failed()
        await self.reader.round()
        self.assertEqual(
            (await self.said())[0][:1] + (await self.said())[0][3:], (job, number)
        )

    async def test_people_know_better_than_rules(self) -> None:
        await self.rule("No space left")
        job = await self.failed(b"No space left\n")
        await self.classifying.say(job, Classification.FLAKY, "", "", "ada")
        await self.reader.round()
        self.assertEqual(await self.said(), [(job, "flaky", "ada", None)])

    async def test_rules_of_one_project_and_of_one_job(self) -> None:
        await self.rule("x", project="https://example.com/team")
        await self.rule("x", name="lint")
        await self.failed(
            b"x\n",
            repository="https://example.com/other.git",
            source_digest=SOURCE["source_digest"],
        )
        await self.failed(b"x\n", name="hello")
        ours = await self.failed(b"x\n", **SOURCE)
        lint = await self.failed(b"x\n", name="lint")
        await self.reader.round()
        self.assertEqual([job for job, *_ in await self.said()], [ours, lint])

    async def test_the_end_of_a_long_log_is_read(self) -> None:
        await self.rule("needle")
        piece = b"hay\n" * 250_000
        pieces = [piece] * (SEARCHED // len(piece) + 2)
        early = await self.failed(b"needle\n", *pieces)
        late = await self.failed(*pieces, b"needle\n")
        await self.reader.round()
        self.assertEqual([job for job, *_ in await self.said()], [late])
        self.assertNotEqual(early, late)

    async def test_a_log_that_is_damaged_harms_nothing(self) -> None:
        await self.rule("exit status")
        job = await self.failed(b"x\n")
        await self.database.run("UPDATE log_chunk SET data = 'nonsense'")
        other = await self.failed(b"x\n")
        await self.reader.round()
        self.assertEqual([each for each, *_ in await self.said()], [job, other])

    async def test_what_a_dead_master_was_reading_is_read_by_another(self) -> None:
        await self.rule("x")
        job = await self.failed(b"x\n")
        taken = await self.database.transaction(lambda c: store.take_unread(c, 5))
        self.assertEqual([each.job for each in taken], [job])
        await self.reader.round()
        self.assertEqual(await self.said(), [], "it is being read")
        await self.database.run(
            "UPDATE unread_failure SET taken_until = taken_until - interval '121 s'"
        )
        await self.reader.round()
        self.assertEqual([each for each, *_ in await self.said()], [job])

    async def test_a_rule_that_comes_while_a_failure_is_read_is_not_missed(self) -> None:
        await self.rule("nothing like it")
        job = await self.failed(b"x\n")
        [taken] = await self.database.transaction(lambda c: store.take_unread(c, 5))
        await self.rule("x", days=1.0)
        await self.database.transaction(lambda c: store.settle(c, taken, None))
        await self.reader.round()
        self.assertEqual([each for each, *_ in await self.said()], [job])

    async def test_a_rule_that_was_wrong_can_be_forgotten(self) -> None:
        wrong = await self.rule("x")
        kept = await self.failed(b"x\n")
        await self.reader.round()
        self.assertEqual(await self.classifying.remove_rule(wrong, "ada", forget=True), 1)
        self.assertEqual(await self.said(), [])
        right = await self.rule("x", days=1.0)
        await self.reader.round()
        await self.classifying.remove_rule(right, "ada", forget=False)
        self.assertEqual(
            await self.said(), [(kept, "infrastructure", f"rule {right}", None)]
        )
        await self.refused(
            "no_such_rule", self.classifying.remove_rule(right, "ada", forget=False)
        )

    async def test_what_makes_no_rule_is_refused(self) -> None:
        told = await self.refused("bad_rule", self.rule("("))
        self.assertIn("no pattern that RE2 knows", str(told))
        await self.refused("bad_rule", self.rule("x", link="javascript:alert(1)"))

    async def test_a_pattern_can_be_tried_on_a_log(self) -> None:
        job = await self.failed(b"one\ntwo\n")
        found = await self.classifying.try_pattern("^two", job, 1)
        self.assertEqual((found.line, found.text), (2, "two"))
        found = await self.classifying.try_pattern("three", job, 1)
        self.assertIsNone(found.line)
