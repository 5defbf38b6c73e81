"""`worker.delivery`: the window of reports, against a spool in memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from worker.delivery import (
    WINDOW_BYTES,
    WINDOW_REPORTS,
    Delivery,
    Parcel,
    ReportsMissing,
)


class ListSpool:
    """Reports in a list; keeps `worker.delivery.Spooled`."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.ended = False

    @property
    def last_number(self) -> int:
        return len(self.frames)

    def read_from(self, number: int, limit_bytes: int) -> list[bytes]:
        found: list[bytes] = []
        for frame in self.frames[number - 1 :]:
            if found and sum(map(len, found)) + len(frame) > limit_bytes:
                break
            found.append(frame)
        return found


class DeliveryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = ListSpool()
        self.delivery = Delivery(self.spool)

    def sent(self) -> list[int]:
        numbers: list[int] = []
        while parcels := self.delivery.next():
            numbers += [parcel.number for parcel in parcels]
        return numbers

    def test_nothing_is_sent_without_a_session(self) -> None:
        self.spool.frames = [b"a"]
        self.assertEqual(self.delivery.next(), [])
        self.assertFalse(self.delivery.is_done)

    def test_a_session_begins_behind_what_is_recorded(self) -> None:
        self.spool.frames = [b"a", b"b", b"c"]
        self.delivery.resume(1)
        self.assertEqual(
            self.delivery.next(), [Parcel(2, b"b", False), Parcel(3, b"c", False)]
        )
        self.assertEqual(self.delivery.next(), [])

    def test_no_more_reports_than_the_window_are_under_way(self) -> None:
        self.spool.frames = [b"x"] * (WINDOW_REPORTS + 10)
        self.delivery.resume(0)
        self.assertEqual(self.sent(), list(range(1, WINDOW_REPORTS + 1)))
        self.delivery.settle(3)
        self.assertEqual(
            self.sent(), [WINDOW_REPORTS + 1, WINDOW_REPORTS + 2, WINDOW_REPORTS + 3]
        )

    def test_no_more_bytes_than_the_window_are_under_way(self) -> None:
        self.spool.frames = [b"x" * (WINDOW_BYTES // 4)] * 10
        self.delivery.resume(0)
        self.assertEqual(self.sent(), [1, 2, 3, 4])
        self.delivery.settle(2)
        self.assertEqual(self.sent(), [5, 6])

    def test_the_end_is_marked_and_done_when_it_is_recorded(self) -> None:
        self.spool.frames = [b"a", b"z"]
        self.spool.ended = True
        self.delivery.resume(0)
        self.assertEqual([p.is_last for p in self.delivery.next()], [False, True])
        self.delivery.settle(1)
        self.assertFalse(self.delivery.is_done)
        self.delivery.settle(2)
        self.assertTrue(self.delivery.is_done)

    def test_an_end_that_was_recorded_in_an_earlier_session_is_done(self) -> None:
        self.spool.frames = [b"a", b"z"]
        self.spool.ended = True
        self.delivery.resume(2)
        self.assertEqual(self.delivery.next(), [])
        self.assertTrue(self.delivery.is_done)

    def test_a_master_that_has_more_than_the_disk_is_an_error(self) -> None:
        self.spool.frames = [b"a"]
        with self.assertRaises(ReportsMissing):
            self.delivery.resume(2)

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_whatever_happens_each_report_is_recorded_once_and_in_order(
        self, data: st.DataObject
    ) -> None:
        spool, recorded = ListSpool(), list[bytes]()
        delivery = Delivery(spool)
        wire: list[Parcel] = []
        total = data.draw(st.integers(1, 150))
        for _ in range(data.draw(st.integers(0, 80))):
            match data.draw(st.sampled_from(["make", "send", "record", "break"])):
                case "make" if len(spool.frames) < total:
                    spool.frames.append(b"%d" % len(spool.frames))
                    spool.ended = len(spool.frames) == total
                case "send":
                    wire += delivery.next()
                case "record" if wire:
                    parcel = wire.pop(0)
                    self.assertEqual(parcel.number, len(recorded) + 1)
                    recorded.append(parcel.frame)
                    delivery.settle(len(recorded))
                case "break":
                    wire.clear()
                    delivery.resume(len(recorded))
            self.assertLessEqual(len(wire), WINDOW_REPORTS)
            if delivery.is_done:
                self.assertEqual(len(recorded), total)
        self.assertEqual(recorded, spool.frames[: len(recorded)])
