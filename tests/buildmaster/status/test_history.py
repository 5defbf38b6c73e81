"""How jobs went: of all names by their end, of one name by job, and by day."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from buildmaster.status import documents as d
from buildmaster.status import questions as q
from buildmaster.status.problems import StatusProblem
from buildmaster.store.documents import history
from tests.buildmaster.http.rows import COMMIT, HOSTILE
from tests.buildmaster.status.test_reading import StatusCase

ELSEWHERE = "https://example.com/elsewhere.git"


class HistoryCase(StatusCase):
    async def ended(
        self,
        minutes: int = 1,
        result: str = "success",
        ran: float = 2.0,
        number: int = 1,
        job: int | None = None,
        **columns: Any,
    ) -> int:
        """A job whose attempt ended so many minutes ago, after 3 seconds in the line."""
        reason = "" if result == "success" else "x"
        if job is None:
            job = await self.rows.job(
                await self.rows.run(),
                **{
                    "state": "done",
                    "result": result,
                    "reason": reason,
                    "finished_at": "2026-01-01 12:00+00",
                    **columns,
                },
            )
        await self.rows.worker("ant")
        await self.database.run(
            """
            INSERT INTO attempt (job, number, worker, result, reason, queued_at,
                                 assigned_at, started_at, finished_at)
            SELECT %(job)s, %(number)s, 'ant', %(result)s, %(reason)s,
                   t.at - (%(ran)s + 3) * interval '1 s', t.at - %(ran)s * interval '1 s',
                   t.at - %(ran)s * interval '1 s', t.at
              FROM (SELECT farm_now() - %(minutes)s * interval '1 min' AS at) t
            """,
            {
                "job": job,
                "number": number,
                "result": result,
                "reason": reason,
                "ran": ran,
                "minutes": minutes,
            },
        )
        return job

    async def history(self, **asked: Any) -> d.History:
        return (await self.status.history(q.History(**asked))).read()

    async def jobs(self, **asked: Any) -> list[int]:
        return [entry.job for entry in (await self.history(**asked)).entries]


class HistoryTests(HistoryCase):
    async def test_what_ended_last_comes_first_with_its_durations(self) -> None:
        late = await self.ended(minutes=1, ran=4.5)
        early = await self.ended(minutes=9, result="failure", name=HOSTILE)
        await self.rows.job()  # has not ended
        page = await self.history()
        first, second = page.entries
        self.assertEqual((first.job, second.job), (late, early))
        self.assertEqual((first.waited, first.ran, first.worker), (3.0, 4.5, "ant"))
        self.assertEqual((second.name, second.result), (HOSTILE, "failure"))
        self.assertIsNotNone(first.run)
        self.assertEqual((first.architecture, first.series), ("amd64", "bookworm"))

    async def test_each_attempt_is_told_with_its_own_class(self) -> None:
        job = await self.ended(minutes=5, result="error")
        await self.ended(minutes=1, number=2, job=job)
        await self.database.run(
            """INSERT INTO classified (job, attempt, classification, classified_by)
               VALUES (%s, 1, 'flaky', 'ada')""",
            (job,),
        )
        for asked in ({}, {"name": "hello"}):
            told = [
                (e.attempt, e.result, e.classification)
                for e in (await self.history(**asked)).entries
            ]
            self.assertEqual(told, [(2, "success", None), (1, "error", "flaky")])

    async def test_what_never_began_took_no_time(self) -> None:
        job = await self.ended()
        await self.database.run(
            "UPDATE attempt SET worker = NULL, assigned_at = NULL, started_at = NULL"
        )
        page = await self.history()
        [entry] = page.entries
        self.assertEqual((entry.job, entry.waited, entry.ran), (job, None, None))
        self.assertEqual((page.trend[0].p50, page.trend[0].jobs), (None, 1))

    async def test_every_filter_narrows_and_all_of_them_together(self) -> None:
        columns: dict[str, Any] = {
            "name": HOSTILE,
            "repository": ELSEWHERE,
            "source_digest": COMMIT,
            "owner": "eve",
        }
        job = await self.ended(**columns)
        other = await self.ended(minutes=2)
        matching = {
            "name": HOSTILE,
            "repository": ELSEWHERE,
            "owner": "eve",
            "architecture": "amd64",
            "series": "bookworm",
            "kind": "build",
        }
        for name, value in matching.items():
            found = await self.jobs(**{name: value})
            shared = name in ("architecture", "series", "kind")
            self.assertEqual(found, [job, other] if shared else [job], name)
            self.assertEqual(await self.jobs(**{**matching, name: "x'--"}), [], name)
        self.assertEqual(await self.jobs(**matching), [job])

    async def pages(self, **asked: Any) -> list[list[int]]:
        found, after = [], None
        while True:
            page = await self.history(after=after, **asked)
            found.append([entry.job for entry in page.entries])
            self.assertEqual(bool(page.trend), after is None)
            if (after := page.next) is None:
                return found

    async def test_pages_follow_each_other_in_both_orders(self) -> None:
        # The newest job ended first.
        jobs = [await self.ended(minutes=n + 1) for n in range(5)]
        self.assertEqual(await self.pages(limit=2), [jobs[:2], jobs[2:4], jobs[4:]])
        by_job = jobs[::-1]
        self.assertEqual(
            await self.pages(limit=2, name="hello"), [by_job[:2], by_job[2:4], by_job[4:]]
        )

    async def test_a_page_for_what_is_rare_goes_on_where_it_stopped_looking(self) -> None:
        rare = await self.ended(minutes=9, owner="eve")
        for n in range(4):
            await self.ended(minutes=n + 1)
        with patch.object(history, "LOOKED_AT", 2):
            self.assertEqual(
                [each for page in await self._all(owner="eve") for each in page], [rare]
            )
            self.assertEqual(
                [
                    each
                    for page in await self._all(owner="eve", name="hello")
                    for each in page
                ],
                [rare],
            )

    async def _all(self, **asked: Any) -> list[list[int]]:
        found, after = [], None
        while True:
            page = await self.history(after=after, **asked)
            found.append([entry.job for entry in page.entries])
            if (after := page.next) is None:
                return found

    async def test_a_place_of_another_order_is_refused(self) -> None:
        for asked in (
            {"after": "1-2"},
            {"after": "1-2-3", "name": "x"},
            {"after": f"1-2-{2**31}"},
        ):
            with self.assertRaises(StatusProblem) as caught:
                await self.history(**asked)
            self.assertEqual(caught.exception.code, "bad_parameter")

    async def test_a_trend_counts_by_day_and_knows_how_long(self) -> None:
        for ran in range(1, 21):
            await self.ended(minutes=5, ran=float(ran))
        await self.ended(minutes=5, result="failure", ran=1.0)
        await self.ended(minutes=2 * 24 * 60, result="timeout", ran=7.0)
        await self.ended(minutes=40 * 24 * 60)
        page = await self.history()
        self.assertEqual(len(page.entries), 23)
        old, *today = page.trend
        self.assertEqual((old.jobs, old.good, old.bad), (1, 0, 1))
        self.assertEqual((old.p50, old.p95), (7.0, 7.0))
        self.assertEqual(sum(day.jobs for day in today), 21)
        self.assertEqual(sum(day.good for day in today), 20)
        self.assertEqual(today[-1].p50, 10.0)

    async def test_a_trend_says_how_far_back_it_knows(self) -> None:
        for n in range(4):
            await self.ended(minutes=n + 1)
        whole = (await self.history()).trend_since
        with patch.object(history, "LOOKED_AT", 2):
            page = await self.history()
        self.assertEqual(page.trend_since, page.entries[-1].finished_at)
        assert whole is not None and page.trend_since is not None
        self.assertLess(whole, page.trend_since)


class BuildTests(HistoryCase):
    async def build(self, job: int, **asked: Any) -> d.Build:
        return (await self.status.build(q.OneBuild(job=job, **asked))).read()

    async def test_a_build_is_told_whole(self) -> None:
        job = await self.ended(result="failure")
        await self.rows.log(job, b"one\ntwo\n")
        found = await self.build(job)
        told = (await self.status.job(q.OneJob(job=job))).read()
        self.assertEqual(found.job, told)
        self.assertEqual(found.explanation.id, job)
        self.assertEqual((found.log.text, found.log.from_), ("one\ntwo\n", 0))
        self.assertEqual((found.log.length, found.log.ended), (8, True))
        self.assertEqual([day.bad for day in found.history], [1])
        self.assertEqual(found.similar, ())

    async def test_of_a_long_log_the_end_is_shown_from_a_whole_character_on(self) -> None:
        job = await self.rows.job()
        await self.rows.attempt(job)
        text = "a" * 50 + "é€😀" * 10
        data = text.encode()
        end = await self.rows.log(job, data[:30], data[30:77], data[77:])
        for tail in range(len(data) + 2):
            log = (await self.build(job, tail=tail)).log
            self.assertEqual(data[log.from_ :].decode(), log.text)
            self.assertLessEqual(len(data) - log.from_, tail)
            self.assertGreater(len(data) - log.from_, tail - 4 if tail < end else end - 1)
            self.assertEqual((log.length, log.ended), (len(data), False))

    async def test_what_is_no_text_is_shown_harmlessly(self) -> None:
        job = await self.ended()
        await self.rows.log(job, b"\xff\xfe\x1b[31m</script>\x00\x80" + b"\x80" * 20)
        log = (await self.build(job)).log
        self.assertTrue(log.text.startswith("\ufffd\ufffd\x1b[31m</script>\x00\ufffd"))
        self.assertEqual((await self.build(job, tail=3)).log.length, 38)

    async def test_the_log_of_an_earlier_attempt_can_be_asked_for(self) -> None:
        job = await self.ended(result="error", attempt=2)
        await self.ended(number=2, job=job)
        await self.rows.log(job, b"first")
        await self.rows.log(job, b"second", attempt=2)
        self.assertEqual((await self.build(job)).log.text, "second")
        log = (await self.build(job, attempt=1)).log
        self.assertEqual((log.attempt, log.text), (1, "first"))
        with self.assertRaises(StatusProblem) as caught:
            await self.build(job, attempt=3)
        self.assertEqual(caught.exception.status, 404)
        with self.assertRaises(StatusProblem) as caught:
            await self.build(job + 1)
        self.assertEqual(caught.exception.status, 404)

    async def test_similar_are_the_same_job_in_other_runs_and_no_others(self) -> None:
        here: dict[str, Any] = {
            "repository": ELSEWHERE,
            "source_digest": COMMIT,
            "cell": "arch=x",
        }
        same = [
            await self.ended(**{**here, "source_digest": f"{n}" * 40}, minutes=n)
            for n in range(1, 4)
        ]
        job = await self.ended(**here)
        others: tuple[dict[str, Any], ...] = (
            {"name": "other"},
            {"cell": "arch=y"},
            {"part": 1},
            {"repository": "https://example.com/secret.git"},
        )
        for other in others:
            await self.ended(**{**here, **other})
        found = await self.build(job)
        self.assertEqual([entry.job for entry in found.similar], same[::-1])
        self.assertEqual(sum(day.jobs for day in found.history), 4)
