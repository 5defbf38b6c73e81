"""A store: folders that never change once they are there, each under a key.

::

    STORE/KEY/        the content
    STORE/KEY.json    facts about it; its time of change is when it was last used

Whoever uses a folder holds a shared lock on it, which the kernel lets go when the user
dies; what is locked is not evicted.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from worker.environments import traces

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Entry:
    """One folder of a store, as it was when somebody looked."""

    key: str
    path: Path
    size: int  #: bytes on the disk
    used_at: float  #: seconds since 1970
    facts: dict[str, Any]


class Held:
    """A folder that stays where it is until ``close``, or until this process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Let go of it; safe to repeat."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Store:
    """The folders below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def hold(self, key: str) -> Held | None:
        """The folder of ``key``, held and noted as used; None if there is none."""
        path = self.folder / key
        while True:
            try:
                descriptor = os.open(path, _FOLDER)
            except (FileNotFoundError, NotADirectoryError):
                return None
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path):
                with suppress(OSError):
                    os.utime(self._facts(key))
                return Held(path, descriptor)
            os.close(descriptor)  # evicted between the two; another may be there now

    def add(
        self, key: str, fill: Callable[[Path], None], facts: dict[str, Any] | None = None
    ) -> Path:
        """Have ``fill`` make the folder of ``key``, which appears when it is whole.

        One at a time for each key: who comes second finds what the first made.
        """
        path = self.folder / key
        with self.alone(key):
            if not path.exists():
                new = self.folder / f".{key}.new"
                traces.remove(new)
                new.mkdir()
                try:
                    fill(new)
                    self.note(key, new, facts or {})
                    os.rename(new, path)
                finally:
                    traces.remove(new)
        return path

    def note(self, key: str, path: Path, facts: dict[str, Any]) -> None:
        """Write down the facts about ``path``, the content of ``key``, and its size."""
        told = {**facts, "size": disk_usage(path), "made_at": time.time()}
        new = self.folder / f".{key}.facts"
        new.write_bytes(msgspec.json.encode(told))
        os.replace(new, self._facts(key))

    @contextmanager
    def alone(self, key: str, wait: Callable[[], None] | None = None) -> Iterator[bool]:
        """Be the only one who makes ``key``; yields whether that took waiting.

        ``wait`` is called before the waiting begins.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f".{key}.lock", "wb") as lock:
            waited = False
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                if wait is not None:
                    wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            # The file stays: who removed it would let two be alone with one key.
            yield waited

    def entries(self) -> list[Entry]:
        """All folders, the one that was used the longest ago first."""
        found = []
        with suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if path.is_dir() and not path.name.startswith("."):
                    found.append(self._entry(path))
        return sorted(found, key=lambda entry: (entry.used_at, entry.key))

    def facts(self, key: str) -> dict[str, Any]:
        """What ``note`` wrote down of ``key``; empty if nothing."""
        try:
            facts = msgspec.json.decode(self._facts(key).read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return {}
        return facts

    def evict(self, key: str) -> bool:
        """Remove ``key`` unless somebody holds it; whether it is gone."""
        path = self.folder / key
        try:
            descriptor = os.open(path, _FOLDER)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            doomed = self.folder / f".{key}.old"
            traces.remove(doomed)
            with suppress(FileNotFoundError):
                os.rename(path, doomed)
            traces.remove(doomed)
            self._facts(key).unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        return True

    def _facts(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _entry(self, path: Path) -> Entry:
        facts = self.facts(path.name)
        if not facts:
            with suppress(OSError):
                self.note(path.name, path, {})
                facts = self.facts(path.name)
        try:
            used_at = self._facts(path.name).stat().st_mtime
        except OSError:
            used_at = 0.0
        return Entry(path.name, path, int(facts.get("size", 0)), used_at, facts)


def disk_usage(path: Path) -> int:
    """Bytes that a folder takes on the disk, with all below it."""
    total, seen = 0, set()
    for top, _, names in os.walk(path):
        for name in (".", *names):
            with suppress(OSError):
                found = os.lstat(os.path.join(top, name))
                if found.st_nlink > 1 and name != ".":
                    if found.st_ino in seen:
                        continue
                    seen.add(found.st_ino)
                total += found.st_blocks * 512
    return total


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
