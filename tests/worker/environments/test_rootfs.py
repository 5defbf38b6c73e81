from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from tests.worker.environments.owned import owned
from worker.environments import quota, rootfs, syscalls, traces
from worker.environments.rootfs import mount_root


class MountRootTests(SynchronousTestCase):
    disk: int | None = None

    def setUp(self) -> None:
        require(self, os.geteuid() == 0, "mounting needs root")
        self.base = Path(mkdtemp(prefix="headrace, a:b ", dir="/tmp"))
        self.addCleanup(traces.remove, self.base)
        self.image = self.base / "image"
        (self.image / "etc").mkdir(parents=True)
        (self.image / "etc" / "f").write_text("from the image")
        self.said: list[str] = []

    def mounted(self, folder: Path) -> Path:
        """A file system in ``folder``, as this process can see it."""
        folder.mkdir()
        root = mount_root([self.image], folder, self.said.append, self.disk)
        self.addCleanup(root.close)
        self.root = root
        return Path(f"/proc/self/fd/{root.folder}")

    def check(self, root: Path) -> None:
        self.assertEqual((root / "etc" / "f").read_text(), "from the image")
        (root / "etc" / "f").write_text("changed")
        self.assertEqual((root / "etc" / "f").read_text(), "changed")
        self.assertEqual((self.image / "etc" / "f").read_text(), "from the image")
        self.assertEqual(root.stat().st_mode & 0o777, 0o755)
        os.mknod(root / "null", 0o20666, os.makedev(1, 3))
        self.assertRaises(PermissionError, open, root / "null", "rb")

    def test_what_is_written_stays_out_of_the_image(self) -> None:
        self.check(self.mounted(self.base / "e"))
        self.assertEqual(self.said, [])

    def test_it_is_gone_with_its_last_descriptor(self) -> None:
        folder = self.base / "e"
        folder.mkdir()
        mount_root([self.image], folder, self.said.append, None).close()
        self.assertEqual(list((folder / "root").iterdir()), [])

    def test_a_file_system_without_overlays_is_replaced_by_memory(self) -> None:
        """An overlay's own files can't be the upper layer of another."""

        def body() -> None:
            syscalls.unshare(syscalls.NEWNS)
            syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
            os.chdir(self.base)
            for name in ("upper", "work", "lower", "on-overlay"):
                Path(name).mkdir()
            options = "lowerdir=lower,upperdir=upper,workdir=work"
            syscalls.mount("test", "on-overlay", "overlay", 0, options)
            self.check(self.mounted(self.base / "on-overlay" / "e"))
            self.assertIn("memory", self.said[0])

        self.assertEqual(_in_child(body), "")

    def test_a_machine_without_overlays_copies(self) -> None:
        self.patch(rootfs, "_overlay", lambda *arguments: rootfs._COPIED)
        self.check(self.mounted(self.base / "e"))
        self.assertIn("copying", self.said[0])

    def test_a_layer_lies_upon_the_image(self) -> None:
        layer = self.base / "layer"
        (layer / "etc").mkdir(parents=True)
        (layer / "etc" / "f").write_text("from the layer")
        (self.base / "e").mkdir()
        root = mount_root([layer, self.image], self.base / "e", self.said.append, None)
        self.addCleanup(root.close)
        seen = Path(f"/proc/self/fd/{root.folder}/etc/f")
        self.assertEqual(seen.read_text(), "from the layer")

    def test_a_disk_of_a_fixed_size_is_full_when_it_is(self) -> None:
        self.disk = 20 << 20
        root = self.mounted(self.base / "e")
        self.check(root)
        self.assertFalse(self.root.is_full())
        with self.assertRaisesRegex(OSError, "No space left"):
            (root / "large").write_bytes(bytes(30 << 20))
        self.assertTrue(self.root.is_full())
        self.assertEqual(self.said, [])

    def test_without_loop_devices_it_is_told_that_the_disk_has_no_bound(self) -> None:
        def refuse(*arguments: object) -> None:
            raise FileNotFoundError(2, "there are none", "/dev/loop-control")

        self.patch(quota, "mount_disk", refuse)
        self.disk = 20 << 20
        self.check(self.mounted(self.base / "e"))
        self.assertIn("loop devices", self.said[0])
        self.assertFalse(self.root.is_bounded)

    def test_a_failing_mount_leaves_no_process(self) -> None:
        def fail(*arguments: object) -> str:
            raise OSError(5, "the disk is broken")

        self.patch(rootfs, "_overlay", fail)
        before = owned()
        with self.assertRaisesRegex(Exception, "the disk is broken"):
            self.mounted(self.base / "e")
        self.assertEqual(owned(), before)


def _in_child(body: Callable[[], None]) -> str:
    """What went wrong with ``body`` in a process of its own."""
    report_end, report = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            body()
        except BaseException:
            os.write(report, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(report)
    with os.fdopen(report_end) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return text
