from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from worker.environments.foreign import emulated


class EmulatedTests(SynchronousTestCase):
    def test_only_what_works_in_a_chroot_counts(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, state, flags in (
            ("qemu-aarch64", "enabled", "OCF"),
            ("qemu-riscv64", "disabled", "OCF"),
            ("qemu-s390x", "enabled", "OC"),
            ("python3.11", "enabled", "F"),
        ):
            text = f"{state}\ninterpreter /usr/bin/x\nflags: {flags}\noffset 0\n"
            (folder / name).write_text(text)
        self.assertEqual(emulated(folder), ("arm64",))
        self.assertEqual(emulated(folder / "none"), ())
