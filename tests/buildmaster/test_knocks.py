from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from buildmaster import knocks
from buildmaster.knocks import BURST, REFILL, Knocks


class KnocksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.knocks = Knocks(self.clock.seconds)

    def fail_often(self, peer: str, times: int = BURST) -> None:
        for _ in range(times):
            self.knocks.note_failure(peer)

    def test_so_many_failures_are_forgiven_and_then_one_from_time_to_time(self) -> None:
        self.fail_often("192.0.2.7:1", BURST - 1)
        self.assertFalse(self.knocks.are_too_many("192.0.2.7:2"))
        self.fail_often("192.0.2.7:3", 1)
        self.assertTrue(self.knocks.are_too_many("192.0.2.7:4"))
        self.clock.advance(REFILL)
        self.assertFalse(self.knocks.are_too_many("192.0.2.7:5"))
        self.fail_often("192.0.2.7:6", 1)
        self.assertTrue(self.knocks.are_too_many("192.0.2.7:7"))

    def test_other_addresses_do_not_suffer(self) -> None:
        self.fail_often("192.0.2.7:1")
        self.assertFalse(self.knocks.are_too_many("192.0.2.8:1"))
        self.assertFalse(self.knocks.are_too_many("2001:db8::7:1"))

    def test_one_machine_has_a_whole_network_of_ipv6(self) -> None:
        for number in range(BURST):
            self.knocks.note_failure(f"2001:db8:0:1::{number}:4711")
        self.assertTrue(self.knocks.are_too_many("2001:db8:0:1:ffff::1:4711"))
        self.assertFalse(self.knocks.are_too_many("2001:db8:0:2::1:4711"))

    def test_only_so_many_addresses_are_remembered(self) -> None:
        self.patch(knocks, "MOST_ADDRESSES", 3)
        self.fail_often("192.0.2.1:1")
        for number in range(2, 5):
            self.knocks.note_failure(f"192.0.2.{number}:1")
        self.assertFalse(self.knocks.are_too_many("192.0.2.1:1"))
        self.assertLessEqual(len(self.knocks._failures), 3)
