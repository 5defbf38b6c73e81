"""Foreign architectures: those whose programs an emulator runs, as the kernel was told.

Debian's package ``qemu-user-static`` tells the kernel (binfmt_misc) of its emulators so
that they work in chroots, too: the flag F has the kernel open the emulator beforehand.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

#: What qemu calls an architecture -> what Debian does.
_NAMES = {
    "aarch64": "arm64",
    "arm": "armhf",
    "i386": "i386",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "x86_64": "amd64",
}


def emulated(registered: Path = Path("/proc/sys/fs/binfmt_misc")) -> tuple[str, ...]:
    """Debian's names of the architectures that work in chroots by emulation, sorted."""
    found = []
    for name, architecture in _NAMES.items():
        with suppress(OSError):
            told = (registered / f"qemu-{name}").read_text().splitlines()
            flags = next((line[6:] for line in told if line.startswith("flags:")), "")
            if "enabled" in told and "F" in flags:
                found.append(architecture)
    return tuple(sorted(found))


def missing(architecture: str) -> str:
    """Why chroots of ``architecture`` are not offered, and what to do."""
    return (
        f"no chroots of {architecture} are offered: this machine has no emulator for it "
        "(apt-get install qemu-user-static)"
    )
