"""Making the root file system of a Debian series, with mmdebstrap."""

from __future__ import annotations

import hashlib
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.environments import own_root, syscalls
from worker.environments.apt_sources import AptSource
from worker.environments.fitting import apt_snippets
from worker.environments.interface import EnvironmentFault

#: Seconds between two lines that tell how far it is.
_PAUSE = 2.0

#: Every file is as old as this, so that the same packages give the same image.
_EPOCH = "315532800"  # 1980, the first year that all archive formats know


class NoImage(EnvironmentFault):
    """An image isn't there and can't be made; the message says what the operator can do."""


@dataclass(frozen=True)
class Recipe:
    """What an image is made of."""

    series: str
    sources: tuple[AptSource, ...]
    packages: tuple[str, ...] = ()  #: besides those without which apt can't work
    architecture: str | None = None  #: None: this machine's


def check_tools() -> None:
    """NoImage if images can't be made on this machine."""
    if shutil.which("mmdebstrap") is None:
        raise NoImage(
            "Images are made with mmdebstrap, which this machine lacks: "
            "apt-get install mmdebstrap."
        )
    if os.geteuid() != 0 and (why := own_root.why_not()):
        raise NoImage(
            f"Making images needs root, or an ordinary user's own namespace: here {why}."
        )


def bootstrap(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> str:
    """Put a root file system into ``folder``/root; answer its SHA-256.

    The digest is that of the tar archive mmdebstrap makes.  Says something at least every
    other second.  NoImage if it fails; what it leaves lies in ``folder``.
    """
    check_tools()
    series = recipe.series
    target, scratch = folder / "root", folder / "scratch"
    target.mkdir()
    scratch.mkdir()
    is_root = os.geteuid() == 0
    if is_root and own_root.is_within():
        raise NoImage(
            f"An ordinary user's image of {series} can't be made in the middle of a build: "
            f"headrace image build {series}."
        )
    # Its processes and mounts are to go with it, however this ends.
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = [
        *(apart if is_root else []),
        "mmdebstrap",
        "--variant=apt",
        f"--mode={'root' if is_root else 'unshare'}",
        "--format=tar",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Check-Date "false"',
        *(f"--aptopt={snippet}" for snippet in apt_snippets()),
        *([f"--include={','.join(recipe.packages)}"] if recipe.packages else []),
        *([f"--architectures={recipe.architecture}"] if recipe.architecture else []),
        series,
        "-",
        *(source.line for source in recipe.sources),
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "TMPDIR": str(scratch)}
    made = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        bufsize=0,
        preexec_fn=syscalls.die_with_parent,
    )
    unpack = ["tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    unpack += [f"--directory={target}"]
    if not is_root:
        # Devices and their like are the machine's root's to make; chroots have their own.
        unpack = [word for word in unpack if not word.startswith("--xattrs")]
        unpack = own_root.run_inside([*unpack, "--exclude=./dev/*"])
    unpacked = subprocess.Popen(
        unpack,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=own_root.variables(),
        cwd="/",
    )
    try:
        digest, complaint = _transfer(series, made, unpacked, say)
    except BaseException:
        for process in (made, unpacked):
            process.kill()
        _drain(made)
        raise
    finally:
        _, errors = unpacked.communicate()
        made.wait()
        for stream in (made.stdout, made.stderr):
            if stream is not None:
                stream.close()
    if made.returncode:
        raise NoImage(_explanation(series, complaint))
    if unpacked.returncode:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise NoImage(f"The image of {series} could not be unpacked: {reason}.")
    return digest


def _drain(made: subprocess.Popen[bytes]) -> None:
    """Wait for all that it started: the kernel kills that a moment later."""
    for stream in (made.stdout, made.stderr):
        if stream is not None:
            while stream.read(1 << 18):
                pass


def _explanation(series: str, complaint: str) -> str:
    return (
        f"mmdebstrap could not make an image of {series}: {complaint}. Look whether this "
        "machine's apt sources carry that series, or map the series to one that they do "
        "carry (series_images in the worker's configuration)."
    )


def _transfer(
    series: str,
    made: subprocess.Popen[bytes],
    unpacked: subprocess.Popen[bytes],
    say: Callable[[str], None],
) -> tuple[str, str]:
    """Move the archive along; its digest, and the last complaint that was heard."""
    assert made.stdout is not None and made.stderr is not None
    assert unpacked.stdin is not None
    digest, moved = hashlib.sha256(), 0
    said = _Progress(series, say)
    with selectors.DefaultSelector() as selector:
        selector.register(made.stdout, selectors.EVENT_READ)
        selector.register(made.stderr, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(said.remaining()):
                data = os.read(key.fd, 1 << 18)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is made.stderr:
                    said.hear(data)
                else:
                    digest.update(data)
                    moved += len(data)
                    if not _passed_on(unpacked, data):
                        selector.unregister(key.fileobj)
                        made.kill()
            said.tick(moved)
    return digest.hexdigest(), said.complaint


def _passed_on(unpacked: subprocess.Popen[bytes], data: bytes) -> bool:
    assert unpacked.stdin is not None
    try:
        unpacked.stdin.write(data)
    except BrokenPipeError:
        return False
    return True


class _Progress:
    """What mmdebstrap says, and the time when it says nothing."""

    def __init__(self, series: str, say: Callable[[str], None]) -> None:
        self.complaint = "it gave no reason"
        self._series = series
        self._say = say
        self._half_line = b""
        self._began = self._spoke = time.monotonic()

    def hear(self, data: bytes) -> None:
        *lines, self._half_line = (self._half_line + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").strip()
            kind, _, rest = text.partition(": ")
            if kind == "E":
                self.complaint = rest
            # The rest of what it prints are bars, made of carriage returns.
            if kind in ("I", "W", "E"):
                self._speak(rest)

    def remaining(self) -> float:
        return max(0.0, self._spoke + _PAUSE - time.monotonic())

    def tick(self, moved: int) -> None:
        if self.remaining() == 0:
            seconds = int(time.monotonic() - self._began)
            size = f", {moved >> 20} MiB unpacked" if moved else ""
            self._speak(f"{seconds} s{size}")

    def _speak(self, text: str) -> None:
        self._spoke = time.monotonic()
        self._say(f"Image of {self._series}: {text}")
