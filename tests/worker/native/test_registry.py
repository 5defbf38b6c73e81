"""`worker.native.registry`: what may be performed, and what is refused at the start."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.worker.native.hostile import Job
from worker.native.builtin import BUILT_IN
from worker.native.registry import (
    BadNativeJob,
    check_commands,
    find_callables,
    is_quick,
    named,
)


def nothing(arguments: dict[str, Any], context: object) -> None:
    """A call that does nothing."""


class CallableTests(SynchronousTestCase):
    def test_the_built_in_ones_are_always_there(self) -> None:
        self.assertLessEqual({"noop", "sleep"}, set(find_callables()))

    def test_names_are_plain_and_short(self) -> None:
        for name in ("a", "count-words", "a.b_c", "0", "x" * 100):
            self.assertEqual(list(named([Job(name, nothing)])), [name])
        names: list[Any] = ["", "-a", ".", "a b", "a\n", "ä", "x" * 101, None, 7, b"a"]
        for name in names:
            with self.assertRaises(BadNativeJob, msg=repr(name)) as caught:
                named([Job(name, nothing)])
            self.assertIn("hostile.Job", str(caught.exception))

    def test_two_of_one_name_are_refused_but_not_one_found_twice(self) -> None:
        with self.assertRaises(BadNativeJob) as caught:
            named([*BUILT_IN, Job("noop", nothing)])
        self.assertIn("worker.native.builtin.Noop", str(caught.exception))
        self.assertEqual(len(named([*BUILT_IN, *BUILT_IN])), len(BUILT_IN))

    def test_what_cannot_be_run_is_refused(self) -> None:
        job = Job("a", nothing)
        job.run = None  # type: ignore[assignment, method-assign]
        with self.assertRaises(BadNativeJob) as caught:
            named([job])
        self.assertIn("has no run()", str(caught.exception))

    def test_only_a_plain_true_is_quick(self) -> None:
        values: list[Any] = [1, "yes", None, object(), False]
        for value in values:
            self.assertFalse(is_quick(Job("a", nothing, is_quick=value)))
        self.assertTrue(is_quick(Job("a", nothing, is_quick=True)))


class CommandTests(SynchronousTestCase):
    def test_a_program_that_is_there_will_do(self) -> None:
        check_commands({"a": ("true",), "b": ("/bin/sh", "-c", "")}, {})

    def test_others_are_refused(self) -> None:
        for commands, words in (
            ({"a": ("no-such-program",)}, "no program 'no-such-program'"),
            ({"a": ("",)}, "no program ''"),
            ({"a/b": ("true",)}, "no name for a command"),
            ({"noop": ("true",)}, "worker.native.builtin.Noop"),
        ):
            with self.assertRaises(BadNativeJob) as caught:
                check_commands(commands, named(BUILT_IN))
            self.assertIn(words, str(caught.exception))
