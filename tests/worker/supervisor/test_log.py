from __future__ import annotations

import os

import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import LogChunk
from worker.supervisor.endings import Failed
from worker.supervisor.log import CHUNK, PAUSE, Log


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.chunks: list[LogChunk] = []
        self.log = self.make()

    def make(self, limit: int = 10**9) -> Log:
        return Log(self.chunks.append, limit, self.clock.seconds)

    def contents(self) -> list[bytes]:
        return [zstandard.decompress(chunk.data) for chunk in self.chunks]

    def test_the_first_bytes_leave_at_once_and_the_next_wait_for_company(self) -> None:
        for word in (b"one", b"two", b"three"):
            self.log.write(word)
            self.log.flush_if_due()
        self.assertEqual(self.contents(), [b"one"])
        self.assertEqual(self.log.due, PAUSE)
        self.clock.advance(PAUSE)
        self.log.flush_if_due()
        self.assertEqual(self.contents(), [b"one", b"twothree"])
        self.assertIsNone(self.log.due)

    def test_a_chunk_has_a_size_limit(self) -> None:
        data = os.urandom(CHUNK * 2 + 5)
        self.log.write(data)
        self.log.flush()
        self.assertEqual([chunk.length for chunk in self.chunks], [CHUNK, CHUNK, 5])
        self.assertEqual([chunk.start for chunk in self.chunks], [0, CHUNK, CHUNK * 2])
        self.assertEqual(b"".join(self.contents()), data)
        self.assertLess(len(self.chunks[0].data), 400 * 1024)

    def test_a_chunk_belongs_to_one_pipeline_job_or_to_none(self) -> None:
        self.log.write(b"a")
        self.log.belongs_to(("unit", 3))
        self.log.write(b"b")
        self.log.belongs_to(None)
        self.log.write(b"c")
        self.log.flush()
        owners = [(chunk.name, chunk.index) for chunk in self.chunks]
        self.assertEqual(owners, [(None, None), ("unit", 3), (None, None)])

    def test_lines_of_our_own_begin_on_a_new_line(self) -> None:
        self.log.write(b"no newline")
        self.log.say("told")
        self.assertEqual(b"".join(self.contents()), b"no newline\ntold\n")

    def test_a_log_that_is_too_long_fails_the_job_but_can_still_say_why(self) -> None:
        log = self.make(limit=5)
        log.write(b"123")
        self.assertRaises(Failed, log.write, b"4567")
        log.say("too long")
        self.assertEqual(b"".join(self.contents()), b"12345\ntoo long\n")

    def test_bytes_that_could_not_be_stored_are_not_tried_again(self) -> None:
        def full(chunk: LogChunk) -> None:
            raise OSError(28, "No space left on device")

        log = Log(full, 10**9, self.clock.seconds)
        log.write(b"x")
        self.assertRaises(OSError, log.flush)
        log.flush()

    @given(st.lists(st.binary(max_size=2000), max_size=20), st.integers(1, 5000))
    def test_no_byte_is_lost_or_doubled(self, pieces: list[bytes], pause: int) -> None:
        self.setUp()
        for piece in pieces:
            self.log.write(piece)
            self.clock.advance(pause / 50_000)
            self.log.flush_if_due()
        self.log.flush()
        self.assertEqual(b"".join(self.contents()), b"".join(pieces))
        ends = [0] + [chunk.start + chunk.length for chunk in self.chunks]
        self.assertEqual([chunk.start for chunk in self.chunks], ends[:-1])
