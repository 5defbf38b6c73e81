"""Images: the root file systems that chroots start from, kept in a folder.

The folder holds ``by-digest/SHA256/`` (an image, never changed once it is there) and, for
each Debian series, a symbolic link ``SERIES`` to the newest of its images.  A build that
runs keeps the image it started from when the link moves on.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from worker.environments import traces
from worker.environments.apt_sources import for_series, read_apt_sources
from worker.environments.bootstrap import NoImage, bootstrap, check_tools

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*", re.ASCII)
_STORE = "by-digest"


@dataclass(frozen=True)
class Image:
    """A root file system; nobody writes to it."""

    name: str  #: the Debian series it is made of
    digest: str  #: SHA-256, hexadecimal
    path: Path


class Images:
    """The images of one machine.

    ``series_images`` says which Debian series stands for a series that pipelines name,
    such as ``{"jammy": "bookworm"}``; a series that isn't in it stands for itself.
    """

    def __init__(self, folder: Path, series_images: Mapping[str, str]) -> None:
        self._folder = folder
        self._series_images = series_images

    def find(self, series: str) -> Image | None:
        """The image that a pipeline's ``series`` stands for, if it was made."""
        name = self._name(series)
        if name is None:
            return None
        try:
            path = (self._folder / name).resolve(strict=True)
        except OSError:
            return None
        return Image(name, path.name, path)

    def available(self) -> list[str]:
        """The series for which ``find`` finds an image, sorted."""
        names = set(self._series_images)
        with suppress(FileNotFoundError):
            names |= {each.name for each in self._folder.iterdir() if each.is_symlink()}
        return sorted(name for name in names if self.find(name) is not None)

    def may_build(self, series: str) -> bool:
        """Whether ``series`` is this machine's own, or the operator named it."""
        named = {*self._series_images, *self._series_images.values()}
        return series in named or series == _own_series()

    def build(self, series: str, say: Callable[[str], None]) -> Image:
        """Make the image for ``series`` afresh, some 30 seconds, and answer it.

        If another process is making it, wait and answer what that made.  NoImage if it
        can't be made.
        """
        name = self._name(series)
        if name is None:
            raise NoImage(f"{series!r} can't be the name of a series.")
        check_tools()
        before = self.find(series)
        with self._alone(name, say) as waited:
            made = self.find(series)
            if waited and made is not None and made != before:
                return made
            self._make(name, say)
        image = self.find(series)
        if image is None:
            raise NoImage(f"The image of {name} was removed while it was made.")
        return image

    def _name(self, series: str) -> str | None:
        name = self._series_images.get(series, series)
        return name if _NAME.fullmatch(name) and name != _STORE else None

    @contextmanager
    def _alone(self, name: str, say: Callable[[str], None]) -> Iterator[bool]:
        """Hold the lock on an image; whether that took waiting."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / f".{name}.lock", "wb") as lock:
            waited = False
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                say(f"Image of {name}: another process is making it; waiting for that.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield waited

    def _make(self, name: str, say: Callable[[str], None]) -> None:
        sources = for_series(read_apt_sources(), _own_series(), name)
        if not sources:
            raise NoImage(
                f"This machine's apt sources name no archive of its own series "
                f"{_own_series() or '(unknown)'}, so there is none to take {name} from."
            )
        store = self._folder / _STORE
        store.mkdir(exist_ok=True)
        half_made = self._folder / f".{name}.new"
        traces.remove(half_made)
        half_made.mkdir()
        try:
            digest = bootstrap(name, sources, half_made, say)
            root = half_made / "root"
            root.chmod(0o755)
            with suppress(OSError):  # the same image was there already
                os.rename(root, store / digest)
        finally:
            traces.remove(half_made)
        link = self._folder / f".{name}.link"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(_STORE, digest))
        os.replace(link, self._folder / name)


def _own_series(os_release: Path = Path("/etc/os-release")) -> str:
    with suppress(OSError):
        for line in os_release.read_text().splitlines():
            key, _, value = line.partition("=")
            if key == "VERSION_CODENAME":
                return value.strip("\"'")
    return ""
