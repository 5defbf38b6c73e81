"""Workflows are played: the same history gives the same commands, however it came."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.workflow import workflow
from buildmaster.workflow.definition import definition_of
from buildmaster.workflow.execution import Execution, advance
from buildmaster.workflow.failures import BadWorkflow, Divergence, ReadOnly, Unexpected
from buildmaster.workflow.history import MOST_EVENTS, HistoryEvent
from buildmaster.workflow.testing import Rehearsal, crash_everywhere, replay
from tests.buildmaster.workflow import samples
from tests.laws import law


class PlayTests(SynchronousTestCase):
    def test_the_notes_handler_goes_its_way(self) -> None:
        play = Rehearsal(samples.Build, "p")
        self.assertEqual(play.waits, ["tests.buildmaster.workflow.samples:submit"])
        play.answer(samples.submit, returns="1")
        self.assertEqual(play.waits, ["source built"])
        play.signal("build_ended", "source", True)
        play.answer(samples.tell)
        self.assertEqual(play.waits, ["binaries built"])
        self.assertEqual(play.query("so_far"), {"source": True})
        play.signal("build_ended", "binary", True)
        assert play.ending is not None
        self.assertEqual((play.ending.result, play.ending.value), ("success", "built"))
        self.assertEqual(
            [each.rpartition(":")[2] for each in play.asked],
            ["submit", "tell", "submit", "tell"],
        )
        self.assertEqual(crash_everywhere(play), len(play.events) + 1)

    def test_signals_that_come_early_and_in_any_order_are_there_when_they_are_needed(
        self,
    ) -> None:
        play = Rehearsal(samples.Build, "p")
        play.signal("build_ended", "binary", True)
        play.signal("build_ended", "source", True)
        play.answer(samples.submit)
        play.answer(samples.tell)
        assert play.ending is not None
        self.assertEqual(play.ending.value, "built")

    def test_a_declared_failure_ends_it_and_another_exception_does_not(self) -> None:
        play = Rehearsal(samples.Build, "p")
        play.answer(samples.submit)
        play.answer(samples.tell)
        play.signal("build_ended", "source", False)
        assert play.ending is not None
        self.assertEqual(
            (play.ending.result, play.ending.reason),
            ("failure", "the source package did not build"),
        )
        other = Rehearsal(samples.Parent)
        error = self.assertRaises(Unexpected, Rehearsal, Raising)
        self.assertIn("KeyError: 'mine'", str(error))
        self.assertIn("test_execution.py", error.trace)
        self.assertIs(other.ending, None)

    def test_a_wait_ends_with_its_time_and_an_event_after_that_changes_nothing(
        self,
    ) -> None:
        play = Rehearsal(samples.Build, "p")
        play.answer(samples.submit)
        play.let_pass(minutes=59)
        self.assertEqual(play.waits, ["source built"])
        play.let_pass(minutes=2)
        assert play.ending is not None
        self.assertEqual(
            (play.ending.result, play.ending.reason),
            ("failure", "source built: not within 3600 s"),
        )
        events = len(play.events)
        play.signal("build_ended", "source", True)
        self.assertEqual(len(play.events), events)
        crash_everywhere(play)

    def test_a_condition_that_holds_drops_its_timer(self) -> None:
        play = Rehearsal(samples.Build, "p")
        play.answer(samples.submit)
        [timer] = [each for each in play.commands if each.kind == "timer"]
        play.signal("build_ended", "source", True)
        self.assertEqual(play.dropped, [timer.seq])

    def test_who_comes_first_wins_and_the_other_is_dropped(self) -> None:
        for first, other in (("a", 1), ("b", 0)):
            play = Rehearsal(samples.Race)
            play.complete(first, {"job": 7, "result": "failure"})
            assert play.ending is not None
            self.assertEqual(play.ending.value, [1 - other, "failure"])
            self.assertEqual(play.dropped, [other])
            crash_everywhere(play)

    def test_a_cancel_is_raised_once_and_clean_up_is_shielded(self) -> None:
        play = Rehearsal(samples.Cleaning)
        play.cancel("no longer needed")
        self.assertEqual(play.dropped, [0, 1])  # the job and the hour
        self.assertEqual(play.waits, ["tests.buildmaster.workflow.samples:tell"])
        play.cancel("again")
        self.assertEqual(play.ending, None)
        play.answer(samples.tell)
        assert play.ending is not None
        self.assertEqual(
            (play.ending.result, play.ending.reason), ("cancelled", "no longer needed")
        )
        crash_everywhere(play)

    def test_only_the_first_cancel_is_raised(self) -> None:
        play = Rehearsal(samples.Stubborn)
        for _ in range(3):
            play.cancel()
        self.assertEqual(play.ending, None)
        play.answer(samples.tell)
        assert play.ending is not None
        self.assertEqual(play.ending.value, "as it likes")
        crash_everywhere(play)

    def test_clean_up_has_a_time_of_its_own(self) -> None:
        play = Rehearsal(samples.Cleaning)
        play.cancel()
        play.let_pass(seconds=61)
        assert play.ending is not None
        self.assertEqual(play.ending.value, "gave up cleaning")
        crash_everywhere(play)

    def test_a_child_is_waited_for_and_may_fail(self) -> None:
        play = Rehearsal(samples.Parent)
        self.assertEqual(play.commands[0].options["id"], "the-child")
        play.complete("Build", "built")
        assert play.ending is not None
        self.assertEqual(play.ending.value, "child: built")
        play = Rehearsal(samples.Parent)
        play.fail("Build", "the-child ended as timeout", "timeout")
        assert play.ending is not None
        self.assertEqual(play.ending.result, "failure")

    def test_it_goes_on_with_a_new_history(self) -> None:
        play = Rehearsal(samples.Counter)
        for number in range(1, 7):
            play.signal("count", number)
        assert play.ending is not None
        self.assertEqual((play.ending.value, play.generation), (21, 4))
        self.assertEqual(len(play.earlier), 3)
        crash_everywhere(play)

    def test_handlers_that_wait_are_waited_for_and_unknown_signals_are_kept(self) -> None:
        play = Rehearsal(samples.Asking)
        play.signal("ask", "late")
        play.signal("nonsense")
        play.signal("ask", 5)
        self.assertEqual(len(play.warnings), 2)
        play.let_pass(seconds=20)
        self.assertEqual(play.ending, None)
        play.complete("submit", "answer")
        assert play.ending is not None
        self.assertEqual(play.ending.value, ["answer"])
        self.assertIn("nonsense", [each.name for each in play.events])
        crash_everywhere(play)

    def test_queries_change_nothing(self) -> None:
        play = Rehearsal(samples.Asking)
        play.signal("ask", "x")
        play.complete("submit", "answer")
        self.assertEqual(play.query("peek"), 1)
        for name in ("meddle", "command"):
            error = self.assertRaises(ReadOnly, play.query, name)
            self.assertIn(name, str(error))
        self.assertEqual(play.query("peek"), 1)
        self.assertRaises(BadWorkflow, play.query, "nonsense")

    def test_time_ids_and_chance_are_the_same_at_each_replay(self) -> None:
        play = Rehearsal(samples.Recorded)
        play.answer(samples.submit)
        play.let_pass(minutes=1)
        assert play.ending is not None
        made = play.ending.value
        self.assertEqual(made[0][11:16], "12:00")
        self.assertEqual(made[3][11:16], "12:01")
        self.assertNotEqual(made[1], made[4])
        other = Rehearsal(samples.Recorded, seed="other")
        self.assertNotEqual(other.commands[0].arguments, play.commands[0].arguments)
        crash_everywhere(play)

    def test_the_failure_of_a_local_action_tells_its_kind(self) -> None:
        play = Rehearsal(samples.Trying)
        self.assertEqual(play.commands[0].options["retry"]["limit"], 2)
        play.answer(samples.submit, raises=OSError("away"))
        assert play.ending is not None
        self.assertEqual(play.ending.value, "OSError: away")

    def test_an_execution_timeout_ends_it_wherever_it_is(self) -> None:
        play = Rehearsal(samples.Cleaning)
        play._tell("timeout")
        assert play.ending is not None
        self.assertEqual(play.ending.result, "timeout")

    def test_a_history_has_an_end(self) -> None:
        play = Rehearsal(samples.Counter)
        events = [*play.events]
        nothing = [
            HistoryEvent(n=n, at=0, type="signal", name="x")
            for n in range(1, MOST_EVENTS + 5)
        ]
        ending = advance(play.definition, [*events, *nothing]).ending
        assert ending is not None
        self.assertEqual(ending.result, "failure")
        self.assertIn("continue_as_new", ending.reason)

    def test_the_values_of_the_kit_can_be_wrong(self) -> None:
        """`crash_everywhere` finds what differs from process to process."""
        play = Rehearsal(Unsteady)
        play.complete("submit", None)
        Unsteady.times += 1
        self.assertRaises((AssertionError, Divergence), crash_everywhere, play)


class ChangeTests(SynchronousTestCase):
    """Code changes while workflows are under way."""

    def setUp(self) -> None:
        self.play = Rehearsal(samples.Build, "p")
        self.play.answer(samples.submit)

    def test_a_change_that_the_history_contradicts_is_found_and_shown(self) -> None:
        error = self.assertRaises(
            Divergence, replay, self.play.history, samples.changed(tell=True)
        )
        self.assertEqual(error.seq, 0)
        self.assertIn(":submit", str(error))
        self.assertIn(":tell", str(error))
        self.assertRaises(
            Divergence, replay, self.play.history, samples.changed(never=True)
        )

    def test_code_that_asks_for_more_than_the_history_has_is_found(self) -> None:
        shorter = self.play.history
        shorter = type(shorter)(
            workflow="x", class_="Build", events=shorter.events, commands=()
        )
        error = self.assertRaises(Divergence, replay, shorter, samples.Build)
        self.assertIn("the history has nothing", str(error))

    def test_patched_lets_old_workflows_go_the_old_way(self) -> None:
        new = samples.changed(patched=True)
        replay(self.play.history, new)
        play = Rehearsal(new, "p")
        self.assertEqual(play.commands[0].kind, "patch")
        play.answer(samples.tell)
        play.answer(samples.submit)
        self.assertEqual(len(play.asked), 2)
        crash_everywhere(play)
        # When no old one is left the question may go, and its marker is passed over.
        replay(play.history, samples.changed(tell=True))
        self.assertRaises(Divergence, replay, play.history, samples.Build)


class LawTests(SynchronousTestCase):
    @law
    @given(seed=st.integers(0, 2**32), count=st.integers(1, 5))
    def test_answers_in_any_order_never_diverge(self, seed: int, count: int) -> None:
        """However the answers are ordered, every prefix replays to the same."""
        random = Random(seed)
        play = Rehearsal(samples.Legs, count)
        while play.ending is None:
            timers = [each for each in play.open.values() if each.kind == "timer"]
            others = [each for each in play.open.values() if each.kind != "timer"]
            if timers and (not others or random.random() < 0.3):
                play.let_pass(seconds=1)
                continue
            command = random.choice(others)
            value: Any = "made"
            if command.kind == "job":
                value = {"job": 1, "result": random.choice(["success", "failure"])}
            play._tell("completed", seq=command.seq, payload=value)
        self.assertEqual(play.ending.result, "success")
        self.assertEqual(len(play.ending.value), count)
        crash_everywhere(play)

    @law
    @given(seed=st.integers(0, 2**32))
    def test_steps_may_be_cut_anywhere(self, seed: int) -> None:
        """One live execution, given events in any portions, asks for the same."""
        random = Random(seed)
        play = Rehearsal(samples.Build, "p")
        play.answer(samples.submit)
        play.answer(samples.tell)
        for chroot in random.sample(["source", "binary", "other"], 3):
            play.signal("build_ended", chroot, True)
        live = Execution(definition_of(samples.Build), play.name, 1)
        commands, at = [], 0
        while at < len(play.events):
            upto = random.randint(at + 1, len(play.events))
            commands += live.apply(play.events[at:upto]).commands
            at = upto
        self.assertEqual(commands, play.commands)


@workflow
class Raising:
    async def run(self, ctx: Any) -> None:
        dict[str, int]()["mine"]


@workflow
class Unsteady:
    """What it does depends on something that no history has."""

    times = 0

    async def run(self, ctx: Any) -> None:
        await ctx.execute_local(samples.submit, f"time {Unsteady.times}")
