"""What this machine can do for builds: the offers in ``hello``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol.messages import Offer
from protocol.order import HANDED_FILES, TAKEN, Order
from worker.config import WorkerConfig
from worker.environments import own_root
from worker.environments.foreign import emulated, missing
from worker.environments.images import Images
from worker.environments.lxd import program
from worker.environments.machine import can_run

#: Debian's names for what the kernel calls its machine, where dpkg is not there to ask.
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "i686": "i386",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
ANY_SERIES = ("*",)


@dataclass(frozen=True)
class Machine:
    """What can be asked of the machine; tests say something else."""

    is_root: bool
    can_make_images: bool
    architecture: str
    series: str  #: of its own Debian, "" if it is none
    can_run_machines: bool = False
    has_lpci: bool = False
    #: Whether LXD or Incus answers; asked only where its containers are wanted.
    has_containers: Callable[[], bool] = lambda: False
    #: Why an ordinary user's account can't be root in a namespace of its own; "": it can.
    why_no_own_root: str = "it was not asked"
    #: Architectures that an emulator runs, as the kernel was told.
    foreign: tuple[str, ...] = ()


def this_machine() -> Machine:
    """The machine that this daemon runs on."""
    return Machine(
        is_root=os.geteuid() == 0,
        can_make_images=shutil.which("mmdebstrap") is not None,
        architecture=_architecture(),
        series=_own_series(),
        can_run_machines=can_run(_architecture()),
        has_lpci=shutil.which("lpci") is not None,
        has_containers=lambda: program() is not None,
        why_no_own_root="" if os.geteuid() == 0 else own_root.why_not(),
        foreign=emulated(),
    )


def offers(
    config: WorkerConfig, machine: Machine, say: Callable[[str], None]
) -> list[Offer]:
    """What the worker offers; ``say`` hears why something that was asked for is missing."""
    wanted = config.isolations or ("native", "chroot", "vm")
    found = []
    if "native" in wanted:
        found += [
            Offer(isolation="native", architecture=architecture, series=ANY_SERIES)
            for architecture in dict.fromkeys((machine.architecture, *config.architectures))
        ]
    if "chroot" in wanted and config.engine == "lpci":
        if machine.has_lpci:
            found.append(
                Offer(
                    isolation="chroot", architecture=machine.architecture, series=ANY_SERIES
                )
            )
        else:
            say("no chroots are offered: engine is lpci, and this machine has no lpci")
    elif "chroot" in wanted:
        series = _chroot_series(config, machine)
        why = _why_no_chroot(machine, series)
        if config.containers == "lxd" and not (
            machine.is_root and machine.has_containers()
        ):
            why = (
                "no chroots are offered: containers is lxd, and this is not root, or "
                "neither incus nor lxc answers"
            )
        if why:
            say(why)
        else:
            found.append(
                Offer(isolation="chroot", architecture=machine.architecture, series=series)
            )
            for architecture in config.foreign_architectures:
                if architecture not in machine.foreign:
                    say(missing(architecture))
                    continue
                series = _chroot_series(config, machine, architecture)
                found.append(
                    Offer(isolation="chroot", architecture=architecture, series=series)
                )
    if "vm" in wanted:
        series = _chroot_series(config, machine)
        why = _why_no_machine(machine, series)
        if not why:
            found.append(
                Offer(isolation="vm", architecture=machine.architecture, series=series)
            )
        elif config.isolations is not None:
            say(why)
    return found


def takes(config: WorkerConfig, found: Sequence[Offer]) -> tuple[str, ...]:
    """What of orders the worker takes that others leave aside, all its offers alike."""
    if config.engine == "lpci" and any(offer.isolation == "chroot" for offer in found):
        return tuple(one for one in TAKEN if one != HANDED_FILES)
    return TAKEN


def unfit(found: Sequence[Offer], order: Order) -> str:
    """Why none of the offers ``found`` covers ``order``; "" if one does."""
    for offer in found:
        if (
            offer.isolation == order.isolation
            and offer.architecture == order.architecture
            and (offer.series == ANY_SERIES or order.series in offer.series)
        ):
            return ""
    return (
        f"this worker makes no {order.isolation} environment for {order.series} on "
        f"{order.architecture}"
    )


def _chroot_series(
    config: WorkerConfig, machine: Machine, architecture: str | None = None
) -> tuple[str, ...]:
    """Series whose image is there, or can be made when it is first wanted."""
    images = Images(Path(config.images), config.series_images, architecture)
    series = set(images.available())
    if machine.can_make_images:
        series |= set(config.series_images) | set(config.series_images.values())
        series |= {machine.series} - {""}
    return tuple(sorted(series))[:200]


def _why_no_chroot(machine: Machine, series: tuple[str, ...]) -> str:
    if not machine.is_root and machine.why_no_own_root:
        return (
            "no chroots are offered: they need root, or an ordinary user's own namespace; "
            f"this is an ordinary user, and {machine.why_no_own_root}"
        )
    if not series:
        return (
            "no chroots are offered: there is no image, and mmdebstrap, which makes them, "
            "is not installed"
        )
    return ""


def _why_no_machine(machine: Machine, series: tuple[str, ...]) -> str:
    if not machine.can_run_machines:
        return "no virtual machines are offered: qemu-system and qemu-utils are needed"
    if not machine.is_root:
        return "no virtual machines are offered: they need root, for their disks"
    return _why_no_chroot(machine, series).replace("chroots", "virtual machines")


def _architecture() -> str:
    try:
        return subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _own_series() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    return release.get("VERSION_CODENAME", "") if release.get("ID") == "debian" else ""
