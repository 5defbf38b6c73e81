"""What home-made engines get wrong, one test each, in the order in which it is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from buildmaster.database import Cursor, Database
from buildmaster.orchestration.timing import Timing
from buildmaster.store import workflows as store
from buildmaster.workflow import Context, Retry, local, signal, workflow
from buildmaster.workflow.testing import Rehearsal, crash_everywhere
from tests.buildmaster.orchestration.stage import Killed, WorkflowCase
from tests.buildmaster.orchestration.test_stepping import (
    CALLS,
    Broken,
    Fan,
    Long,
    Picky,
    Sleeper,
    Steps,
)
from tests.buildmaster.workflow import samples

ORDER = """
from buildmaster.workflow.testing import Rehearsal
from tests.buildmaster.workflow import samples
play = Rehearsal(samples.Legs, 5)
for number in (3, 1, 4, 0, 2):
    play.complete("submit", f"made {number}")
play.let_pass(seconds=9)
other = Rehearsal(samples.Recorded)
print([(c.seq, c.name, c.arguments) for c in (*play.commands, *other.commands)])
"""


@local
def note(call: Any, what: str) -> str:
    CALLS.note(call.key, what)
    return what


@workflow
class Waiting:
    """A signal, or its time: one of them."""

    def __init__(self) -> None:
        self.heard = False

    @signal
    def hear(self) -> None:
        self.heard = True

    async def run(self, ctx: Context) -> str:
        try:
            await ctx.wait_condition(lambda: self.heard, name="heard", timeout=60)
        except Exception:
            return "too late"
        return "heard"


@workflow
class Dated:
    async def run(self, ctx: Context) -> str:
        return ctx.now().isoformat()


@workflow
class Parents:
    async def run(self, ctx: Context) -> list[str]:
        children = [ctx.start_child(Sleeper, 0.0, id=f"child-{n}") for n in range(3)]
        return await ctx.gather(*children)


class BugTests(WorkflowCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        CALLS.made.clear()
        CALLS.then = lambda number: number

    async def test_the_order_of_sets_and_mappings_time_ids_and_gather(self) -> None:
        """Processes with other seeds of hashing give the same commands."""

        def played(seed: str) -> str:
            environment = {**os.environ, "PYTHONHASHSEED": seed}
            return subprocess.run(
                [sys.executable, "-c", ORDER],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
                cwd=os.path.dirname(os.path.dirname(store.__file__)) + "/..",
            ).stdout

        self.assertEqual(played("1"), played("2"))

    async def test_positional_ids(self) -> None:
        """What is answered in another order is the answer of the same command."""
        play = Rehearsal(samples.Legs, 2)
        first, second = play.open
        play._tell("completed", seq=second, payload="of the second")
        play._tell("completed", seq=first, payload="of the first")
        play.let_pass(seconds=5)
        jobs = [each for each in play.commands if each.kind == "job"]
        made = {each.arguments["arguments"]["made"] for each in jobs}
        self.assertEqual(made, {"of the first", "of the second"})
        by_leg = {each.arguments[0]: each.seq for each in play.commands[:2]}
        self.assertEqual(by_leg, {"leg 0": first, "leg 1": second})
        crash_everywhere(play)

    async def test_history_growth(self) -> None:
        """A counter that continues as new has a short history, for ever."""
        play = Rehearsal(samples.Counter)
        for number in range(6):
            play.signal("count", number)
        self.assertLess(max(len(each.events) for each in play.earlier), 4)

    async def test_a_deploy_while_they_sleep(self) -> None:
        master = self.master(samples.Build)
        await master.control.start("Build", ["p"], "ann", name="old")
        await master.go_on()
        new = self.master(samples.changed(patched=True), samples.Build)
        await new.control.start("Build", ["p"], "ann", name="new")
        for name in ("old", "new"):
            for chroot in ("source", "binary"):
                await new.control.signal(name, "build_ended", [chroot, True], "x")
        await new.go_on()
        for name in ("old", "new"):
            self.assertEqual((await self.state(name))[1], "success")

    async def test_two_writes_that_belong_together(self) -> None:
        """Whatever statement of a step fails, nothing of the step is there."""
        master = self.master(Fan)
        await master.control.start("Fan", [2], "ann", name="f")
        counted = ("workflow_command", "job", "run", "workflow_timer")
        failed = 0
        while not await self.count("job"):
            failed += 1
            await self._step_dies_at(master, failed)
            kept = [await self.count(table) for table in counted]
            self.assertIn(kept, ([0, 0, 0, 0], [2, 2, 2, 0]))
        self.assertGreater(failed, 10)

    async def _step_dies_at(self, master: Any, number: int) -> None:
        transaction = self.database.transaction
        left = [number]

        class Dying:
            def __init__(self, cursor: Cursor) -> None:
                self._cursor = cursor

            def __getattr__(self, name: str) -> Any:
                method = getattr(self._cursor, name)

                async def counted(*arguments: Any) -> Any:
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    return await method(*arguments)

                return counted

        async def dying(work: Any) -> Any:
            return await transaction(lambda cursor: work(Dying(cursor)))

        self.patch(self.database, "transaction", dying)
        try:
            await master.stepper.round()
        except Killed:
            pass
        finally:
            self.patch(self.database, "transaction", transaction)

    async def test_missing_unique_keys(self) -> None:
        """The same message by ten senders at once is one event."""
        master = self.master(samples.Build)
        await master.control.start("Build", ["p"], "ann", name="b")
        sent = await gatherResults(
            [
                Deferred.fromCoroutine(
                    master.control.signal("b", "build_ended", ["source", True], "x", "1")
                )
                for _ in range(10)
            ]
        )
        self.assertEqual(sum(not each.repeated for each in sent), 1)
        self.assertEqual(await self.count("workflow_event WHERE type = 'signal'"), 1)

    async def test_timers_lost_on_a_restart_or_fired_twice(self) -> None:
        first = self.master(Sleeper)
        await first.control.start("Sleeper", [60.0], "ann", name="s")
        await first.go_on()
        # The first master is gone; two others look at once.
        others = [self.master(Sleeper, name=name) for name in ("m2", "m3")]
        await self.let_pass(61)
        await gatherResults(
            [Deferred.fromCoroutine(each.timing.round()) for each in others]
        )
        self.assertEqual(await self.count("workflow_event WHERE type = 'fired'"), 1)
        await others[0].go_on()
        self.assertEqual((await self.state("s"))[3], "awake")

    async def test_a_sweep_of_timeouts_that_ignores_who_is_parked(self) -> None:
        """One that is parked is not run by its timer, and ends by its own deadline only."""
        Broken.is_mended = False
        master = self.master(Broken)
        await master.control.start("Broken", [], "ann", name="b", execution_timeout=600)
        await master.go_on()
        (before,) = await self.database.one("SELECT tries FROM workflow")
        await master.timing.round()
        await master.stepper.round()
        (after,) = await self.database.one("SELECT tries FROM workflow")
        self.assertEqual((before, after), (1, 1))
        Broken.is_mended = True
        await self.let_pass(601)
        await master.go_on()
        self.assertEqual((await self.state("b"))[0], "done")
        self.assertEqual(len(CALLS.made), 1)

    async def test_an_event_and_its_timeout_both_win(self) -> None:
        for late in (False, True):
            master = self.master(Waiting)
            await master.control.start("Waiting", [], "ann", name="w")
            await master.go_on()
            await self.let_pass(61)
            if late:
                await master.timing.round()
            await master.control.signal("w", "hear", [], "x")
            await master.go_on()
            told = (await self.state("w"))[3]
            self.assertEqual(told, "too late" if late else "heard")
            await self.crash_everywhere("w", Waiting)
            await self.database.run("DELETE FROM workflow")

    async def test_acks_of_a_stale_try(self) -> None:
        master = self.master(Steps)
        await master.control.start("Steps", [1], "ann", name="s")
        await master.stepper.round()
        [old] = await store.take_chores(self.database, "local", "m1", 9, -1.0)
        [new] = await store.take_chores(self.database, "local", "m2", 9, 30.0)
        self.assertEqual((old.key, old.tries, new.tries), (new.key, 1, 2))
        self.assertFalse(
            await store.finish_chore(self.database, old, "failed", {"message": "no"})
        )
        await store.postpone_chore(self.database, old, 0)
        await store.renew_chores(self.database, [old], -100)
        self.assertEqual(await store.take_chores(self.database, "local", "m", 9, 1), [])
        self.assertTrue(await store.finish_chore(self.database, new, "completed", 1))

    async def test_running_without_a_lease(self) -> None:
        """No state says that a master has a workflow: only its row's lock does."""
        master = self.master(Sleeper)
        await master.control.start("Sleeper", [0.0], "ann", name="s")
        [due] = await store.due_workflows(self.database, 0, 9)

        async def dies(cursor: Cursor) -> None:
            taken = await store.take(cursor, due, (0, -1), 9)
            assert taken is not None
            raise Killed

        await self.killed(self.database.transaction(dies))
        await master.go_on()
        self.assertEqual((await self.state("s"))[1], "success")

    async def test_a_batch_that_aborts_strands_nobody(self) -> None:
        """One row that cannot be read costs that workflow alone."""
        master = self.master(Sleeper)
        for number in range(5):
            await master.control.start("Sleeper", [0.0], "ann", name=f"s{number}")
        await self.database.run(
            "UPDATE workflow_event SET payload = '{}' WHERE workflow ="
            " (SELECT id FROM workflow WHERE name = 's1')"
        )
        await master.go_on()
        self.flushLoggedErrors()
        ended = [(await self.state(f"s{number}"))[0] for number in range(5)]
        self.assertEqual(ended, ["done", "parked", "done", "done", "done"])

    async def test_a_parent_that_ends_before_its_children_exist(self) -> None:
        master = self.master(Parents, Sleeper)
        await master.control.start("Parents", [], "ann", name="p")
        [parent] = await store.due_workflows(self.database, 0, 9)
        await master.stepper.step(parent)
        self.assertEqual(await self.count("workflow WHERE parent IS NOT NULL"), 3)
        await master.go_on()
        self.assertEqual((await self.state("p"))[3], ["awake"] * 3)

    async def test_polling_storms(self) -> None:
        """However many sleep, one call is planned, and it is for the first of them."""
        master = self.master(Sleeper)
        for number in range(20):
            await master.control.start("Sleeper", [20.0 + number], "ann", name=f"s{number}")
        await master.go_on()
        clock = Clock()
        timing = Timing(self.database, clock, lambda: None)
        await timing.round()
        [call] = clock.getDelayedCalls()
        self.assertGreater(call.getTime(), 1)
        # What is due, and cannot be had, is not asked for again at once.
        await self.let_pass(1000)
        await self.database.run("UPDATE workflow_timer SET seq = seq")
        await timing.round()
        await timing.round()
        self.assertLessEqual(len(clock.getDelayedCalls()), 1)
        timing.stop()

    async def test_a_thread_for_each_waiter(self) -> None:
        master = self.master(Sleeper, Long)
        await master.control.start("Sleeper", [3600.0], "ann", name="first")
        await master.go_on()
        threads, calls = threading.active_count(), len(reactor.getDelayedCalls())
        connections = master.database.connections()
        for number in range(50):
            await master.control.start("Sleeper", [3600.0], "ann", name=f"s{number}")
            await master.control.start("Long", [], "ann", name=f"l{number}")
        await master.go_on()
        self.assertLessEqual(threading.active_count(), threads + 1)
        self.assertLessEqual(len(reactor.getDelayedCalls()), calls + 1)
        self.assertEqual(
            sum(master.database.connections().values()), sum(connections.values())
        )

    async def test_retries_without_a_class_that_hit_who_is_slow(self) -> None:
        """Pauses grow, tries are counted, and what no try mends is not tried."""
        policy = Retry(limit=9, delay=1, longest=60)
        pauses = [policy.pause(tries) for tries in range(1, 9)]
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60])

        def away(number: int) -> Any:
            raise OSError("slow")

        CALLS.then = away
        master = self.master(Picky)
        await master.control.start("Picky", [], "ann", name="p")
        await master.go_on()
        await master.go_on()
        self.assertEqual(len(CALLS.made), 1)  # the pause is not over

    async def test_long_transactions(self) -> None:
        """A call has no transaction open while it lasts, however long that is."""
        released = threading.Event()
        self.addCleanup(released.set)
        CALLS.then = lambda number: released.wait(30)
        master = self.master(Steps)
        await master.control.start("Steps", [1], "ann", name="s")
        await master.stepper.round()
        await master.calls.round()
        (name,) = await self.database.one("SELECT current_database()")
        (held,) = await self.database.one(
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = %s AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
            """,
            (name,),
        )
        self.assertEqual(held, 0)
        released.set()
        await master.calls.drain()

    async def test_silent_loss_of_signals(self) -> None:
        """Early, unknown, wrong or late: each is a row, and whoever looks finds it."""
        master = self.master(samples.Asking)
        await master.control.start("Asking", [], "ann", name="a")
        await master.control.signal("a", "ask", ["early"], "x")
        await master.control.signal("a", "unknown", [1, 2], "x")
        await master.go_on()
        await self.let_pass(11)
        await master.go_on()
        sent = await master.control.signal("a", "ask", ["late"], "x")
        self.assertEqual(sent.state, "done")
        rows = await self.database.rows(
            "SELECT name, late, n IS NOT NULL FROM workflow_event WHERE type = 'signal'"
            " ORDER BY id"
        )
        self.assertEqual(
            rows, [("ask", False, True), ("unknown", False, True), ("ask", True, False)]
        )

    async def test_clocks_that_differ(self) -> None:
        """Only the database's clock counts: a master's may say what it likes."""
        master = self.master(Sleeper, Dated)
        self.patch(time, "time", lambda: 1e10)  # in the year 2286
        await master.control.start("Sleeper", [3600.0], "ann", name="s")
        await master.control.start("Dated", [], "ann", name="d")
        await master.go_on()
        self.assertEqual((await self.state("s"))[0], "open")
        self.assertLess((await self.state("d"))[3], "2200")

        async def in_a_century(cursor: Cursor) -> int:
            await cursor.run("SET LOCAL headrace.now = '2126-01-01'")
            (fired,) = await cursor.one("SELECT fire_timers(10)")
            return int(fired)

        self.assertEqual(await self.database.transaction(in_a_century), 1)

    async def test_a_poison_workflow_that_blocks_the_others(self) -> None:
        """However many are parked, and come first, the one behind them has its turn."""
        Broken.is_mended = False
        self.addCleanup(setattr, Broken, "is_mended", True)
        master = self.master(Broken, Sleeper)
        for number in range(10):
            await master.control.start("Broken", [], "ann", name=f"b{number}")
        await master.go_on()
        self.patch(sys.modules["buildmaster.orchestration.stepping"], "LOOKED_FOR", 2)
        await self.let_pass(5)
        await master.control.start("Sleeper", [0.0], "ann", name="s")
        await master.go_on()
        self.assertEqual((await self.state("s"))[1], "success")
        self.assertIsInstance(master.database, Database)
