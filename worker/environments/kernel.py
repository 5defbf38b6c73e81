"""The kernel of virtual machines: taken out of Debian's packages, installed nowhere."""

from __future__ import annotations

import hashlib
import lzma
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from worker.environments.bootstrap import NoImage
from worker.environments.cpio import Member, archive
from worker.environments.images import KERNELS
from worker.environments.store import Held, Store
from worker.environments.unpacking import unpacked

_GUEST = Path(__file__).parent / "guest"
#: Seconds for which the newest kernel is taken to be the newest.
_FRESH = 86400.0
#: Modules that the first program loads, with all that they need.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio-rng")
#: Debian's small kernels for virtual machines, or else the usual ones.
_PACKAGES = {
    "amd64": ("linux-image-cloud-amd64", "linux-image-amd64"),
    "arm64": ("linux-image-cloud-arm64", "linux-image-arm64"),
}


@dataclass(frozen=True)
class Kernel:
    """What qemu starts."""

    held: Held

    @property
    def image(self) -> Path:
        """The kernel itself, unpacked where that could be done."""
        return self.held.path / "vmlinux"

    @property
    def packed(self) -> Path:
        """The kernel as its package has it."""
        return self.held.path / "vmlinuz"

    @property
    def first_files(self) -> Path:
        """The initramfs: the first program, and the agent."""
        return self.held.path / "initramfs"

    @property
    def key(self) -> str:
        """Changes when anything of it does."""
        return self.held.path.name


class Kernels:
    """The kernels beside the images in a folder."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self._store = Store(folder / KERNELS)
        self._architecture = architecture

    def find(self, say: Callable[[str], None]) -> Kernel:
        """The newest kernel; taken out of its package, some 5 seconds, if it is new.

        NoImage if there is none.
        """
        lately = self._made_since(time.time() - _FRESH)
        if lately is not None:
            return lately
        package = self._package()
        if package is None:
            # What was made before will do, where apt knows nothing at the moment.
            for entry in reversed(self._store.entries()):
                if entry.key.startswith(self._prefix) and (
                    held := self._store.hold(entry.key)
                ):
                    return Kernel(held)
            raise NoImage(
                f"apt knows no kernel for virtual machines of {self._architecture}: "
                "apt-get update."
            )
        name, version = package
        told = f"{name} {version} {self._guest_digest()}"
        key = self._prefix + hashlib.sha256(told.encode()).hexdigest()[:40]
        held = self._store.hold(key)
        if held is None:
            say(f"Taking the kernel of virtual machines out of {name} {version}")
            facts = {"package": name, "guest": self._guest_digest()}
            self._store.add(key, lambda to: self._make(name, version, to), facts)
            held = self._store.hold(key)
        else:
            # It is still the newest.
            self._store.note(key, held.path, self._store.facts(key))
        if held is None:
            raise NoImage("The kernel of virtual machines was removed a moment ago.")
        return Kernel(held)

    def _made_since(self, moment: float) -> Kernel | None:
        """One that was the newest then, so that apt need not be asked each time."""
        guest = self._guest_digest()
        for entry in self._store.entries():
            facts = entry.facts
            if (
                entry.key.startswith(self._prefix)
                and facts.get("guest") == guest
                and float(facts.get("made_at", 0)) > moment
                and (held := self._store.hold(entry.key))
            ):
                return Kernel(held)
        return None

    @property
    def _prefix(self) -> str:
        return f"{self._architecture}-"

    def _package(self) -> tuple[str, str] | None:
        """Name and version of the newest package with a kernel that apt knows."""
        for meta in _PACKAGES.get(self._architecture, ()):
            depends = _output(["apt-cache", "depends", meta])
            found = re.search(r"Depends: (linux-image-\S+)", depends)
            if found:
                shown = _output(["apt-cache", "show", "--no-all-versions", found[1]])
                version = re.search(r"^Version: (\S+)", shown, re.MULTILINE)
                if version:
                    return found[1], version[1]
        return None

    def _guest_digest(self) -> str:
        """Another one when the programs in the initramfs are, or how this is made."""
        digest = hashlib.sha256(b"unpacked")
        for name in ("init", "agent"):
            digest.update((_GUEST / name).read_bytes())
        return digest.hexdigest()

    def _make(self, package: str, version: str, to: Path) -> None:
        with TemporaryDirectory(dir=to.parent, prefix=".download-") as scratch:
            place = Path(scratch)
            _run(["apt-get", "--quiet", "download", f"{package}={version}"], place)
            _run(["apt-get", "--quiet", "download", "busybox-static"], place)
            for number, deb in enumerate(sorted(place.glob("*.deb"))):
                _run(["dpkg-deb", "--extract", str(deb), f"tree{number}"], place)
            packed = _only(place, "tree*/boot/vmlinuz-*").read_bytes()
            (to / "vmlinuz").write_bytes(packed)
            (to / "vmlinux").write_bytes(unpacked(packed))
            busybox = _only(place, "tree*/bin/busybox", "tree*/usr/bin/busybox")
            modules = [path for path in place.glob("tree*/**/*.ko*") if path.is_file()]
            (to / "initramfs").write_bytes(_first_files(busybox, modules))
        # The virtual machine's own user reads it.
        for name in ("vmlinuz", "vmlinux", "initramfs"):
            (to / name).chmod(0o644)
        to.chmod(0o755)


def _first_files(busybox: Path, modules: list[Path]) -> bytes:
    loaded = in_order(modules, _MODULES)
    members = [Member(name) for name in ("bin", "dev", "root", "modules")]
    members += [
        Member("bin/busybox", 0o755, busybox.read_bytes()),
        Member("init", 0o755, (_GUEST / "init").read_bytes()),
        Member("agent", 0o644, (_GUEST / "agent").read_bytes()),
        *(Member(f"modules/{name}.ko", 0o644, content) for name, content in loaded),
        Member("modules/order", 0o644, "".join(f"{n}.ko\n" for n, _ in loaded).encode()),
    ]
    return archive(members)


def in_order(files: list[Path], wanted: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Name and content of the ``wanted`` modules, each after those that it needs.

    What is built into the kernel has no file, and is left out.
    """
    paths = {_module_name(path.name): path for path in files}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in found or name not in paths:
            return
        content = _content(paths[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in depends[1].decode().split(",") if depends else ():
            add(_module_name(needed))
        found[name] = content

    for name in wanted:
        add(_module_name(name))
    return list(found.items())


def _module_name(name: str) -> str:
    return name.partition(".")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _only(place: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for path in place.glob(pattern):
            return path
    raise NoImage(f"The package of the kernel lacks {patterns[0].partition('/')[2]}.")


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    except FileNotFoundError:
        return ""
    return done.stdout


def _run(argv: list[str], place: Path) -> None:
    done = subprocess.run(
        argv,
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise NoImage(f"{' '.join(argv[:3])} failed: {reason}.")
