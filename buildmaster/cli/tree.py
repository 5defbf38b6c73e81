"""Packs a work tree into a tar archive that depends on nothing but its files.

Uncommitted changes are in it, files that git ignores are not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from buildmaster.cli.git import git_environment, run_git
from protocol.tree_archive import PackedTree, TreeProblem, all_files, write


def pack(tree: Path, archive: Path) -> PackedTree:
    """Write the files of ``tree`` into ``archive``, or raise `TreeProblem`."""
    packed = write(tree, files_of(tree), archive)
    if not packed.files:
        raise TreeProblem(
            f"There is no file to send in {tree}; does the repository around it ignore it?"
        )
    return packed


def files_of(tree: Path) -> Iterator[bytes]:
    """Paths to send, relative to ``tree``: what git would add, or everything."""
    if not tree.is_dir():
        raise TreeProblem(f"{tree} is not a folder; name the one to send.")
    listed = _git_files(tree)
    if listed is None:
        yield from all_files(tree)
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
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        ended = run_git(tree, *listing, environ=git_environment())
    except FileNotFoundError:
        return None
    if ended.returncode:
        told = ended.stderr.decode("utf-8", "replace").strip()
        if "not a git repository" in told:
            return None
        raise TreeProblem(f"git cannot list the files of {tree}: {told}")
    return [path for path in ended.stdout.split(b"\0") if path]


def open_archive(tree: PackedTree) -> BufferedReader:
    """The archive, to be read from its start."""
    return open(tree.archive, "rb")
