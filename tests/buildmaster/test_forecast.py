"""The rules of the line, played forward."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.calibration import Calibration, calibration
from buildmaster.durations import BUCKETS, Spread, bucket
from buildmaster.forecast import (
    Estimate,
    Farm,
    Forecast,
    Machine,
    Underway,
    Waiting,
    estimate,
    far_behind,
)
from buildmaster.matching import Amounts, Capability, Needs
from protocol.messages import Offer
from tests.buildmaster.simulated_farm import SimulatedFarm, worker

ONE = Needs("amd64", "chroot")
LARGE = Needs("amd64", "chroot", slots=2)
FAST = Spread((10.0,), 1e9)


def waiting(job: int, class_id: int = 0, **more: Any) -> Waiting:
    return Waiting(job, class_id, more.pop("position", job), FAST, **more)


def played(farm: Farm) -> dict[int, float]:
    starts = Forecast(farm).play(Random(0))
    # A sure spread is sure but for a trace.
    return {job: round(at, 1) for job, at in starts.items()}


def farm(line: tuple[Waiting, ...], *machines: Machine, **more: Any) -> Farm:
    needs = {0: ONE, 1: LARGE, 2: Needs("arm64", "chroot")}
    return Farm(machines, needs, line, more.get("capacity", {}))


class OrderTests(SynchronousTestCase):
    def test_the_first_start_at_once_the_others_as_slots_come_free(self) -> None:
        line = tuple(waiting(job) for job in range(1, 6))
        found = played(farm(line, Machine(worker("a", slots=2))))
        self.assertEqual(found, {1: 0, 2: 0, 3: 10, 4: 10, 5: 20})

    def test_the_position_counts_not_the_id(self) -> None:
        line = (waiting(1, position=9), waiting(2, position=5))
        found = played(farm(line, Machine(worker("a", slots=1))))
        self.assertEqual(found, {2: 0, 1: 10})

    def test_what_runs_is_waited_for(self) -> None:
        busy = Machine(worker("a", slots=1), (Underway(ONE, 4.0, FAST),))
        self.assertEqual(played(farm((waiting(1),), busy)), {1: 6})

    def test_nobody_starts_what_does_not_suit(self) -> None:
        line = (waiting(1, 2), waiting(2))
        self.assertEqual(played(farm(line, Machine(worker("a")))), {2: 0})

    def test_a_large_job_is_kept_room_for(self) -> None:
        """Else the small ones behind it would go first for ever."""
        busy = Machine(worker("a", slots=2), (Underway(ONE, 0.0, FAST),))
        line = (waiting(1, 1), *(waiting(job) for job in (2, 3, 4)))
        self.assertEqual(played(farm(line, busy))[1], 10)

    def test_small_ones_use_what_is_not_kept(self) -> None:
        first = Machine(worker("a", slots=3), (Underway(LARGE, 0.0, FAST),))
        second = Machine(worker("b", slots=2), (Underway(ONE, 5.0, FAST),))
        found = played(farm((waiting(1, 1), waiting(2)), first, second))
        self.assertEqual(found, {2: 0, 1: 10}, "the first is kept, the second is not")

    def test_amounts_are_never_overcommitted(self) -> None:
        offer = Offer(isolation="chroot", architecture="amd64", series=("*",))
        one = Capability("a", (offer,), (), (), (), Amounts(9, memory=100))
        needs = {0: Needs("amd64", "chroot", memory=60)}
        found = played(Farm((Machine(one),), needs, (waiting(1), waiting(2)), {}))
        self.assertEqual(found, {1: 0, 2: 10})

    def test_a_semaphore_lets_others_pass(self) -> None:
        line = (
            waiting(1, limits=("s",)),
            waiting(2, limits=("s",)),
            waiting(3),
            waiting(4, limits=("s",), aside="s"),
        )
        found = played(farm(line, Machine(worker("a", slots=4)), capacity={"s": 1}))
        self.assertEqual(found, {1: 0, 3: 0, 2: 10, 4: 20})

    def test_who_refused_it_is_passed_over(self) -> None:
        line = (waiting(1, refused_by=frozenset("a")),)
        busy = Machine(worker("b", slots=1), (Underway(ONE, 0.0, FAST),))
        self.assertEqual(played(farm(line, Machine(worker("a")), busy)), {1: 10})

    @given(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 50)), max_size=12),
        st.lists(st.integers(1, 4), min_size=1, max_size=3),
        st.integers(0, 1000),
    )
    def test_everything_that_fits_starts_and_slots_are_kept(
        self, jobs: list[tuple[int, int]], slots: list[int], seed: int
    ) -> None:
        line = tuple(
            Waiting(number, class_id, position, Spread((1.0, 5.0, 9.0), 9))
            for number, (class_id, position) in enumerate(jobs)
        )
        machines = [Machine(worker(f"w{n}", slots=each)) for n, each in enumerate(slots)]
        found = Forecast(farm(line, *machines)).play(Random(seed))
        possible = {w.job for w in line if w.class_id == 0 or max(slots) >= 2}
        self.assertEqual(set(found), possible)
        at_once = Counter(w.class_id for w in line if found.get(w.job) == 0)
        self.assertLessEqual(at_once[0] + 2 * at_once[1], sum(slots))


class EstimateTests(SynchronousTestCase):
    def test_an_interval_leaves_a_tenth_on_each_side(self) -> None:
        told = estimate([float(n) for n in range(100)])
        self.assertEqual(told, Estimate(9.5, 49.5, 89.5))

    def test_what_mostly_never_starts_has_none(self) -> None:
        self.assertIsNone(estimate([1.0] * 8 + [float("inf")] * 2))

    def test_far_behind_adds_what_stands_between(self) -> None:
        told = estimate(far_behind([100.0] * 200, 1000, 11_000, 0.0, 0.5, Random(1)))
        assert told is not None
        self.assertLess(abs(told.middle / 5100 - 1), 0.05)
        self.assertLess(told.low, 5000)


class CoverageTests(SynchronousTestCase):
    """How often the true start falls into the interval."""

    def test_four_of_five_come_true_where_jobs_come_and_go_first(self) -> None:
        scored: Counter[str] = Counter()
        for seed in (1, 2):
            simulated = SimulatedFarm(seed)
            simulated.live(24 * 3600, arrivals=4)  # to learn
            simulated.scored.clear()
            simulated.live(48 * 3600, arrivals=4)
            scored += simulated.scored
        whole = sum(scored.values())
        self.assertGreater(whole, 500)
        self.assertLess(abs(scored["within"] / whole - 0.8), 0.08, scored)
        self.assertLess(scored["late"] / whole, 0.18, scored)

    def test_without_anything_learnt_of_errors_it_is_not_mended(self) -> None:
        few = [0.0] * BUCKETS
        few[bucket(8.0)] = 29
        known = Calibration((few, few, few))
        told = Estimate(1.0, 2.0, 3.0)
        self.assertEqual(known.mend(told), told)
        self.assertIsNone(calibration(known, None))

    def test_ends_are_moved_to_where_true_starts_lay_and_stay_in_order(self) -> None:
        def only(ratio: float) -> list[float]:
            counts = [0.0] * BUCKETS
            counts[bucket(ratio)] = 100
            return counts

        known = Calibration((only(1.0), only(2.0), only(8.0)))
        told = known.mend(Estimate(99.0, 199.0, 299.0))
        self.assertLess(abs(told.low / 99 - 1), 0.2)
        self.assertLess(abs(told.high / 2400 - 1), 0.2)
        odd = Calibration((only(8.0), only(1.0), only(0.1)))
        mended = odd.mend(Estimate(99.0, 199.0, 299.0), at_least=1000.0)
        self.assertEqual([mended.low] * 3, [1000.0, mended.middle, mended.high])
