"""The disks that virtual machines start from: images, with their layers, in a file each."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from worker.environments import fitting, rootfs, traces
from worker.environments.bootstrap import NoImage
from worker.environments.images import DISKS
from worker.environments.quota import mke2fs
from worker.environments.store import Held, Store, disk_usage
from worker.environments.tree import Tree

#: qemu's own network asks the machine's resolver for those within.
_RESOLVER = b"nameserver 10.0.2.3\n"
FILE = "disk.ext4"
#: Bytes that the file system takes for itself.
_OWN_ROOM = 48 << 20


class Disks:
    """The disks beside the images in a folder."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder / DISKS)

    def find(self, stack: Sequence[Path], room: int, say: Callable[[str], None]) -> Held:
        """A disk with ``stack`` (layers, the image last) and ``room`` bytes left.

        Made, some 5 seconds, if there is none.  NoImage if that fails.
        """
        told = [*(path.name for path in stack), str(room)]
        key = hashlib.sha256(" ".join(told).encode()).hexdigest()
        held = self._store.hold(key)
        if held is None:
            say("Making a disk for virtual machines of this image")
            self._store.add(key, lambda to: _make(stack, room, to))
            held = self._store.hold(key)
        if held is None:
            raise NoImage("The disk for virtual machines was removed a moment ago.")
        return held


def _make(stack: Sequence[Path], room: int, to: Path) -> None:
    place = to / "making"
    place.mkdir()
    try:
        root = rootfs.mount_root(stack, place, lambda line: None, None)
        with closing(root):
            with closing(Tree(os.dup(root.folder))) as tree:
                fitting.fit(tree)
                tree.write("/etc/resolv.conf", _RESOLVER)
                for name in ("proc", "sys", "dev", "run"):
                    tree.make_folder(f"/{name}")
            disk = to / FILE
            with disk.open("xb") as file:
                taken = sum(disk_usage(layer) for layer in stack)
                file.truncate(room + taken * 11 // 10 + _OWN_ROOM)
            options = ["-d", f"/proc/{os.getpid()}/fd/{root.folder}/"]
            mke2fs(disk, options)
            # The virtual machine's own user reads it.
            disk.chmod(0o644)
            to.chmod(0o755)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoImage(f"No disk for virtual machines could be made: {error}.") from None
    finally:
        traces.remove(place)
