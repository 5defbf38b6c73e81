"""Contents by hash: files named by the sha256 of what is in them, in a folder."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from twisted.internet.threads import deferToThread

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_UNFINISHED = "unfinished"


class WrongHash(Exception):
    """What was sent is not what its name says; nothing of it was kept."""


class TooLarge(Exception):
    """What was sent is larger than a file may be here; nothing of it was kept."""


class DiskFull(Exception):
    """There is no room for what was sent; nothing of it was kept."""


class BlobStore:
    """The blobs in ``folder``, none larger than ``limit`` bytes.

    A blob is there whole or not at all, whatever is killed when: it is written beside the
    others and gets its name last. One process writes into a folder at a time.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        unfinished = folder / _UNFINISHED
        unfinished.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in unfinished.iterdir():
            left.unlink()

    def path(self, sha256: str) -> Path | None:
        """Where the blob with this hash lies, None if there is none."""
        path = self._place(sha256)
        return path if path is not None and path.is_file() else None

    def open_upload(self, sha256: str) -> Upload:
        """Begin to store what is said to have this hash; `WrongHash`, `DiskFull`."""
        place = self._place(sha256)
        if place is None:
            raise WrongHash("a blob is named by 64 lower-case hexadecimal digits")
        with _room_needed(self._folder):
            unfinished = self._folder / _UNFINISHED / secrets.token_hex(8)
            return Upload(unfinished, place, sha256, self._limit)

    def _place(self, sha256: str) -> Path | None:
        # What is not a hash never becomes a path.
        if not _SHA256.match(sha256):
            return None
        return self._folder / sha256[:2] / sha256[2:]


class Upload:
    """A blob while it arrives; made by `BlobStore.open_upload`."""

    def __init__(self, unfinished: Path, place: Path, sha256: str, limit: int) -> None:
        self._unfinished = unfinished
        self._place = place
        self._sha256 = sha256
        self._limit = limit
        self._hash = hashlib.sha256()
        self._size = 0
        self._file = open(unfinished, "xb", buffering=0)

    def write(self, data: bytes) -> None:
        """Take a piece; `TooLarge` or `DiskFull`, and then the upload is over."""
        self._size += len(data)
        if self._size > self._limit:
            self.abort()
            raise TooLarge(f"a file may have {self._limit} bytes here, and this has more")
        self._hash.update(data)
        try:
            with _room_needed(self._place.parent.parent):
                view = memoryview(data)
                while view:
                    view = view[self._file.write(view) :]
        except DiskFull:
            self.abort()
            raise

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self._size

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be written: it was kept or forgotten."""
        return self._file.closed

    async def commit(self) -> int:
        """Keep it if it is what its name says; its size. `WrongHash`, `DiskFull`."""
        if self._hash.hexdigest() != self._sha256:
            self.abort()
            raise WrongHash(
                f"what arrived ({self._size} bytes) has another sha256 than "
                f"{self._sha256}: it was changed or cut off on its way; send it again"
            )
        try:
            await deferToThread(self._keep)
        except BaseException:
            self.abort()
            raise
        return self._size

    def abort(self) -> None:
        """Forget it; safe to repeat, and after `commit`."""
        self._file.close()
        self._unfinished.unlink(missing_ok=True)

    def _keep(self) -> None:
        with _room_needed(self._place.parent.parent):
            os.fsync(self._file.fileno())
            self._file.close()
            with suppress(FileExistsError):
                self._place.parent.mkdir(mode=0o700)
            os.replace(self._unfinished, self._place)
            for folder in (self._place.parent, self._place.parent.parent):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


@contextmanager
def _room_needed(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk of the buildmaster is full ({folder}): its operator has to "
                f"make room"
            ) from error
        raise
