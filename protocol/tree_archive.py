"""Archives of trees: tar files that depend on nothing but the files in them.

Times, owners and the order of a directory are left out, so the same tree gives the same
hash everywhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import IO, cast


class TreeProblem(Exception):
    """The tree cannot be sent as it is; the message says what to do."""


@dataclass(frozen=True)
class PackedTree:
    """An archive, and what to call it."""

    archive: Path
    sha256: str
    size: int  #: bytes
    files: int
    left_out: tuple[str, ...]  #: paths that are neither files nor symbolic links


def write(tree: Path, paths: Iterable[bytes], archive: Path) -> PackedTree:
    """Write ``paths``, relative to ``tree``, into ``archive``, or raise `TreeProblem`."""
    left_out = []
    count = 0
    with open(archive, "wb") as target:
        hashing = _HashingFile(target)
        with tarfile.open(
            fileobj=cast("IO[bytes]", hashing), mode="w|", format=tarfile.PAX_FORMAT
        ) as tar:
            for path in sorted(set(paths)):
                if _add(tar, tree, path):
                    count += 1
                else:
                    left_out.append(os.fsdecode(path))
    return PackedTree(archive, hashing.sha256, hashing.size, count, tuple(left_out))


def all_files(tree: Path) -> Iterator[bytes]:
    """The paths of all files and links below ``tree``, but for those of git itself."""
    top = os.fsencode(tree)
    for folder, folders, files in os.walk(top):
        if b".git" in folders:
            folders.remove(b".git")
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            yield os.path.relpath(os.path.join(folder, name), top)


def _add(tar: tarfile.TarFile, tree: Path, path: bytes) -> bool:
    """Add one file or symbolic link; False for anything else."""
    name = os.fsdecode(path)
    source = tree / name
    try:
        found = source.lstat()
        member = tarfile.TarInfo(name)
        if stat.S_ISLNK(found.st_mode):
            member.type = tarfile.SYMTYPE
            member.linkname = os.readlink(source)
            member.mode = 0o777
            tar.addfile(member)
            return True
        if not stat.S_ISREG(found.st_mode):
            return False
        with open(source, "rb") as content:
            opened = os.fstat(content.fileno())
            member.size = opened.st_size
            member.mode = 0o755 if opened.st_mode & 0o100 else 0o644
            tar.addfile(member, content)
        return True
    except OSError as error:
        why = error.strerror or str(error)
        raise TreeProblem(f"{source} cannot be sent: {why}.") from error


class _HashingFile:
    """Counts and hashes what is written on its way to a file."""

    def __init__(self, target: BufferedWriter) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._target.write(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()
