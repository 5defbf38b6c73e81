"""Layers: what installing a set of packages adds to an image, kept for the next time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from worker.environments.images import LAYERS, Image
from worker.environments.store import Held, Store


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What a layer holds beyond its image."""

    image: Image
    packages: tuple[str, ...]
    sources: tuple[str, ...] = ()  #: lines for apt besides those of the image, or instead
    instead: bool = False

    def key(self, age: float, now: float) -> str:
        """The name of the layer; another one every ``age`` seconds, as archives change."""
        told = (
            self.image.digest,
            sorted(set(self.packages)),
            self.sources,
            self.instead,
            int(now // age),
        )
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()


@dataclass(frozen=True)
class Layer:
    """A layer that stays until its holder lets go of it."""

    held: Held
    key: str
    packages: tuple[str, ...]
    is_new: bool = False

    @property
    def path(self) -> Path:
        """The folder to lay upon the image's."""
        return self.held.path


class Layers:
    """The layers beside the images in a folder."""

    def __init__(
        self, folder: Path, age: float, clock: Callable[[], float] = time.time
    ) -> None:
        """``age`` are the seconds for which a layer is fresh enough."""
        self.store = Store(folder / LAYERS)
        self._age = age
        self._clock = clock

    def find(self, additions: Additions) -> Layer | None:
        """The layer with exactly these additions, if it was made lately."""
        key = additions.key(self._age, self._clock())
        held = self.store.hold(key)
        return None if held is None else Layer(held, key, additions.packages)

    def make(self, additions: Additions, fill: Callable[[Path], None]) -> Layer | None:
        """The layer, made by ``fill`` unless another process is quicker.

        None if it was evicted before it could be used.
        """
        key = additions.key(self._age, self._clock())
        facts = {
            "image": additions.image.digest,
            "series": additions.image.name,
            "packages": sorted(set(additions.packages)),
        }
        self.store.add(key, fill, facts)
        found = self.find(additions)
        return None if found is None else replace(found, is_new=True)


def differing(wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    """Those of the packages ``wanted`` that are not ``there``, in their order."""
    known = set(there)
    return [name for name in wanted if name not in known]
