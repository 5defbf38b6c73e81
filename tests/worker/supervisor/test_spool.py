from __future__ import annotations

import os
import resource

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import (
    Ended,
    FileMade,
    LogChunk,
    PipelineJobEnded,
    PipelineJobStarted,
    Report,
    decode_from_worker,
)
from protocol.results import Result
from tests.worker.supervisor.attempts import folder
from worker.supervisor.spool import (
    REPORTS,
    Kind,
    ReportTooLong,
    Spool,
    SpoolDamaged,
    SpoolReader,
    SpoolSealed,
)


def chunk(data: bytes = b"x") -> LogChunk:
    return LogChunk(start=0, length=1, data=data)


def numbers(frames: list[bytes]) -> list[int]:
    reports = [report for frame in frames for report in decode_from_worker(frame)]
    return [report.number for report in reports if isinstance(report, Report)]


class SpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = folder(self)
        self.reader = SpoolReader(self.folder)
        self.addCleanup(self.reader.close)

    def spool(self) -> Spool:
        spool = Spool(self.folder, 7, 2)
        self.addCleanup(spool.close)
        return spool

    def test_a_reader_sees_each_report_as_soon_as_it_is_appended(self) -> None:
        self.assertEqual(self.reader.last_number, 0)
        spool = self.spool()
        self.assertEqual(spool.append(chunk()), 1)
        self.assertEqual(self.reader.last_number, 1)
        self.assertEqual(spool.append(chunk()), 2)
        self.assertEqual(numbers(self.reader.read_from(1, 10**6)), [1, 2])
        self.assertEqual(numbers(self.reader.read_from(2, 10**6)), [2])
        self.assertEqual(self.reader.read_from(3, 10**6), [])

    def test_a_reader_gives_as_much_as_fits_but_at_least_one(self) -> None:
        spool = self.spool()
        for _ in range(4):
            spool.append(chunk(bytes(1000)))
        self.assertEqual(numbers(self.reader.read_from(2, 1)), [2])
        self.assertEqual(numbers(self.reader.read_from(2, 2500)), [2, 3])

    def test_nothing_comes_after_the_end(self) -> None:
        spool = self.spool()
        spool.append(chunk())
        self.assertFalse(self.reader.ended)
        spool.append(Ended(at=1.0, result=Result.SUCCESS))
        self.assertTrue(self.reader.ended)
        self.assertRaises(SpoolSealed, spool.append, chunk())
        self.assertRaises(SpoolSealed, self.spool().append, chunk())

    def test_reports_are_found_by_kind(self) -> None:
        spool = self.spool()
        spool.append(chunk())
        spool.append(PipelineJobStarted(name="unit", index=0, at=1.0))
        spool.append(chunk())
        self.assertEqual(self.reader.numbers_of(Kind.STARTED), [2])
        self.assertEqual(self.reader.numbers_of(Kind.LOG), [1, 3])

    def test_a_report_that_a_crash_cut_short_does_not_count(self) -> None:
        spool = self.spool()
        spool.append(chunk(b"one"))
        whole = (self.folder / REPORTS).stat().st_size
        spool.append(chunk(b"two" * 50))
        size = (self.folder / REPORTS).stat().st_size
        for cut in range(whole, size):
            os.truncate(self.folder / REPORTS, cut)
            self.assertEqual(SpoolReader(self.folder).last_number, 1)
        self.assertEqual(self.spool().append(chunk(b"again")), 2)
        self.assertEqual(numbers(SpoolReader(self.folder).read_from(1, 10**6)), [1, 2])

    def test_blocks_that_a_crash_left_empty_do_not_count(self) -> None:
        self.spool().append(chunk())
        with open(self.folder / REPORTS, "ab") as file:
            file.write(bytes(5000))
        self.assertEqual(self.reader.last_number, 1)
        self.assertEqual(self.spool().append(chunk()), 2)

    def test_damage_in_the_middle_is_noticed(self) -> None:
        spool = self.spool()
        spool.append(chunk(b"hello"))
        spool.append(chunk())
        path = self.folder / REPORTS
        path.write_bytes(path.read_bytes().replace(b"hello", b"jello"))
        self.assertRaises(SpoolDamaged, self.reader.read_from, 1, 100)

    def test_a_report_that_no_frame_can_hold_is_refused(self) -> None:
        files = tuple(
            FileMade(path=f"{place}{'x' * 3990}", sha256="0" * 64, size=1)
            for place in range(160)
        )
        body = PipelineJobEnded(
            name="unit", index=0, at=1.0, result=Result.SUCCESS, files=files
        )
        spool = self.spool()
        self.assertRaises(ReportTooLong, spool.append, body)
        self.assertEqual(spool.append(chunk()), 1)

    def test_the_reserve_is_really_on_the_disk_until_it_is_used(self) -> None:
        spool = self.spool()
        spool.reserve(1 << 20)
        reserve = self.folder / "reports.reserve"
        self.assertGreaterEqual(reserve.stat().st_blocks * 512, 1 << 20)
        spool.use_reserve()
        self.assertFalse(reserve.exists())

    def test_a_full_disk_leaves_no_half_report(self) -> None:
        spool = self.spool()
        spool.append(chunk())
        size = (self.folder / REPORTS).stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))
        try:
            self.assertRaises(OSError, spool.append, chunk(bytes(1000)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.assertEqual((self.folder / REPORTS).stat().st_size, size)
        self.assertEqual(spool.append(chunk()), 2)
        self.assertEqual(numbers(self.reader.read_from(1, 10**6)), [1, 2])

    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), st.integers(1, 900))
    def test_whatever_was_appended_comes_back_in_order(
        self, contents: list[bytes], limit: int
    ) -> None:
        place = folder(self)
        spool = Spool(place, 7, 2)
        for content in contents:
            spool.append(chunk(content))
        spool.close()
        reader = SpoolReader(place)
        found: list[bytes] = []
        while frames := reader.read_from(len(found) + 1, limit):
            for frame in frames:
                [report] = decode_from_worker(frame)
                assert isinstance(report, Report) and isinstance(report.body, LogChunk)
                found.append(report.body.data)
        reader.close()
        self.assertEqual(found, contents)
