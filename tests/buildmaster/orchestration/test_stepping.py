"""Workflows move on in a database: each step whole or not at all, on one master or more."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from buildmaster.database import Cursor
from buildmaster.orchestration import stepping
from buildmaster.orchestration.threads import TookTooLong
from buildmaster.requests import GraphRequest, JobRequest
from buildmaster.store import workflows as store
from buildmaster.workflow import (
    Cancelled,
    Context,
    LocalCall,
    Retry,
    WorkflowFailed,
    local,
    signal,
    workflow,
)
from protocol.results import Result
from tests.buildmaster.orchestration.stage import Calls, Killed, WorkflowCase
from tests.buildmaster.source.repository import Repository
from tests.buildmaster.workflow import samples

CALLS = Calls()


@local
def act(call: LocalCall, what: str) -> Any:
    return CALLS.note(call.key, what)


@workflow
class Steps:
    async def run(self, ctx: Context, count: int) -> int:
        for number in range(count):
            await ctx.execute_local(act, f"step {number}")
        return count


@workflow
class Picky:
    async def run(self, ctx: Context) -> str:
        retry = Retry(limit=3, delay=5, never=("ValueError",))
        try:
            return str(await ctx.execute_local(act, "x", timeout=1, retry=retry))
        except Exception as error:
            return str(error)


@workflow
class Jobs:
    """A native job, with what it gave handed to the next."""

    async def run(self, ctx: Context) -> list[Any]:
        first = await ctx.execute_job("build", arguments={"n": 1})
        second = await ctx.execute_job("test", arguments={"of": first.output})
        return [first.good, second.result, second.job]


@workflow
class Refused:
    async def run(self, ctx: Context) -> str:
        try:
            await ctx.execute_job("build", semaphores=["no-such-semaphore"])
        except WorkflowFailed as error:
            return str(error)
        return "not refused"


@workflow
class Fan:
    """Jobs at the same time; they are cancelled with it."""

    async def run(self, ctx: Context, count: int) -> list[str]:
        names = [f"leg {number}" for number in range(count)]
        ends = await ctx.gather(*(ctx.execute_job("build", name=name) for name in names))
        return [end.result for end in ends]


@workflow
class Builder:
    async def run(self, ctx: Context, repository: str) -> list[Any]:
        try:
            end = await ctx.execute_build({"kind": "git", "repository": repository})
        except WorkflowFailed as error:
            return [str(error)]
        return [end.good, [job["name"] for job in end.jobs]]


@workflow
class Sleeper:
    async def run(self, ctx: Context, seconds: float) -> str:
        await ctx.sleep(seconds, name="a nap")
        return "awake"


@workflow
class Keeper:
    """A parent that keeps, or leaves, its child."""

    async def run(self, ctx: Context, policy: str) -> str:
        child = ctx.start_child(Sleeper, 3600.0, id="child", policy=policy)  # type: ignore[arg-type]
        await ctx.wait_condition(lambda: False, name="for ever")
        return str(await child)


@workflow
class Broken:
    """Its code is mended while it is under way."""

    is_mended = False

    async def run(self, ctx: Context) -> str:
        await ctx.execute_local(act, "before")
        if not Broken.is_mended:
            raise KeyError("a mistake")
        return "mended"


@workflow
class Stuck:
    """Its code does not come back."""

    is_stuck = True

    async def run(self, ctx: Context) -> str:
        while Stuck.is_stuck:
            pass
        return "free"


@workflow
class Long:
    @signal
    def tick(self) -> None: ...

    async def run(self, ctx: Context) -> None:
        await ctx.wait_condition(lambda: False, name="for ever")


@workflow
class Careful:
    async def run(self, ctx: Context) -> str:
        try:
            await ctx.sleep(3600)
        except Cancelled:
            with ctx.shielded():
                await ctx.execute_local(act, "clean up")
            raise
        return "slept"


class StepCase(WorkflowCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        CALLS.made.clear()
        CALLS.then = lambda number: number


class StepTests(StepCase):
    async def test_the_notes_handler_runs_on_the_farm(self) -> None:
        master = self.master(samples.Build)
        started = await master.control.start("Build", ["p"], "ann", name="build-p")
        self.assertFalse(started.joined)
        await master.go_on()
        self.assertEqual(await self.waits("build-p"), ["source built"])
        for chroot in ("source", "binary"):
            await master.control.signal("build-p", "build_ended", [chroot, True], "hook")
            await master.go_on()
        self.assertEqual(await self.state("build-p"), ("done", "success", "", "built"))
        self.assertEqual(await self.count("workflow_timer"), 0)
        self.assertEqual(await self.count("workflow_outbox"), 0)
        self.assertGreater(await self.crash_everywhere("build-p", samples.Build), 5)

    async def test_jobs_start_with_the_step_and_their_ends_come_back(self) -> None:
        master = self.master(Jobs)
        await master.control.start("Jobs", [], "ann", name="j")
        await master.go_on()
        [(first, state, _)] = await self.jobs()
        self.assertEqual(state, "ready")
        await self.finish(output={"n": 2})
        await master.go_on()
        await self.finish(Result.FAILURE)
        await master.go_on()
        second = first + 1
        self.assertEqual(
            await self.state("j"), ("done", "success", "", [True, "failure", second])
        )
        [(owner, requester, arguments)] = await self.database.rows(
            """
            SELECT owner, requester, arguments FROM job JOIN native_job ON job = id
            WHERE id = %s
            """,
            (second,),
        )
        self.assertEqual((owner, requester), ("ann", "workflow j"))
        self.assertEqual(arguments, {"of": {"n": 2}})

    async def test_a_job_that_is_refused_fails_its_command_and_nothing_else(self) -> None:
        master = self.master(Refused)
        await master.control.start("Refused", [], "ann", name="r")
        await master.go_on()
        state, result, _, value = await self.state("r")
        self.assertEqual((state, result), ("done", "success"))
        self.assertIn("no-such-semaphore", value)
        self.assertEqual(await self.count("job"), 0)

    async def test_jobs_that_nobody_awaits_leave_no_event(self) -> None:
        await self.farm.enqueue(_graph("build"), "ann")
        await self.finish()
        self.assertEqual(await self.count("workflow_event"), 0)

    async def test_builds_are_submitted_once_and_awaited(self) -> None:
        repository = Repository(Path(self.mktemp()))
        pipeline = "{unit: {series: noble, architectures: amd64, run: make}}"
        repository.commit(__launchpad__yaml=f"pipeline: [unit]\njobs: {pipeline}\n")
        master = self.master(Builder)
        await master.control.start("Builder", [str(repository.folder)], "ann", name="b")
        await master.go_on()
        self.assertEqual(await self.count("run"), 1)
        self.assertEqual(len(await self.jobs()), 1)
        await self.finish()
        await master.go_on()
        state, result, _, value = await self.state("b")
        self.assertEqual((state, result, value[0]), ("done", "success", True))
        await master.control.start("Builder", ["/no/such/place"], "ann", name="c")
        await master.go_on()
        self.assertIn("/no/such/place", (await self.state("c"))[3][0])

    async def test_a_cancel_reaches_jobs_and_cleans_up(self) -> None:
        master = self.master(Fan, Careful)
        await master.control.start("Fan", [3], "ann", name="fan")
        await master.go_on()
        self.assertEqual([state for _, state, _ in await self.jobs()], ["ready"] * 3)
        await master.control.cancel("fan", "ann", "changed my mind")
        await master.go_on()
        self.assertEqual([end for _, _, end in await self.jobs()], ["cancelled"] * 3)
        self.assertEqual((await self.state("fan"))[:2], ("done", "cancelled"))
        await master.control.start("Careful", [], "ann", name="careful")
        await master.go_on()
        for _ in range(2):
            await master.control.cancel("careful", "ann", "")
        await master.go_on()
        self.assertEqual((await self.state("careful"))[:2], ("done", "cancelled"))
        self.assertEqual([what for _, what in CALLS.made], ["clean up"])

    async def test_a_child_ends_with_its_parent_or_is_left(self) -> None:
        for policy, result in (("cancel", "cancelled"), ("abandon", None)):
            master = self.master(Keeper, Sleeper)
            await master.control.start("Keeper", [policy], "ann", name=policy)
            await master.go_on()
            self.assertEqual(await self.waits("child"), ["a nap"])
            await master.control.cancel(policy, "ann", "")
            await master.go_on()
            self.assertEqual((await self.state("child"))[1], result)

    async def test_a_parent_hears_of_its_childs_end(self) -> None:
        master = self.master(samples.Parent, samples.Build)
        await master.control.start("Parent", [], "ann", name="parent")
        await master.go_on()
        for chroot in ("source", "binary"):
            await master.control.signal("the-child", "build_ended", [chroot, True], "x")
        await master.go_on()
        self.assertEqual((await self.state("parent"))[3], "child: built")
        # A child whose name is taken fails its parent's command.
        await master.control.start("Parent", [], "ann", name="p2")
        await master.go_on()
        await master.control.start("Parent", [], "ann", name="p3")
        await master.go_on()
        self.assertEqual((await self.state("p3"))[1], "failure")
        await self.let_pass(61)
        await master.go_on()
        state = await self.state("p2")
        self.assertEqual(state[:2], ("done", "failure"))
        self.assertIn("timeout", state[2])

    async def test_signals_that_wait_go_to_the_next_generation_and_are_told_once(
        self,
    ) -> None:
        master = self.master(samples.Counter)
        await master.control.start("Counter", [], "ann", name="c")
        for number in range(1, 7):
            for _ in range(2):
                sent = await master.control.signal(
                    "c", "count", [number], "x", f"message {number}"
                )
            self.assertTrue(sent.repeated)
        await master.go_on()
        self.assertEqual((await self.state("c"))[3], 21)
        [(generation,)] = await self.database.rows("SELECT generation FROM workflow")
        self.assertEqual(generation, 4)

    async def test_an_exception_parks_it_and_it_goes_on_after_a_fix(self) -> None:
        Broken.is_mended = False
        master = self.master(Broken)
        await master.control.start("Broken", [], "ann", name="b")
        await master.go_on()
        state, _, reason, _ = await self.state("b")
        self.assertEqual((state, reason), ("parked", "KeyError: 'a mistake'"))
        [(cause, tries)] = await self.database.rows("SELECT cause, tries FROM workflow")
        self.assertIn("test_stepping.py", cause)
        self.assertEqual(tries, 1)
        await self.let_pass(2)
        await master.go_on()
        [(tries, delay)] = await self.database.rows(
            "SELECT tries, extract(epoch FROM next_try - farm_now()) FROM workflow"
        )
        self.assertEqual((tries, float(delay) > 1), (2, True))
        Broken.is_mended = True
        await store.let_go(self.database, "m")
        await master.go_on()
        self.assertEqual((await self.state("b"))[3], "mended")
        self.assertEqual(len(CALLS.made), 1)
        kinds = await self.database.rows(
            "SELECT kind FROM event WHERE kind LIKE 'workflow.%%'"
            " AND kind <> 'workflow.waiting' ORDER BY transaction, id"
        )
        self.assertEqual(
            [kind for (kind,) in kinds],
            ["workflow.started", "workflow.parked", "workflow.resumed", "workflow.done"],
        )

    async def test_changed_code_parks_it_and_the_old_code_goes_on(self) -> None:
        master = self.master(samples.Build)
        await master.control.start("Build", ["p"], "ann", name="b")
        await master.go_on()
        await master.control.signal("b", "build_ended", ["source", True], "x")
        other = self.master(samples.changed(tell=True))
        await other.go_on()
        state, _, reason, _ = await self.state("b")
        self.assertEqual(state, "parked")
        self.assertIn("the history has local", reason)
        self.assertIn("the code asks for local", reason)
        self.assertIn("patched()", reason)
        await self.let_pass(2)
        await self.master(samples.Build).go_on()
        self.assertEqual(await self.waits("b"), ["binaries built"])

    async def test_a_class_that_is_gone_parks_its_workflows_only(self) -> None:
        master = self.master(Sleeper, samples.Build)
        await master.control.start("Build", ["p"], "ann", name="b")
        await master.control.start("Sleeper", [0.0], "ann", name="s")
        await self.master(Sleeper).go_on()
        self.assertIn("no workflow class Build", (await self.state("b"))[2])
        self.assertEqual((await self.state("s"))[1], "success")

    async def test_code_that_does_not_come_back_stalls_nobody(self) -> None:
        """While it hangs, the reactor and the books are free, and others take steps."""
        Stuck.is_stuck = True
        self.addCleanup(setattr, Stuck, "is_stuck", False)
        master = self.master(Stuck, Jobs, patience=600.0)
        await master.control.start("Stuck", [], "ann", name="stuck")
        await master.control.start("Jobs", [], "ann", name="other")
        working = Deferred.fromCoroutine(master.stepper.round())
        while not await self.jobs():
            pass  # each look lets the reactor work
        await self.finish(output={})
        self.assertFalse(working.called)
        Stuck.is_stuck = False
        await working
        await master.go_on()
        self.assertEqual((await self.state("stuck"))[3], "free")

    async def test_code_that_does_not_come_back_is_interrupted_and_parked(self) -> None:
        Stuck.is_stuck = True
        self.addCleanup(setattr, Stuck, "is_stuck", False)
        master = self.master(Stuck, Sleeper, patience=0.1)
        await master.control.start("Stuck", [], "ann", name="stuck")
        await master.go_on()
        state, _, reason, _ = await self.state("stuck")
        self.assertEqual(state, "parked")
        self.assertIn("must not block", reason)
        Stuck.is_stuck = False
        await self.let_pass(3)
        await self.master(Stuck).go_on()
        self.assertEqual((await self.state("stuck"))[3], "free")

    async def test_a_step_that_the_database_refuses_parks_its_workflow_only(self) -> None:
        master = self.master(Jobs, Sleeper)
        for name, cls in (("bad", "Jobs"), ("good", "Sleeper")):
            await master.control.start(
                cls, [0.0] if cls == "Sleeper" else [], "ann", name=name
            )

        async def refuse(cursor: Cursor, request: Any, by: str) -> Any:
            await cursor.rows("SELECT 1 / 0")

        master.stepper._enqueue = refuse
        await master.go_on()
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual((await self.state("bad"))[0], "parked")
        self.assertIn("division by zero", (await self.state("bad"))[2])
        self.assertEqual((await self.state("good"))[1], "success")

    async def test_a_long_history_is_warned_of(self) -> None:
        self.patch(stepping, "WARNED_EVENTS", 3)
        master = self.master(Long)
        await master.control.start("Long", [], "ann", name="l")
        for _ in range(3):
            await master.control.signal("l", "tick", [], "x")
        await master.go_on()
        self.assertEqual(len(await self.waits("l")), 1)


class TogetherTests(StepCase):
    """Several masters, and masters that die."""

    async def test_several_masters_share_the_work(self) -> None:
        masters = [self.master(Steps, name=name) for name in ("m1", "m2", "m3")]
        for number in range(12):
            await masters[0].control.start("Steps", [3], "ann", name=f"s{number}")
        while await self.count("workflow WHERE state <> 'done'"):
            await gatherResults(
                [_deferred(master.stepper.round()) for master in masters]
                + [_deferred(master.calls.round()) for master in masters]
            )
            await gatherResults([_deferred(master.calls.drain()) for master in masters])
        self.assertEqual(len(CALLS.made), 36)
        self.assertEqual(len(set(CALLS.made)), 36)
        # A master that has an old picture of it replays, and takes nothing for granted.
        self.assertGreater(min(master.stepper.steps for master in masters), 0)

    async def test_a_step_that_is_not_committed_never_was(self) -> None:
        """The master dies between the code and the commit, at every step."""
        master = self.master(Jobs)
        await master.control.start("Jobs", [], "ann", name="j")
        enqueue = self.farm.enqueue_within

        async def dies(cursor: Cursor, request: Any, by: str) -> Any:
            await enqueue(cursor, request, by)
            raise Killed

        for _ in range(2):
            dying = self.master(Jobs)
            dying.stepper._enqueue = dies
            await self.killed(dying.stepper.round())
            self.assertEqual(await self.count("workflow_command"), len(await self.jobs()))
            await master.go_on()
            await self.finish(output={})
        await master.go_on()
        self.assertEqual((await self.state("j"))[1], "success")
        self.assertEqual(await self.count("job"), 2)

    async def test_a_call_is_made_again_with_its_key_when_its_master_died(self) -> None:
        master = self.master(Steps)
        await master.control.start("Steps", [1], "ann", name="s")
        await master.stepper.round()
        # It called, and died before it could write the outcome.
        taken = await store.take_chores(self.database, "local", "dead", 9, 30.0)
        CALLS.note(taken[0].key, "step 0")
        await master.go_on()
        self.assertEqual(len(CALLS.made), 1)
        await self.let_pass(31)
        await master.go_on()
        (first, _), (second, _) = CALLS.made
        self.assertEqual(first, second)
        # What the dead one would still have to say is not wanted.
        self.assertFalse(
            await store.finish_chore(self.database, taken[0], "completed", "late")
        )
        self.assertEqual((await self.state("s"))[1], "success")
        # One that starts again does not wait for its own.
        await master.control.start("Steps", [1], "ann", name="t")
        await master.stepper.round()
        await store.take_chores(self.database, "local", "dead", 9, 3000.0)
        await store.let_go(self.database, "dead")
        await master.go_on()
        self.assertEqual((await self.state("t"))[1], "success")

    async def test_the_live_one_and_the_replayed_one_are_the_same(self) -> None:
        for live in (100, 0):
            master = self.master(samples.Legs, live=live)
            name = f"legs-{live}"
            await master.control.start("Legs", [3], "ann", name=name)
            for _ in range(20):
                await master.go_on()
                await self.let_pass(5)
                if any(state == "ready" for _, state, _ in await self.jobs()):
                    await self.finish()
            _, _, _, value = await self.state(name)
            self.assertEqual(value, ["0 success", "1 success", "2 success"])
            self.assertEqual(len(master.stepper.live), 0)


class LocalCallTests(StepCase):
    async def test_what_fails_is_tried_again_by_its_policy(self) -> None:
        def fail(number: int) -> Any:
            raise OSError(f"away {number}")

        CALLS.then = fail
        master = self.master(Picky)
        await master.control.start("Picky", [], "ann", name="p")
        for tries in (1, 2):
            await master.go_on()
            self.assertEqual(len(CALLS.made), tries)
            await self.let_pass(11)
        await master.go_on()
        self.assertEqual(len(set(CALLS.made)), 1)
        self.assertIn("away 3", (await self.state("p"))[3])

    async def test_what_another_try_would_not_mend_is_not_tried_again(self) -> None:
        def fail(number: int) -> Any:
            raise ValueError("never")

        CALLS.then = fail
        master = self.master(Picky)
        await master.control.start("Picky", [], "ann", name="p")
        await master.go_on()
        self.assertEqual(len(CALLS.made), 1)
        self.assertIn("never", (await self.state("p"))[3])

    async def test_one_that_hangs_is_given_up_and_stalls_nobody(self) -> None:
        released = threading.Event()
        self.addCleanup(released.set)
        CALLS.then = lambda number: released.wait(60) if number <= 4 else number
        master = self.master(Picky, Jobs, Sleeper, local_threads=4)
        for number in range(4):
            await master.control.start("Picky", [], "ann", name=f"p{number}")
        await master.control.start("Jobs", [], "ann", name="j")
        await master.stepper.round()
        await master.calls.round()
        self.assertEqual(master.local_threads.room, 0)
        # All threads hang: steps and jobs go on.
        await self.finish(output={})
        await master.control.start("Sleeper", [0.0], "ann", name="s")
        await master.stepper.round()
        await master.timing.round()
        await master.stepper.round()
        self.assertEqual((await self.state("s"))[1], "success")
        self.assertEqual(len(await self.jobs()), 2)
        await master.calls.drain()
        self.assertEqual(await self.count("workflow_outbox"), 4)
        (tries,) = await self.database.one("SELECT min(tries) FROM workflow_outbox")
        self.assertEqual(tries, 1)

    async def test_what_is_returned_must_be_json_and_actions_are_marked(self) -> None:
        CALLS.then = lambda number: {1, 2}
        master = self.master(Picky)
        await master.control.start("Picky", [], "ann", name="p")
        for _ in range(3):
            await master.go_on()
            await self.let_pass(20)
        self.assertIn("a set", (await self.state("p"))[3])
        await master.control.start("Picky", [], "ann", name="q")
        await master.stepper.round()
        await self.database.run("UPDATE workflow_command SET name = 'os:system'")
        await master.calls.round()
        await master.calls.drain()
        self.assertEqual((await self.state("q"))[0], "open")
        self.assertEqual(len(CALLS.made), 3)

    async def test_threads_that_hang_are_interrupted_where_that_can_be(self) -> None:
        master = self.master()

        def spin() -> None:
            while True:
                pass

        for _ in range(3):
            try:
                await master.threads.run(spin, 0.1)
            except TookTooLong:
                pass
        self.assertEqual(await master.threads.run(lambda: 5, 5.0), 5)


def _graph(performs: str) -> Any:
    return GraphRequest(jobs=(JobRequest(performs=performs),))


def _deferred(work: Any) -> Any:
    return Deferred.fromCoroutine(work)
