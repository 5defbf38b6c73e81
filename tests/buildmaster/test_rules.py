"""The pure rules: dependencies, matching, the life of a job."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.dependencies import Require, Verdict, judge
from buildmaster.lifecycle import TRANSITIONS, JobEvent, JobState, states_before
from buildmaster.matching import (
    TAKES_HANDED_FILES,
    Amounts,
    Capability,
    Needs,
    suits,
    tags_of,
)
from buildmaster.session import capability_of
from protocol.messages import Offer
from protocol.results import BAD, GOOD, VOID, Result, worst
from tests.buildmaster.books import hello

GO, SKIP, UNRUN = Verdict.GO, Verdict.SKIP, Verdict.UNRUN


class TruthTableTests(SynchronousTestCase):
    """Every cell of the table in docs/dependencies.rst."""

    def test_each_cell(self) -> None:
        columns = (Require.GOOD, Require.FINISHED, Require.BAD, Require.ALWAYS)
        table = {
            GOOD: (GO, GO, SKIP, GO),
            BAD: (UNRUN, GO, GO, GO),
            VOID: (UNRUN, UNRUN, UNRUN, GO),
        }
        for results, verdicts in table.items():
            for result in results:
                for require, verdict in zip(columns, verdicts, strict=True):
                    self.assertIs(judge(require, result), verdict, (result, require))

    def test_every_result_has_exactly_one_class(self) -> None:
        for result in Result:
            self.assertEqual(sum(result in group for group in (GOOD, BAD, VOID)), 1)


class WorstTests(SynchronousTestCase):
    @given(st.frozensets(st.sampled_from(list(Result)), min_size=1))
    def test_is_one_of_them_and_bad_outweighs_void_outweighs_good(
        self, results: frozenset[Result]
    ) -> None:
        chosen = worst(results)
        self.assertIn(chosen, results)
        for group in (BAD, VOID, GOOD):
            if results & group:
                self.assertIn(chosen, group)
                break


class LifecycleTests(SynchronousTestCase):
    def test_every_state_can_be_reached_and_left(self) -> None:
        left = {state for state, _ in TRANSITIONS}
        reached = set(TRANSITIONS.values()) | {JobState.WAITING}
        self.assertEqual((left, reached), (set(JobState), set(JobState)))

    def test_only_what_is_done_is_retried(self) -> None:
        self.assertEqual(states_before(JobEvent.RETRY), (JobState.DONE,))


def needs(
    architecture: str = "amd64",
    isolation: str = "chroot",
    series: tuple[str, ...] = ("jammy",),
    tags: tuple[str, ...] = (),
    **others: Any,
) -> Needs:
    return Needs(architecture, isolation, series, tags, **others)


CHROOT = Offer(isolation="chroot", architecture="amd64", series=("jammy", "focal"))
ANY = Offer(isolation="native", architecture="amd64", series=("*",))


def worker(
    *offers: Offer, tags: tuple[str, ...] = (), slots: int = 2, **others: Any
) -> Capability:
    fields: dict[str, Any] = {"restricted_tags": (), "performs": ()}
    fields |= {key: others.pop(key) for key in list(fields) if key in others}
    return Capability("ant", offers, tags, **fields, amounts=Amounts(slots, **others))


class MatchingTests(SynchronousTestCase):
    def test_one_offer_must_fit_in_all_respects(self) -> None:
        self.assertTrue(suits(needs(), worker(CHROOT)))
        self.assertTrue(suits(needs(isolation="native"), worker(CHROOT, ANY)))
        self.assertFalse(suits(needs(architecture="arm64"), worker(CHROOT, ANY)))
        self.assertFalse(suits(needs(series=("jammy", "noble")), worker(CHROOT, ANY)))
        self.assertFalse(suits(needs(isolation="vm"), worker(CHROOT, ANY)))

    def test_any_architecture_suits_a_class_without_one(self) -> None:
        self.assertTrue(suits(needs(architecture=""), worker(CHROOT)))

    def test_all_tags_are_needed(self) -> None:
        wanted = needs(tags=("gpu", "lab"))
        self.assertTrue(suits(wanted, worker(CHROOT, tags=("lab", "gpu", "big"))))
        self.assertFalse(suits(wanted, worker(CHROOT, tags=("gpu",))))

    def test_what_a_worker_takes_is_for_its_program_to_say(self) -> None:
        """An operator's tag of that name is none, or an old worker got what it ignores."""
        claims: dict[str, Any] = {
            "tags": ("gpu", TAKES_HANDED_FILES),
            "restricted_tags": ("lab",),
        }
        self.assertEqual(tags_of(hello("ant", takes=(), **claims)), ["gpu", "lab"])
        takes = ("handed-files", "more")
        self.assertEqual(
            tags_of(hello("ant", takes=takes, **claims)),
            ["gpu", "lab", TAKES_HANDED_FILES, "takes:more"],
        )
        wanted = needs(tags=(TAKES_HANDED_FILES,))
        old = capability_of(hello("ant", "chroot", takes=(), **claims))
        self.assertFalse(suits(wanted, old))

    def test_a_restricted_tag_is_for_jobs_that_ask_for_it(self) -> None:
        gpu = worker(CHROOT, tags=("gpu", "lab"), restricted_tags=("gpu",))
        self.assertFalse(suits(needs(), gpu))
        self.assertFalse(suits(needs(tags=("lab",)), gpu))
        self.assertTrue(suits(needs(tags=("gpu",)), gpu))

    def test_a_job_that_asks_for_more_than_there_is_suits_nobody(self) -> None:
        small = worker(CHROOT, slots=2, cpu=200, memory=1024)
        self.assertTrue(suits(needs(slots=2, cpu=200, memory=1024, disk=9), small))
        for much in (needs(slots=3), needs(cpu=201), needs(memory=1025)):
            self.assertFalse(suits(much, small), much)

    def test_a_job_may_name_its_worker(self) -> None:
        self.assertTrue(suits(needs(worker="ant"), worker(CHROOT)))
        self.assertFalse(suits(needs(worker="bee"), worker(CHROOT)))

    def test_a_native_job_needs_a_worker_that_has_it(self) -> None:
        wanted = Needs(performs="import")
        self.assertTrue(suits(wanted, worker(ANY, performs=("noop", "import"))))
        self.assertFalse(suits(wanted, worker(ANY, performs=("noop",))))
        self.assertFalse(suits(wanted, worker(CHROOT, performs=("import",))))
