from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.buildmaster.http.farm_site import SiteCase

HOSTILE = b"<script>alert(1)</script>\x1b[31m\xff\xfe\x00\r\n\r\nHTTP/1.1 200 OK\r\n"


class LogCase(SiteCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.job = await self.rows.job(state="ready")
        await self.rows.attempt(self.job)
        self.address = f"/api/v1/jobs/{self.job}/log"


class LogTests(LogCase):
    async def test_the_log_comes_as_the_build_wrote_it_and_never_as_html(self) -> None:
        await self.rows.log(self.job, HOSTILE, b"more")
        response = await self.get(self.address)
        self.assertEqual(await response.content(), HOSTILE + b"more")
        self.assertEqual(response.length, len(HOSTILE) + 4)
        for name, value in (
            ("content-type", "text/plain; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
        ):
            self.assertEqual(response.headers.getRawHeaders(name), [value])
        self.assertIn(
            "sandbox", response.headers.getRawHeaders("content-security-policy")[0]
        )

    async def test_a_log_longer_than_one_reading_is_whole(self) -> None:
        pieces = [bytes([number]) * 250_000 for number in range(12)]
        await self.rows.log(self.job, *pieces)
        response = await self.get(self.address)
        self.assertEqual(await response.content(), b"".join(pieces))
        response = await self.get(self.address, Range="bytes=249999-2750000")
        self.assertEqual(await response.content(), b"".join(pieces)[249_999:2_750_001])

    async def test_ranges_of_every_kind(self) -> None:
        end = await self.rows.log(self.job, b"abc", of="test")
        end = await self.rows.log(self.job, b"--", start=end)
        await self.rows.log(self.job, b"def", start=end, of="test")
        for address, text in (
            (self.address, b"abc--def"),
            (f"{self.address}?name=test&index=0", b"abcdef"),
        ):
            for first in range(len(text)):
                for last in range(first, len(text)):
                    response = await self.get(address, Range=f"bytes={first}-{last}")
                    self.assertEqual(response.code, 206)
                    self.assertEqual(await response.content(), text[first : last + 1])
            response = await self.get(address, Range=f"bytes={len(text)}-")
            await self.assert_problem(response, 416, "no_such_range")

    async def test_an_empty_log_is_empty(self) -> None:
        response = await self.get(self.address)
        self.assertEqual((response.code, await response.content()), (200, b""))

    async def test_head_tells_the_length(self) -> None:
        await self.rows.log(self.job, b"hello")
        response = await self.ask("HEAD", self.address)
        self.assertEqual(response.headers.getRawHeaders("content-length"), ["5"])

    async def test_earlier_attempts_keep_their_logs(self) -> None:
        await self.rows.log(self.job, b"first")
        await self.rows.end_attempt(self.job)
        await self.rows.attempt(self.job, 2)
        await self.database.run("UPDATE job SET attempt = 2 WHERE id = %s", (self.job,))
        await self.rows.log(self.job, b"second", attempt=2)
        self.assertEqual(await (await self.get(self.address)).content(), b"second")
        response = await self.get(f"{self.address}?attempt=1")
        self.assertEqual(await response.content(), b"first")

    async def test_logs_that_do_not_exist_are_problems(self) -> None:
        for query in ("?attempt=2", "?name=test&index=1", "?name=%27&index=0"):
            response = await self.get(self.address + query)
            await self.assert_problem(response, 404, "not_found")
        for query in ("?name=test", "?index=0", "?attempt=0", "?attempt=2147483648"):
            response = await self.get(self.address + query)
            await self.assert_problem(response, 400, "bad_parameter")

    async def test_a_damaged_log_breaks_off_and_does_not_pretend(self) -> None:
        await self.rows.log(self.job, b"hello")
        await self.database.run("UPDATE log_chunk SET data = 'nonsense'")
        raw = await self.raw(self.head(f"GET {self.address} HTTP/1.1"))
        told = await raw.closed
        self.assertIn(b"Content-Length: 5", told)
        self.assertTrue(told.endswith(b"\r\n\r\n"))
        self.assertEqual(len(self.flushLoggedErrors()), 1)


class FollowTests(LogCase):
    async def follow(self, query: str = "") -> Any:
        line = f"GET {self.address}?follow=1{query} HTTP/1.1"
        return await self.raw(self.head(line, Connection="close"))

    async def grow(self, text: bytes, start: int = 0, of: str | None = None) -> int:
        end = await self.rows.log(self.job, text, start=start, of=of)
        await self.database.run("SELECT pg_notify('headrace_logs', %s)", (str(self.job),))
        return end

    async def test_what_is_written_later_follows_and_the_end_ends_it(self) -> None:
        end = await self.grow(b"one\n")
        raw = await self.follow()
        await raw.until(b"one\n")
        end = await self.grow(b"two\n", end)
        await raw.until(b"two\n")
        await self.grow(b"three\n", end)
        await self.rows.end_attempt(self.job)
        await self.rows.event("job.done", job=self.job)
        told = await raw.closed
        self.assertTrue(told.endswith(b"6\r\nthree\n\r\n0\r\n\r\n"), told)

    async def test_a_job_that_did_not_begin_can_be_followed(self) -> None:
        self.job = await self.rows.job()
        self.address = f"/api/v1/jobs/{self.job}/log"
        raw = await self.follow()
        await raw.until(b"\r\n\r\n")
        await self.rows.attempt(self.job)
        await self.grow(b"at last")
        await raw.until(b"at last")
        await self.rows.end_attempt(self.job)
        await self.rows.event("job.done", job=self.job)
        await raw.closed

    async def test_a_log_that_has_ended_is_sent_and_ends(self) -> None:
        await self.grow(b"all")
        await self.rows.end_attempt(self.job)
        told = await (await self.follow()).closed
        self.assertTrue(told.endswith(b"3\r\nall\r\n0\r\n\r\n"), told)

    async def test_one_pipeline_job_is_followed_until_it_ends(self) -> None:
        raw = await self.follow("&name=test&index=0")
        end = await self.grow(b"noise")
        await self.grow(b"mine", end, of="test")
        await raw.until(b"mine")
        await self.database.run(
            "UPDATE pipeline_job SET state = 'done', result = 'success'"
        )
        await self.rows.event("job.progress", job=self.job)
        self.assertNotIn(b"noise", await raw.closed)

    async def test_who_leaves_is_not_worked_for(self) -> None:
        raw = await self.follow()
        await self.grow(b"hello")
        await raw.until(b"hello")
        self.assertEqual(len(self.feed._watches), 1)
        raw.transport.abortConnection()
        await raw.closed
        while self.feed._watches:
            await self.get("/healthz")

    async def test_a_reader_that_takes_nothing_holds_up_nobody(self) -> None:
        """It is sent what fits into the buffers and then waited for, in bounded memory."""
        end = 0
        for _ in range(40):
            end = await self.rows.log(self.job, bytes(200_000), start=end)
        raw = await self.follow()
        raw.transport.pauseProducing()
        quick = await self.get(self.address)
        self.assertEqual(len(await quick.content()), end)
        raw.transport.resumeProducing()
        await self.rows.end_attempt(self.job)
        await self.rows.event("job.done", job=self.job)
        self.assertEqual((await raw.closed).count(b"\0"), end)

    async def test_the_farm_going_down_breaks_it_off(self) -> None:
        raw = await self.follow()
        await self.grow(b"hello")
        await raw.until(b"hello")
        stopped: Deferred[None] = self.feed.stop()
        self.assertFalse((await raw.closed).endswith(b"0\r\n\r\n"))
        await stopped
