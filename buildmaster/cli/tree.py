"""Packs a work tree into a tar archive that depends on nothing but its files.

Uncommitted changes are in it, files that git ignores are not. Times, owners and the
order of a directory are left out, so the same tree gives the same hash everywhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import IO, cast

#: Bytes of a block that is hashed at once.
_BLOCK = 1024 * 1024
#: Nothing of the repository's own settings may run a program.
_GIT = (
    "git",
    "-c",
    "safe.directory=*",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/",
)
#: Variables that would point git at another repository (set inside git's hooks).
_GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


class TreeProblem(Exception):
    """The work tree cannot be sent as it is; the message says what to do."""


@dataclass(frozen=True)
class PackedTree:
    """An archive, and what to call it."""

    archive: Path
    sha256: str
    size: int  #: bytes
    files: int
    left_out: tuple[str, ...]  #: paths that are neither files nor symbolic links


def pack(tree: Path, archive: Path) -> PackedTree:
    """Write the files of ``tree`` into ``archive``, or raise `TreeProblem`."""
    paths = sorted(set(files_of(tree)))
    left_out = []
    count = 0
    with open(archive, "wb") as target:
        hashing = _HashingFile(target)
        with tarfile.open(
            fileobj=cast("IO[bytes]", hashing), mode="w|", format=tarfile.PAX_FORMAT
        ) as tar:
            for path in paths:
                if _add(tar, tree, path):
                    count += 1
                else:
                    left_out.append(os.fsdecode(path))
    if not count:
        raise TreeProblem(
            f"There is no file to send in {tree}; does the repository around it ignore it?"
        )
    return PackedTree(archive, hashing.sha256, hashing.size, count, tuple(left_out))


def files_of(tree: Path) -> Iterator[bytes]:
    """Paths to send, relative to ``tree``: what git would add, or everything."""
    if not tree.is_dir():
        raise TreeProblem(f"{tree} is not a folder; name the one to send.")
    listed = _git_files(tree)
    if listed is None:
        yield from _all_files(tree)
        return
    for path in listed:
        # A repository within (a submodule, or one that is not added) is one entry.
        within = tree / os.fsdecode(path)
        if within.is_dir() and not within.is_symlink():
            if not os.path.lexists(within / ".git"):
                continue  # a submodule that was never fetched
            for deeper in files_of(within):
                yield os.path.join(path.rstrip(b"/"), deeper)
        elif os.path.lexists(within):
            yield path


def _git_files(tree: Path) -> list[bytes] | None:
    """What git knows or would add; None where there is no git or no repository."""
    environment = {k: v for k, v in os.environ.items() if k not in _GIT_VARIABLES}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    environment["LC_ALL"] = "C"
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        ended = subprocess.run(
            [*_GIT, *listing],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    except FileNotFoundError:
        return None
    if ended.returncode:
        told = ended.stderr.decode("utf-8", "replace").strip()
        if "not a git repository" in told:
            return None
        raise TreeProblem(f"git cannot list the files of {tree}: {told}")
    return [path for path in ended.stdout.split(b"\0") if path]


def _all_files(tree: Path) -> Iterator[bytes]:
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


def open_archive(tree: PackedTree) -> BufferedReader:
    """The archive, to be read from its start."""
    return open(tree.archive, "rb")
