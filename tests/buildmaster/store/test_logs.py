from __future__ import annotations

import tracemalloc

import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from buildmaster.store.logs import (
    CHUNK_LIMIT,
    READING,
    DamagedLog,
    LogName,
    Place,
    decompress,
    find_log,
    find_place,
    has_ended,
    log_length,
    read_log,
)
from tests.buildmaster.http.rows import Rows, connected


class DecompressTests(SynchronousTestCase):
    @given(st.binary(min_size=1, max_size=5000))
    def test_it_gives_back_what_was_compressed(self, data: bytes) -> None:
        self.assertEqual(decompress(zstandard.compress(data), len(data)), data)

    @given(st.binary(max_size=200))
    def test_garbage_is_refused(self, data: bytes) -> None:
        with self.assertRaises(DamagedLog):
            decompress(data, 100)

    def test_a_bomb_does_not_go_off(self) -> None:
        """A frame that claims, or holds, far more than its chunk may."""
        claims = zstandard.compress(bytes(50_000_000))
        compressor = zstandard.ZstdCompressor(write_content_size=False)
        holds = compressor.compress(bytes(50_000_000))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for bomb in (claims, holds):
            with self.assertRaises(DamagedLog):
                decompress(bomb, 1000)
            self.assertLess(tracemalloc.get_traced_memory()[1], 1_000_000)
            with self.assertRaises(DamagedLog):
                decompress(bomb, CHUNK_LIMIT + 1)

    def test_a_frame_without_its_size_is_fine(self) -> None:
        compressor = zstandard.ZstdCompressor(write_content_size=False)
        self.assertEqual(decompress(compressor.compress(b"hello"), 5), b"hello")

    def test_a_frame_of_another_length_is_refused(self) -> None:
        for length in (4, 6):
            with self.assertRaises(DamagedLog):
                decompress(zstandard.compress(b"hello"), length)


class LogTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.database = await connected(self)
        self.rows = Rows(self.database)
        self.job = await self.rows.job()
        await self.rows.attempt(self.job)
        self.whole = LogName(self.job, 1)
        self.part = LogName(self.job, 1, ("test", 0))

    async def write(self) -> None:
        """preparation, test:0, preparation, test:0"""
        end = await self.rows.log(self.job, b"prepare\n")
        end = await self.rows.log(self.job, b"one\n", start=end, of="test")
        end = await self.rows.log(self.job, b"mend\n", start=end)
        await self.rows.log(self.job, b"two\n", start=end, of="test")

    async def read(self, log: LogName, position: int) -> bytes:
        place = await find_place(self.database, log, position)
        tail = await read_log(self.database, log, place.chunk)
        return b"".join(tail.data)[place.skip :]

    async def test_every_position_of_both_kinds_of_log_is_found(self) -> None:
        await self.write()
        whole, part = b"prepare\none\nmend\ntwo\n", b"one\ntwo\n"
        for log, text in ((self.whole, whole), (self.part, part)):
            self.assertEqual(await log_length(self.database, log), len(text))
            for position in range(len(text)):
                self.assertEqual(await self.read(log, position), text[position:])

    async def test_an_empty_log_has_no_length(self) -> None:
        for log in (self.whole, self.part):
            self.assertEqual(await log_length(self.database, log), 0)
            self.assertEqual(await find_place(self.database, log, 0), Place(-1, 0))
            self.assertEqual((await read_log(self.database, log, -1)).data, ())

    async def test_one_reading_is_bounded_by_bytes_and_goes_on_where_it_ended(self) -> None:
        piece = bytes(range(256)) * 1024
        await self.rows.log(self.job, *[piece] * 8)
        tail = await read_log(self.database, self.whole, -1)
        self.assertLess(sum(map(len, tail.data)), READING + 2 * len(piece))
        self.assertGreater(len(tail.data), 1)
        read = list(tail.data)
        while tail.data:
            tail = await read_log(self.database, self.whole, tail.chunk)
            read += tail.data
        self.assertEqual(read, [piece] * 8)

    async def test_chunks_that_are_large_only_as_stored_are_bounded_too(self) -> None:
        """One byte in a frame of 300 KiB, as a hostile worker may send it."""
        for start in range(8):
            await self.write_padded(start, 300_000)
        tail = await read_log(self.database, self.whole, -1)
        self.assertLess(len(tail.data), 6)

    async def test_one_chunk_is_read_however_large_it_is_stored(self) -> None:
        await self.write_padded(0, 2 * READING)
        self.assertEqual((await read_log(self.database, self.whole, -1)).data, (b"x",))

    async def write_padded(self, start: int, padding: int) -> None:
        """A chunk of one byte, stored with a frame behind it that is passed over."""
        frame = b"\x50\x2a\x4d\x18" + padding.to_bytes(4, "little") + bytes(padding)
        await self.database.run(
            "INSERT INTO log_chunk VALUES (%s, 1, %s, 1, NULL, NULL, farm_now(), %s)",
            (self.job, start, zstandard.compress(b"x") + frame),
        )

    async def test_logs_are_found_by_attempt_and_pipeline_job(self) -> None:
        await self.rows.end_attempt(self.job)
        await self.rows.attempt(self.job, 2)
        await self.database.run("UPDATE job SET attempt = 2 WHERE id = %s", (self.job,))
        find = self.database, self.job
        self.assertEqual(await find_log(*find, None, None), LogName(self.job, 2))
        self.assertEqual(await find_log(*find, 1, None), LogName(self.job, 1))
        named = await find_log(*find, 1, ("test", 0))
        self.assertEqual(named, LogName(self.job, 1, ("test", 0)))
        self.assertIsNone(await find_log(*find, 3, None))
        self.assertIsNone(await find_log(*find, 1, ("test", 1)))
        self.assertIsNone(await find_log(self.database, self.job + 1, None, None))

    async def test_a_job_that_did_not_begin_has_a_log_that_has_not_ended(self) -> None:
        job = await self.rows.job()
        self.assertEqual(await find_log(self.database, job, None, None), LogName(job, 1))
        self.assertFalse(await has_ended(self.database, LogName(job, 1)))

    async def test_a_log_ends_with_its_attempt(self) -> None:
        self.assertFalse(await has_ended(self.database, self.whole))
        await self.rows.end_attempt(self.job)
        self.assertTrue(await has_ended(self.database, self.whole))

    async def test_the_log_of_a_pipeline_job_ends_with_it(self) -> None:
        self.assertFalse(await has_ended(self.database, self.part))
        await self.database.run(
            "UPDATE pipeline_job SET state = 'done', result = 'success'"
        )
        self.assertTrue(await has_ended(self.database, self.part))
        self.assertFalse(await has_ended(self.database, self.whole))

    async def test_a_log_of_a_job_that_will_not_run_has_ended(self) -> None:
        job = await self.rows.job(
            state="done", result="cancelled", reason="asked", finished_at="2026-01-01"
        )
        self.assertTrue(await has_ended(self.database, LogName(job, 1)))
