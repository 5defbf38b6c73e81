from __future__ import annotations

import struct
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from worker.environments.cpio import Member, archive
from worker.environments.kernel import in_order
from worker.environments.unpacking import unpacked


def image(packed: bytes) -> bytes:
    """A kernel with ``packed`` in it."""
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 0, len(packed))
    return bytes(head) + packed


class UnpackedTests(SynchronousTestCase):
    def test_a_kernel_packed_with_lz4_is_unpacked(self) -> None:
        # Literals, a copy from afar, a pattern that repeats, and a length of several bytes.
        block = (
            b"\x44\x7fELF\x04\x00"  # 4 literals; then 8 from 4 back: overlaps
            b"\x1f!\x01\x00\xff\x04"  # 1 literal; then 15 + 255 + 4 + 4 from 1 back
            b"\x20ok"
        )
        packed = b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block
        wanted = b"\x7fELF" * 3 + b"!" * (1 + 278) + b"ok"
        self.assertEqual(unpacked(image(packed)), wanted)

    def test_what_is_packed_otherwise_stays_as_it_is(self) -> None:
        for other in (image(b"\xfd7zXZ\0 and so on"), b"MZ", bytes(2000)):
            self.assertEqual(unpacked(other), other)


class InOrderTests(SynchronousTestCase):
    def test_what_a_module_needs_comes_before_it(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, needs in (
            ("virtio_net", "net_failover"),
            ("net-failover", "failover"),
            ("failover", ""),
            ("other", ""),
        ):
            (folder / f"{name}.ko").write_bytes(b"\0depends=%s\0" % needs.encode())
        found = in_order(list(folder.iterdir()), ("virtio_net", "built-in"))
        names = [name for name, _ in found]
        self.assertEqual(names, ["failover", "net_failover", "virtio_net"])


class ArchiveTests(SynchronousTestCase):
    def test_names_and_contents_are_where_the_kernel_looks_for_them(self) -> None:
        made = archive([Member("d"), Member("d/f", 0o644, b"abc")])
        self.assertEqual(made[:6], b"070701")
        self.assertEqual(len(made) % 4, 0)
        place = made.index(b"d/f\0")
        self.assertEqual(int(made[place - 110 + 54 : place - 110 + 62], 16), 3)
        self.assertIn(b"abc", made[place:])
        self.assertIn(b"TRAILER!!!", made)
