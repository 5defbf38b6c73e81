"""Reads files of a work tree that somebody sent as a tar archive."""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildmaster.requests import Refusal
from buildmaster.source.address import check_path
from buildmaster.source.reader import FILE_LIMIT, Parts
from protocol.tar_headers import bounded_headers

#: Members that an archive may have; looking at more takes too long.
MEMBER_LIMIT = 200_000


def read_tree_configuration(archive: Path, *paths: str) -> tuple[bytes, str]:
    """The first of the files at ``paths`` that ``archive`` has, and its path.

    Nothing is unpacked. Only an uncompressed archive is read, so that its size bounds the
    work. Blocks: call it in a thread. `Refusal`.
    """
    for path in paths:
        check_path(path)
    found: dict[str, bytes | Refusal] = {}
    with _opened(archive) as members:
        for tar, member in members:
            name = member.name.removeprefix("./")
            if name in paths and name not in found:
                try:
                    found[name] = _contents(tar, member, name)
                except Refusal as refusal:
                    found[name] = refusal
                if name == paths[0]:
                    break
    for path in paths:
        text = found.get(path)
        if isinstance(text, Refusal):
            raise text
        if text is not None:
            return text, path
    raise Refusal(
        422,
        "configuration_missing",
        f"The work tree has no file {paths[-1]}: add one, or name another with --config.",
    )


def read_tree_parts(archive: Path, files: Sequence[str], paths: Sequence[str]) -> Parts:
    """Files of ``archive``, and digests of its parts at ``paths``; ``""`` is all of it.

    Blocks: call it in a thread. `Refusal`.
    """
    for path in (*files, *(path for path in paths if path)):
        check_path(path)
    normal = {path: posixpath.normpath(path) if path else "." for path in paths}
    wanted = set(normal.values())
    entries: dict[str, list[str]] = {path: [] for path in wanted}
    texts: dict[str, bytes] = {}
    with _opened(archive) as members:
        for tar, member in members:
            name = member.name.removeprefix("./")
            if name in files and name not in texts:
                texts[name] = _contents(tar, member, name)
            homes = [home for home in _above(name) if home in wanted]
            if homes and not member.isdir():
                entry = f"{name} {_told(tar, member)}"
                for home in homes:
                    entries[home].append(entry)
    missing = [path for path in files if path not in texts]
    if missing:
        raise Refusal(
            422, "configuration_missing", f"The work tree has no file {missing[0]}."
        )
    digests = {
        home: hashlib.sha256(
            "\0".join(sorted(lines)).encode("utf-8", "replace")
        ).hexdigest()
        if lines
        else ""
        for home, lines in entries.items()
    }
    return Parts(texts, {path: digests[home] for path, home in normal.items()})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _above(name: str) -> Iterator[str]:
    """The part that ``name`` is, and all those that it is in."""
    yield "."
    steps = name.split("/")
    for count in range(1, len(steps) + 1):
        yield "/".join(steps[:count])


def _told(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """What of a member makes a difference: its bytes, where it leads, if it can be run."""
    if not member.isreg():
        return f"{member.type!r} {member.linkname}"
    file = tar.extractfile(member)
    assert file is not None
    digest = hashlib.sha256()
    while block := file.read(1024 * 1024):
        digest.update(block)
    return f"{bool(member.mode & 0o100)} {digest.hexdigest()}"


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]]:
    try:
        with tarfile.open(archive, "r:", tarinfo=bounded_headers()) as tar:
            yield _members(tar)
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise Refusal(
            422, "bad_tree", f"What was sent is no tar archive of a work tree: {error}"
        ) from error


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    for count, member in enumerate(tar):
        if count >= MEMBER_LIMIT:
            raise Refusal(422, "tree_too_large", f"A tree may have {MEMBER_LIMIT} files.")
        yield tar, member
        tar.members = []  # type: ignore[attr-defined]  # else it keeps all


def _contents(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> bytes:
    if not member.isreg():
        raise Refusal(422, "configuration_missing", f"{path} is not a regular file.")
    if member.size > FILE_LIMIT:
        raise Refusal(
            422,
            "configuration_too_large",
            f"{path} has {member.size} bytes; {FILE_LIMIT} are allowed.",
        )
    file = tar.extractfile(member)
    assert file is not None
    text = file.read()
    if len(text) != member.size:
        raise tarfile.ReadError("it ends too early")
    return text
