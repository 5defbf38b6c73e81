"""Archives: unpacks a tree that somebody sent, trusting nothing in it.

Only folders, regular files and symbolic links are made, all below the target, and none
through a link of the archive. Owners, special bits and times are not taken over.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

import zstandard

from protocol.tar_headers import bounded_headers
from worker.supervisor.endings import Malformed

_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_BLOCK = 256 * 1024
_MEMBERS = 1_000_000


def unpack(archive: Path, target: Path, limit: int) -> None:
    """Unpack the tar file ``archive`` (plain or compressed) into the new folder ``target``.

    `Malformed` for anything that is no such archive, reaches out of the folder, or is
    bigger than ``limit`` bytes.
    """
    target.mkdir(mode=0o755)
    with open(archive, "rb") as file:
        compressed = file.read(4) == _ZSTANDARD
        file.seek(0)
        try:
            if compressed:
                with zstandard.ZstdDecompressor().stream_reader(file) as plain:
                    _unpack(plain, "r|", target, limit)
            else:
                _unpack(file, "r|*", target, limit)
        except (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError) as error:
            raise Malformed(f"the source tree is no proper tar archive: {error}") from error


def _unpack(
    stream: IO[bytes] | zstandard.ZstdDecompressionReader,
    mode: str,
    target: Path,
    limit: int,
) -> None:
    links: set[PurePosixPath] = set()
    room = limit
    headers = bounded_headers()
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=stream, mode=mode, tarinfo=headers
    ) as tar:
        for number, member in enumerate(tar):
            if number >= _MEMBERS:
                raise Malformed(f"the source tree has more than {_MEMBERS} members")
            room -= member.size if member.isreg() else 0
            if room < 0:
                raise Malformed(
                    f"the source tree has more than {limit} bytes, which is more than "
                    "this worker takes"
                )
            _make(tar, member, target, links)


def _make(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    target: Path,
    links: set[PurePosixPath],
) -> None:
    path = _inside(member.name, links)
    place = target / path
    if member.isdir():
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.path.lexists(place):
        raise Malformed(f"the source tree has {member.name!r} twice")
    if member.issym():
        links.add(path)
        os.symlink(member.linkname, place)
    elif member.isreg():
        _write(tar, member, place)
    else:
        raise Malformed(
            f"the source tree has {member.name!r}, which is no file, folder or link"
        )


def _inside(name: str, links: set[PurePosixPath]) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise Malformed(f"the source tree has {name!r}, which leads out of it")
    if links and not links.isdisjoint({path, *path.parents}):
        raise Malformed(f"the source tree has {name!r} on the other side of a link")
    return path


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # true of regular files
    mode = 0o755 if member.mode & 0o100 else 0o644
    file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(file, "wb") as out:
        while block := content.read(_BLOCK):
            out.write(block)
