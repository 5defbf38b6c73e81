from __future__ import annotations

import contextlib
import os
import select
import signal

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from tests.worker.environments.namespaces import WAY, are_allowed
from tests.worker.environments.owned import owned
from worker.environments import syscalls
from worker.environments.interface import EnvironmentFault
from worker.environments.space import Layout, Refused, Space


class SpaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        require(self, are_allowed(), "this machine lets this user make no namespaces")

    def assert_untouched(self, before: list[str]) -> None:
        """No descriptor and no child, not even a dead one, more than before."""
        self.assertEqual(owned(), before)

    def test_a_space_that_stopped_left_nothing(self) -> None:
        before = owned()
        space = Space(Layout(namespaces=WAY))
        space.stop()
        self.assert_untouched(before)
        self.assertFalse(os.path.exists(f"/proc/{space.init}"))

    def test_what_the_kernel_refuses_is_told_and_leaves_nothing(self) -> None:
        before = owned()
        for _ in range(20):
            error = self.assertRaises(Refused, Space, Layout(namespaces=1 << 31 | WAY))
            self.assertIn("unshare", str(error))
        self.assert_untouched(before)

    def test_mounts_that_fail_are_told_and_leave_nothing(self) -> None:
        before = owned()

        def fail() -> None:
            raise ValueError("no such thing")

        for layout in (
            Layout(namespaces=WAY, furnish=fail),
            Layout(namespaces=WAY, close=fail),
        ):
            error = self.assertRaises(EnvironmentFault, Space, layout)
            self.assertIn("no such thing", str(error))
            self.assert_untouched(before)

    def test_an_init_that_is_already_dead_can_be_stopped(self) -> None:
        before = owned()
        space = Space(Layout(namespaces=WAY))
        os.kill(space.init, signal.SIGKILL)
        space.stop()
        self.assert_untouched(before)

    def test_a_stopped_init_dies_with_its_owner(self) -> None:
        """The end of its input says nothing to a process that doesn't run."""
        told_end, told = os.pipe()
        owner = os.fork()
        if owner == 0:
            try:
                os.write(told, b"%d" % Space(Layout(namespaces=WAY)).init)
                signal.pause()
            finally:
                os._exit(1)
        init = os.pidfd_open(int(os.read(told_end, 20)))
        signal.pidfd_send_signal(init, signal.SIGSTOP)
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        readable, _, _ = select.select([init], [], [], 20)
        self.assertEqual(readable, [init])
        for descriptor in (told_end, told, init):
            os.close(descriptor)


class SyscallTests(SynchronousTestCase):
    def test_an_error_names_the_call_and_its_reason(self) -> None:
        error = self.assertRaises(OSError, syscalls.setns, -1, 0)
        self.assertEqual((error.strerror, error.filename), ("Bad file descriptor", "setns"))

    def test_all_descriptors_but_some_are_closed(self) -> None:
        """Also those up to the first: an empty range once meant all."""
        child = os.fork()
        if child == 0:
            try:
                kept, other = os.pipe()
                syscalls.close_all_but(0, 1, 2, kept)
                os.fstat(0)
                os.fstat(kept)
                with contextlib.suppress(OSError):
                    os.fstat(other)
                    os._exit(1)
                os._exit(0)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
