"""Images: the root file systems that environments start from, kept in a folder.

The folder holds ``by-digest/SHA256/`` (an image, never changed once it is there) and, for
each name, a symbolic link ``NAME`` to the newest of its images.  The name is that of the
Debian series, with ``:ARCHITECTURE`` behind it for a foreign one, unless the operator
gave another.  A build that runs keeps the image it started from when the link moves on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.environments import traces
from worker.environments.apt_sources import for_series, read_apt_sources
from worker.environments.bootstrap import NoImage, Recipe, bootstrap, check_tools
from worker.environments.store import Held, Store

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?", re.ASCII)
#: Names in the folder that are not those of images.
STORE, LAYERS, DISKS, KERNELS = "by-digest", "layers", "disks", "kernels"
_RESERVED = (STORE, LAYERS, DISKS, KERNELS)


@dataclass(frozen=True)
class Image:
    """A root file system; nobody writes to it."""

    name: str  #: the Debian series it is made of, or what the operator called it
    digest: str  #: SHA-256, hexadecimal
    path: Path


@dataclass(frozen=True)
class ImageFacts:
    """What ``headrace image list`` tells of an image."""

    name: str
    digest: str
    series: str
    architecture: str
    packages: tuple[str, ...]
    size: int
    made_at: float
    used_at: float


class Images:
    """The images of one machine.

    ``series_images`` says which image stands for a series that pipelines name, such as
    ``{"jammy": "bookworm"}``; a series that isn't in it stands for itself.
    ``architecture`` is a foreign one, or None for that of the machine.
    """

    def __init__(
        self,
        folder: Path,
        series_images: Mapping[str, str],
        architecture: str | None = None,
    ) -> None:
        self.folder = folder
        self.store = Store(folder / STORE)
        self._series_images = series_images
        self._architecture = architecture

    def find(self, series: str) -> Image | None:
        """The image that a pipeline's ``series`` stands for, if it was made."""
        name = self._name(series)
        if name is None:
            return None
        try:
            path = (self.folder / name).resolve(strict=True)
        except OSError:
            return None
        return Image(name, path.name, path)

    def hold(self, image: Image) -> Held:
        """Keep ``image`` from being evicted; NoImage if that has happened already."""
        if image.path.parent != self.store.folder.resolve():
            raise NoImage(
                f"{image.path} is an image outside of {self.store.folder}: move it into "
                "there, under a name that no other content ever had, and put a symbolic "
                "link to it in its place."
            )
        held = self.store.hold(image.digest)
        if held is None:
            raise NoImage(f"The image of {image.name} was removed a moment ago.")
        return held

    def available(self) -> list[str]:
        """The series for which ``find`` finds an image, sorted."""
        names = set(self._series_images)
        suffix = f":{self._architecture}" if self._architecture else ""
        names |= {
            name.removesuffix(suffix)
            for name in self._names()
            if name.endswith(suffix) and (suffix or ":" not in name)
        }
        return sorted(name for name in names if self.find(name) is not None)

    def may_build(self, series: str) -> bool:
        """Whether ``series`` is this machine's own, or the operator named it."""
        named = {*self._series_images, *self._series_images.values()}
        return series in named or series == _own_series()

    def facts(self) -> list[ImageFacts]:
        """All images that have a name, sorted by it."""
        entries = {entry.key: entry for entry in self.store.entries()}
        found = []
        for name in sorted(self._names()):
            entry = entries.get(Path(os.readlink(self.folder / name)).name)
            if entry is None:
                continue
            facts = entry.facts
            found.append(
                ImageFacts(
                    name=name,
                    digest=entry.key,
                    series=str(facts.get("series", name.partition(":")[0])),
                    architecture=str(facts.get("architecture") or name.partition(":")[2]),
                    packages=tuple(facts.get("packages", ())),
                    size=entry.size,
                    made_at=float(facts.get("made_at", 0.0)),
                    used_at=entry.used_at,
                )
            )
        return found

    def build(
        self,
        series: str,
        say: Callable[[str], None],
        *,
        packages: Sequence[str] | None = None,
        name: str | None = None,
    ) -> Image:
        """Make the image for ``series`` afresh, some 30 seconds, and answer it.

        ``packages`` are in it beyond those that every image has; None means those that
        the image it takes the place of was made with.  ``name`` is what it is to be
        called if not like its series.  If another process is making it, wait and answer
        what that made.  NoImage if it can't be made.
        """
        called = self._name(series) if name is None else self._own_name(name)
        if called is None:
            raise NoImage(f"{name or series!r} can't be the name of an image.")
        check_tools()
        before = self._at(called)
        recipe = self._recipe(series, called, packages)

        def tell() -> None:
            say(f"Image of {called}: another process is making it; waiting for that.")

        with Store(self.folder).alone(called, tell) as waited:
            made = self._at(called)
            if waited and made is not None and made != before:
                return made
            self._make(called, recipe, say)
        image = self._at(called)
        if image is None:
            raise NoImage(f"The image of {called} was removed while it was made.")
        return image

    def remove(self, name: str) -> Image | None:
        """Take the name from an image; the image, or None if there is none of that name.

        The image itself goes as soon as no build uses it.
        """
        image = self._at(name) if _NAME.fullmatch(name) else None
        if image is not None:
            (self.folder / name).unlink(missing_ok=True)
            self.sweep()
        return image

    def sweep(self) -> None:
        """Remove images that have no name any more and are not in use."""
        named = {Path(os.readlink(self.folder / name)).name for name in self._names()}
        for entry in self.store.entries():
            if entry.key not in named:
                self.store.evict(entry.key)

    def _recipe(self, series: str, called: str, packages: Sequence[str] | None) -> Recipe:
        before = self._at(called)
        facts: dict[str, Any] = {} if before is None else self.store.facts(before.digest)
        base = self._series_images.get(series, series)
        made_of = str(facts.get("series", base.partition(":")[0]))
        wanted = facts.get("packages", ()) if packages is None else packages
        return Recipe(
            series=made_of,
            sources=tuple(for_series(read_apt_sources(), _own_series(), made_of)),
            packages=tuple(sorted(set(wanted))),
            architecture=self._architecture,
        )

    def _at(self, name: str) -> Image | None:
        try:
            path = (self.folder / name).resolve(strict=True)
        except OSError:
            return None
        return Image(name, path.name, path)

    def _names(self) -> list[str]:
        with suppress(FileNotFoundError):
            return [
                each.name
                for each in self.folder.iterdir()
                if each.is_symlink() and not each.name.startswith(".")
            ]
        return []

    def _name(self, series: str) -> str | None:
        return self._own_name(self._series_images.get(series, series))

    def _own_name(self, name: str) -> str | None:
        if self._architecture is not None and ":" not in name:
            name = f"{name}:{self._architecture}"
        return name if _NAME.fullmatch(name) and name not in _RESERVED else None

    def _make(self, name: str, recipe: Recipe, say: Callable[[str], None]) -> None:
        if not recipe.sources:
            raise NoImage(
                f"This machine's apt sources name no archive of its own series "
                f"{_own_series() or '(unknown)'}, so there is none to take "
                f"{recipe.series} from."
            )
        self.store.folder.mkdir(exist_ok=True)
        half_made = self.folder / f".{name}.new"
        traces.remove(half_made)
        half_made.mkdir()
        try:
            digest = bootstrap(recipe, half_made, say)
            root = half_made / "root"
            root.chmod(0o755)
            self.store.note(
                digest,
                root,
                {
                    "series": recipe.series,
                    "architecture": recipe.architecture,
                    "packages": recipe.packages,
                },
            )
            with suppress(OSError):  # the same image was there already
                os.rename(root, self.store.folder / digest)
        finally:
            traces.remove(half_made)
        link = self.folder / f".{name}.link"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(STORE, digest))
        os.replace(link, self.folder / name)


def _own_series(os_release: Path = Path("/etc/os-release")) -> str:
    with suppress(OSError):
        for line in os_release.read_text().splitlines():
            key, _, value = line.partition("=")
            if key == "VERSION_CODENAME":
                return value.strip("\"'")
    return ""
