"""Reads one file of a work tree that somebody sent as a tar archive."""

from __future__ import annotations

import tarfile
from pathlib import Path

from buildmaster.requests import Refusal
from buildmaster.source.address import check_path
from buildmaster.source.reader import FILE_LIMIT
from protocol.tar_headers import bounded_headers

#: Members that an archive may have; looking at more takes too long.
MEMBER_LIMIT = 200_000


def read_tree_configuration(archive: Path, path: str) -> bytes:
    """The file at ``path`` in ``archive``. Blocks: call it in a thread. `Refusal`.

    Nothing is unpacked. Only an uncompressed archive is read, so that its size bounds the
    work.
    """
    check_path(path)
    try:
        with tarfile.open(archive, "r:", tarinfo=bounded_headers()) as tar:
            for count, member in enumerate(tar):
                if count >= MEMBER_LIMIT:
                    raise Refusal(
                        422, "tree_too_large", f"A tree may have {MEMBER_LIMIT} files."
                    )
                if member.name.removeprefix("./") == path:
                    return _contents(tar, member, path)
                tar.members = []  # type: ignore[attr-defined]  # else it keeps all
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise Refusal(
            422, "bad_tree", f"What was sent is no tar archive of a work tree: {error}"
        ) from error
    raise Refusal(
        422,
        "configuration_missing",
        f"The work tree has no file {path}: add one, or name another with --config.",
    )


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
