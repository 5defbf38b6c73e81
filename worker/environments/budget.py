"""The budget of a cache: what was not used for the longest time goes first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker.environments import traces
from worker.environments.images import DISKS, KERNELS, LAYERS, Images
from worker.environments.store import Store, disk_usage


@dataclass(frozen=True)
class _Candidate:
    used_at: float
    size: int
    evict: Callable[[], bool]


def trim_images(folder: Path, limit: int) -> int:
    """Evict from the images in ``folder`` until they take ``limit`` bytes at most.

    Layers, disks of virtual machines and images without a name go, unless they are in
    use; images that have a name stay.  Answers the bytes that are still taken.
    """
    images = Images(folder, {})
    named = {facts.digest for facts in images.facts()}
    total, candidates = 0, []
    others = (Store(folder / name) for name in (LAYERS, DISKS, KERNELS))
    for store in (images.store, *others):
        _clear_remnants(store.folder)
        for entry in store.entries():
            total += entry.size
            if entry.key not in named:
                candidates.append(
                    _Candidate(entry.used_at, entry.size, _eviction(store, entry.key))
                )
    return _trim(total, candidates, limit)


def trim_mirrors(folder: Path, limit: int) -> int:
    """The same for the mirrors of git repositories in ``folder``."""
    total, candidates = 0, []
    for mirror in folder.glob("*.git"):
        lock = mirror.with_suffix(".lock")
        with suppress(OSError):
            size = disk_usage(mirror)
            total += size
            used_at = lock.stat().st_mtime
            candidates.append(_Candidate(used_at, size, _mirror_eviction(mirror, lock)))
    return _trim(total, candidates, limit)


def _trim(total: int, candidates: list[_Candidate], limit: int) -> int:
    for candidate in sorted(candidates, key=lambda each: each.used_at):
        if total <= limit:
            break
        if candidate.evict():
            total -= candidate.size
    return total


def _eviction(store: Store, key: str) -> Callable[[], bool]:
    return lambda: store.evict(key)


def _mirror_eviction(mirror: Path, lock: Path) -> Callable[[], bool]:
    def evict() -> bool:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(mirror, ignore_errors=True)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return not mirror.exists()

    return evict


def _clear_remnants(folder: Path) -> None:
    """Remove what those left who died while they made or removed something."""
    for pattern in (".*.new", ".*.old"):
        for remnant in folder.glob(pattern):
            lock = remnant.with_suffix(".lock")
            with suppress(OSError), open(lock, "wb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                traces.remove(remnant)
