"""A chroot, from nothing to nothing; beside it a shell that does the least by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from worker.environments.chroot import Chroot
from worker.environments.images import Image
from worker.environments.limits import Limits

#: What an operator gets who sets nothing.
LIMITS = Limits(memory=4 << 30, processes=4096, disk=20 << 30)

_SHELL = """\
set -e
mkdir -p "$1/upper" "$1/work" "$1/root"
cd "$1"
unshare --mount --propagation private sh -ec '
mount -t overlay -o "lowerdir=$1,upperdir=upper,workdir=work" overlay root
unshare --mount --pid --net --uts --ipc --fork --kill-child --propagation private sh -ec "
mount -t proc proc root/proc
mount -t tmpfs -o mode=755 dev root/dev
for name in null zero full random urandom tty; do
    touch root/dev/\\$name
    mount --bind /dev/\\$name root/dev/\\$name
done
mkdir root/dev/pts root/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts root/dev/pts
mount -t tmpfs shm root/dev/shm
exec chroot root /bin/true
"
umount root
' sh "$2"
cd /
rm -rf "$1"
"""


def pair(
    image: Image, place: Path
) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """A fresh chroot that runs ``true``, and the same by a shell."""

    def ours(folder: Path) -> None:
        chroot = Chroot(image.path, folder, say=print, network=False, limits=LIMITS)
        chroot.prepare()
        chroot.begin()
        process = chroot.command(["/bin/true"], environment={}, directory="/")
        assert process.wait() == 0 and process.stdout is not None
        process.stdout.close()
        chroot.end()
        chroot.destroy()

    def shell(folder: Path) -> None:
        argv = ["sh", "-c", _SHELL, "sh", str(folder), str(image.path)]
        subprocess.run(argv, check=True, env={"PATH": os.environ["PATH"]})

    return ours, shell
