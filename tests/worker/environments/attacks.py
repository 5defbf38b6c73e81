"""What hostile code tries in an environment that is to hold it; a suite for each.

Every attack must fail, or end what attacked; and the next command, of the next pipeline
job, must find everything as it should be.
"""

from __future__ import annotations

import os
from uuid import uuid4

from tests.worker.environments.conformance import EnvironmentCase
from worker.environments.limits import Limits

LIMITS = Limits(memory=192 << 20, processes=100, disk=160 << 20)


class Attacks(EnvironmentCase):
    """Cases for environments made with `LIMITS` and without a network."""

    def setUp(self) -> None:
        super().setUp()
        self.environment.begin()

    def needs_bounds(self) -> None:
        """Skip where each process is held by itself, and nobody knows by what it ended."""

    def all_is_well(self) -> None:
        """The next pipeline job works, and nothing of the last one is left."""
        self.environment.end()
        self.environment.begin()
        self.assertEqual(self.environment.exhausted(), "")
        self.assertEqual(self.output("ls -A; echo x > f; cat f"), "x\n")

    def test_a_fork_bomb_is_held_to_a_number_of_processes(self) -> None:
        self.needs_bounds()
        word = uuid4().hex
        command = self.command(
            f"bomb() {{ (exec -a {word} sleep 600) & }}; for i in {{1..400}}; do bomb; done"
        )
        assert command.stdout is not None
        while b"fork" not in command.stdout.readline():
            pass
        self.assertLessEqual(len(self.living(word)), 100)
        self.assertIn("process_limit", self.environment.exhausted())
        self.all_is_well()
        self.assertEqual(self.living(word), [])

    def test_a_hog_of_memory_is_killed(self) -> None:
        self.needs_bounds()
        self.output("perl -e '$x = chr(120) x 3e8; print length $x'")
        self.assertIn("memory_limit", self.environment.exhausted())
        self.all_is_well()

    def test_memory_in_files_counts_too(self) -> None:
        text = self.output("head -c 400m /dev/zero > /dev/shm/f && echo all of it")
        self.assertNotIn("all of it", text)
        self.all_is_well()

    def test_a_filler_of_disks_meets_the_bound(self) -> None:
        self.needs_bounds()
        text = self.output("head -c 400m /dev/zero > ~/f; echo $?")
        self.assertIn("No space left on device", text)
        self.assertIn("disk_limit", self.environment.exhausted())
        self.output("rm ~/f")
        self.all_is_well()

    def test_many_small_files_meet_it_too(self) -> None:
        self.needs_bounds()
        text = self.output(
            "mkdir m; cd m; perl -e 'for (1..400000) { open F, q(>), $_ or die $! }' 2>&1"
        )
        self.assertIn("No space left on device", text)
        self.assertIn("disk_limit", self.environment.exhausted())
        self.output("cd ..; rm -r m")
        self.all_is_well()

    def test_the_network_is_off(self) -> None:
        text = self.output(
            "for a in 127.0.0.1/22 10.0.2.2/22 1.1.1.1/53 8.8.8.8/53; do"
            ' (timeout 5 bash -c "echo > /dev/tcp/$a") 2>&1 && echo reached; done'
        )
        self.assertNotIn("reached", text)
        self.all_is_well()

    def test_the_machine_s_secrets_are_out_of_sight(self) -> None:
        secret = self.base / "token"
        secret.write_text(word := uuid4().hex)
        text = self.output(
            f"cat '{secret}' /proc/*/root'{secret}' /proc/*/cwd'{secret}' 2>/dev/null;"
            f"cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep {word};"
            f"grep -r {word} /dev/shm /tmp /run 2>/dev/null; echo end"
        )
        self.assertEqual(text, "end\n")
        self.all_is_well()

    def test_the_worker_can_not_be_signalled(self) -> None:
        self.output(f"kill -9 {os.getpid()} {os.getppid()}; kill -9 1; kill -9 -1")
        self.all_is_well()

    def test_what_it_mounts_is_gone_with_it(self) -> None:
        self.output("mount -t tmpfs x /mnt; mount --bind / /mnt; unshare -m true")
        self.all_is_well()
        self.assertEqual(self.output("grep -c ' /mnt ' /proc/mounts"), "0\n")
