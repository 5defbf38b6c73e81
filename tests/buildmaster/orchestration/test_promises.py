"""What a workflow is promised when things go wrong around it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from buildmaster.requests import Refusal
from buildmaster.workflow import Context, LocalCall, local, workflow
from buildmaster.workflow.history import MOST_EVENTS
from buildmaster.workflow.payload import PAYLOAD_LIMIT
from tests.buildmaster.orchestration.test_stepping import (
    CALLS,
    Broken,
    Fan,
    Long,
    Sleeper,
    StepCase,
)
from tests.buildmaster.workflow import samples


@local
def large(call: LocalCall, size: int) -> str:
    CALLS.note(call.key, size)
    return "x" * size


@workflow
class Large:
    """A local action that returns a lot."""

    async def run(self, ctx: Context, size: int) -> str:
        try:
            return f"{len(await ctx.execute_local(large, size))} characters"
        except Exception as error:
            return str(error)


@workflow
class Legs:
    """Two local actions, one after the other, and the same once more as new."""

    async def run(self, ctx: Context, again: bool) -> None:
        for _ in range(2):
            await ctx.execute_local(large, 1)
        if again:
            ctx.continue_as_new(False)


class PromiseTests(StepCase):
    async def _start_many(self, master: Any, **more: Any) -> list[Any]:
        """What became of ten starts of one name at once."""

        async def start() -> Any:
            try:
                return await master.control.start("Sleeper", [0.0], "ann", **more)
            except Refusal as error:
                return error.code

        return list(
            await gatherResults([Deferred.fromCoroutine(start()) for _ in range(10)])
        )

    async def test_who_starts_one_name_at_once_starts_one(self) -> None:
        master = self.master(Sleeper)
        for policy in ("join", "replace-after-close"):
            started = await self._start_many(master, name=policy, on_duplicate=policy)
            self.assertEqual([each.joined for each in started].count(False), 1)
            self.assertEqual(len({each.id for each in started}), 1)
        await master.go_on()
        again = await self._start_many(
            master, name="replace-after-close", on_duplicate="replace-after-close"
        )
        self.assertEqual([each.joined for each in again].count(False), 1)

    async def test_who_rejects_a_taken_name_is_told_so_in_a_race_too(self) -> None:
        master = self.master(Sleeper)
        told = await self._start_many(master, name="mine", on_duplicate="reject")
        self.assertEqual(told.count("name_taken"), 9)
        await master.go_on()
        told = await self._start_many(master, name="mine", on_duplicate="reject")
        self.assertEqual(told.count("name_taken"), 10)

    async def test_signals_before_run_while_no_master_runs_and_twice(self) -> None:
        master = self.master(samples.Build)
        await master.control.start("Build", ["p"], "ann", name="b")
        for chroot in ("binary", "source", "source"):
            await master.control.signal("b", "build_ended", [chroot, True], "x")
        self.assertEqual(await self.count("workflow_event WHERE n IS NOT NULL"), 0)
        await master.go_on()
        self.assertEqual((await self.state("b"))[3], "built")
        self.assertEqual(await self.count("workflow_event WHERE type = 'signal'"), 2)

    async def test_a_signal_to_one_that_ended_is_recorded_and_answered_so(self) -> None:
        master = self.master(Sleeper)
        await master.control.start("Sleeper", [0.0], "ann", name="s")
        await master.go_on()
        sent = await master.control.signal("s", "anything", [1], "x", "1")
        self.assertEqual((sent.state, sent.repeated), ("done", False))
        again = await master.control.signal("s", "anything", [1], "x", "1")
        self.assertTrue(again.repeated)
        await master.go_on()
        [row] = await self.database.rows(
            "SELECT payload, late, n FROM workflow_event WHERE type = 'signal'"
        )
        self.assertEqual(row, ([1], True, None))

    async def test_an_unknown_signal_is_kept_and_warned_of(self) -> None:
        told: list[str] = []

        @implementer(ILogObserver)
        def observe(event: Any) -> None:
            if event.get("told"):
                told.append(f"{event['name']}: {event['told']}")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        master = self.master(Long)
        await master.control.start("Long", [], "ann", name="l")
        await master.control.signal("l", "no_such_thing", [1], "x")
        await master.go_on()
        self.assertEqual(told, ["l: there is no signal no_such_thing here (event 1)"])
        self.assertEqual(
            await self.count("workflow_event WHERE name = 'no_such_thing' AND n = 1"), 1
        )
        self.assertEqual((await self.state("l"))[0], "open")

    async def test_a_time_out_ends_it_with_its_jobs(self) -> None:
        master = self.master(Fan)
        await master.control.start("Fan", [2], "ann", name="f", execution_timeout=60)
        await master.go_on()
        await self.let_pass(61)
        await master.go_on()
        state = await self.state("f")
        self.assertEqual(state[:2], ("done", "timeout"))
        self.assertEqual([end for _, _, end in await self.jobs()], ["cancelled"] * 2)

    async def test_a_time_out_ends_also_one_whose_code_cannot_be_run(self) -> None:
        Broken.is_mended = False
        master = self.master(Broken)
        await master.control.start("Broken", [], "ann", name="b", execution_timeout=60)
        await master.go_on()
        self.assertEqual((await self.state("b"))[0], "parked")
        await self.let_pass(61)
        # Not even its class is there any more.
        await self.master(Sleeper).go_on()
        state, result, reason, _ = await self.state("b")
        self.assertEqual((state, result), ("done", "timeout"))
        self.assertIn("no workflow class Broken", reason)
        self.assertEqual(await self.count("workflow_timer"), 0)

    async def test_a_history_of_ten_thousand_events_is_the_end(self) -> None:
        master = self.master(Long)
        await master.control.start("Long", [], "ann", name="l")
        await master.go_on()
        await self.database.run(
            """
            INSERT INTO workflow_event (workflow, type, name, dedupe_key)
            SELECT id, 'signal', 'tick', 'tick ' || number
            FROM workflow, generate_series(1, %s) AS number
            """,
            (MOST_EVENTS,),
        )
        await master.go_on()
        state, result, reason, _ = await self.state("l")
        self.assertEqual((state, result), ("done", "failure"))
        self.assertIn("continue_as_new", reason)

    async def test_what_a_local_action_returns_has_a_limit(self) -> None:
        master = self.master(Large)
        for size in (PAYLOAD_LIMIT - 2, PAYLOAD_LIMIT):
            await master.control.start("Large", [size], "ann", name=f"l{size}")
        for _ in range(6):
            await master.go_on()
            await self.let_pass(301)
        fits, not_so = [
            (await self.state(f"l{size}"))[3] for size in (PAYLOAD_LIMIT - 2, PAYLOAD_LIMIT)
        ]
        self.assertEqual(fits, f"{PAYLOAD_LIMIT - 2} characters")
        self.assertIn("store it as an artifact", not_so)

    async def test_a_call_has_one_key_for_all_its_tries_and_no_other_call_has_it(
        self,
    ) -> None:
        CALLS.then = lambda number: 1 // 0 if number == 1 else None
        master = self.master(Legs)
        await master.control.start("Legs", [True], "ann", name="l")
        for _ in range(2):
            await master.go_on()
            await self.let_pass(61)
        await master.go_on()
        keys = [key for key, _ in CALLS.made]
        self.assertEqual(len(keys), 5)
        self.assertEqual(keys[0], keys[1])
        self.assertEqual(len(set(keys)), 4)
