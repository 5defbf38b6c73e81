"""A virtual machine, from nothing to nothing; beside it the least that does the same.

That is: a tar archive on one disk goes in, a command runs, its log and its status come out
of two serial ports, and a tar archive of the project out of another disk.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from worker.environments import traces
from worker.environments.cpio import Member, archive
from worker.environments.disks import FILE, Disks
from worker.environments.images import Image
from worker.environments.kernel import Kernels
from worker.environments.limits import Limits
from worker.environments.machine import accelerator
from worker.environments.vm import VirtualMachine

_ROOM = 1 << 30
_MEMORY = 512 << 20

#: The least that must be done inside.
_INIT = b"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for m in $(cat /modules/order); do insmod /modules/$m; done
while ! [ -b /dev/vdc ]; do sleep 0.05; done
mount -t ext4 -o noatime,noinit_itable /dev/vda /root
mount --move /dev /root/dev
mount -t proc proc /root/proc
mkdir -p /root/build/project
tar -x -f /root/dev/vdb -C /root/build/project
while ! [ -c /root/dev/vport*p2 ]; do sleep 0.05; done
status=$(echo /root/dev/vport*p2)
log=$(echo /root/dev/vport*p1)
echo booted > $status
chroot /root sh -c 'cd /build/project && /bin/true' > $log 2>&1
echo exit $? > $status
tar -c -f /root/dev/vdc -C /root/build/project .
echo done > $status
poweroff -f
"""


def pair(
    image: Image, place: Path
) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """A fresh machine that runs ``true``, and the same by qemu alone."""
    images = image.path.parents[1]
    kernel = Kernels(images, "amd64").find(print)
    disk = Disks(images).find([image.path], _ROOM, print)
    accel = accelerator(kernel, "amd64", images, print)
    first = place / "initramfs"
    first.write_bytes(
        kernel.first_files.read_bytes() + archive([Member("bare", 0o755, _INIT)])
    )

    def ours(folder: Path) -> None:
        machine = VirtualMachine(
            image.path,
            folder,
            images=images,
            architecture="amd64",
            say=print,
            network=False,
            limits=Limits(memory=_MEMORY, processes=4096, disk=_ROOM),
        )
        try:
            machine.prepare()
            machine.begin()
            machine.push(Path(__file__), f"{machine.project}/file")
            process = machine.command(["/bin/true"], environment={}, directory="/")
            assert process.wait() == 0 and process.stdout is not None
            process.stdout.close()
            machine.pull(machine.project, folder.with_name(f"{folder.name}.out"))
            machine.end()
        finally:
            machine.destroy()

    def bare(folder: Path) -> None:
        folder.mkdir()
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        base = str(disk.path / FILE)
        subprocess.run([*make, "-b", base, "overlay"], cwd=folder, check=True)
        with tarfile.open(folder / "in", "w") as packed:
            packed.add(__file__, "file")
        (folder / "out").touch()
        os.truncate(folder / "out", 64 << 20)
        argv = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-display", "none", "-serial", "stdio", "-monitor", "none"),
            *("-machine", f"q35,accel={accel}", "-cpu", "max", "-smp", "1"),
            *("-m", str(_MEMORY >> 20), "-kernel", str(kernel.packed)),
            *("-initrd", str(first)),
            *("-append", "console=ttyS0 quiet panic=-1 rdinit=/bare"),
            *("-drive", "if=none,id=disk,file=overlay,format=qcow2,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-drive", "if=none,id=in,file=in,format=raw,readonly=on"),
            *("-device", "virtio-blk-pci,drive=in"),
            *("-drive", "if=none,id=out,file=out,format=raw,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=out"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", "file,id=log,path=log"),
            *("-device", "virtserialport,chardev=log,name=log"),
            *("-chardev", "file,id=status,path=status"),
            *("-device", "virtserialport,chardev=status,name=status"),
        ]
        subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, check=True)
        told = (folder / "status").read_text().split()
        assert told == ["booted", "exit", "0", "done"], told
        with tarfile.open(folder / "out") as packed:
            assert "./file" in packed.getnames()
        traces.remove(folder)

    return ours, bare
