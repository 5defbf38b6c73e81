"""What can be a workflow, and what is refused before it does harm."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import uuid
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.workflow import Context, query, signal, workflow
from buildmaster.workflow.definition import definition_of
from buildmaster.workflow.failures import BadPayload, BadWorkflow, Unexpected
from buildmaster.workflow.payload import PAYLOAD_LIMIT, plain
from buildmaster.workflow.testing import Rehearsal
from tests.buildmaster.workflow import samples


def _helper() -> float:
    return time.time()


class _Bare:
    async def run(self, ctx: Context) -> None: ...


class TrapTests(SynchronousTestCase):
    """What differs from replay to replay is refused where it is seen."""

    def assert_refused(self, cls: type[Any], *words: str) -> None:
        error = self.assertRaises(BadWorkflow, workflow, cls)
        for word in (*words, "test_definition.py:"):
            self.assertIn(word, str(error))

    def test_clocks(self) -> None:
        class Clock:
            async def run(self, ctx: Context) -> float:
                return time.time()

        class Today:
            async def run(self, ctx: Context) -> datetime:
                return datetime.now()

        class Hidden:
            async def run(self, ctx: Context) -> float:
                return _helper()

        self.assert_refused(Clock, "time.time", "ctx.now()")
        self.assert_refused(Today, "datetime.now()")
        self.assert_refused(Hidden, "time.time")

    def test_chance_and_ids(self) -> None:
        class Dice:
            async def run(self, ctx: Context) -> float:
                return random.random()

        class Ids:
            async def run(self, ctx: Context) -> str:
                return str(uuid.uuid4())

        class Environment:
            async def run(self, ctx: Context) -> str:
                return os.environ["HOME"]

        self.assert_refused(Dice, "ctx.random")
        self.assert_refused(Ids, "ctx.uuid()")
        self.assert_refused(Environment, "an argument")

    def test_loops_threads_and_files(self) -> None:
        class Loop:
            async def run(self, ctx: Context) -> None:
                await asyncio.sleep(1)

        class Thread:
            async def run(self, ctx: Context) -> None:
                threading.Thread(target=print).start()

            @signal
            def read(self) -> None:
                open("/etc/passwd")

        self.assert_refused(Loop, "ctx.sleep()")
        error = self.assertRaises(BadWorkflow, workflow, Thread)
        self.assertIn("open", str(error))

    def test_the_order_of_sets(self) -> None:
        class Sets:
            async def run(self, ctx: Context, names: list[str]) -> None:
                for name in set(names):
                    await ctx.execute_job("build", name=name)

        self.assert_refused(Sets, "the order of a set", "sorted(...)")

    def test_what_only_shows_when_it_runs(self) -> None:
        @workflow
        class Foreign:
            async def run(self, ctx: Context) -> None:
                await Deferred()

        error = self.assertRaises(Unexpected, Rehearsal, Foreign)
        self.assertIn("awaits only what its context gives", str(error))


class DefinitionTests(SynchronousTestCase):
    def test_what_is_no_workflow_is_refused_with_a_sentence(self) -> None:
        class NoRun:
            pass

        class Star(_Bare):
            @signal
            def some(self, *what: int) -> None: ...

        self.assertRaises(BadWorkflow, workflow, NoRun)
        self.assertRaises(BadWorkflow, workflow, Star)
        self.assertRaises(BadWorkflow, workflow(name="no name"), _Bare)
        self.assertRaises(BadWorkflow, definition_of, _Bare)
        self.assertRaises(BadWorkflow, query, _Bare.run)

    def test_arguments_are_of_their_types_by_place_or_by_name(self) -> None:
        handler = definition_of(samples.Build).signals["build_ended"]
        self.assertEqual(handler.arguments(["x", True]), ["x", True])
        self.assertEqual(handler.arguments({"ok": False, "chroot": "y"}), ["y", False])
        self.assertEqual(handler.dedupe_key(["x", True]), "build_ended x")
        for wrong in (["x"], ["x", 1], ["x", True, 2], {"chroot": "x"}, {"z": 1}, "x", 5):
            self.assertRaises(BadPayload, handler.arguments, wrong)

    def test_payloads_are_json_of_a_limited_size(self) -> None:
        self.assertEqual(plain((1, {"a": [None, 2.5]})), [1, {"a": [None, 2.5]}])
        for wrong in (
            {1, 2},
            {1: 2},
            float("nan"),
            "\0",
            "\ud800",
            object(),
            "x" * PAYLOAD_LIMIT,
        ):
            self.assertRaises(BadPayload, plain, wrong)
        deep: Any = []
        for _ in range(100):
            deep = [deep]
        self.assertRaises(BadPayload, plain, deep)
