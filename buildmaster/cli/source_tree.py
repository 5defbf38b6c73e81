"""What git calls the parts of a work tree, as a farm does of a commit of it."""

from __future__ import annotations

import os
import posixpath
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from buildmaster.cli.problems import CommandMisused

#: Nothing of the repository's own settings may run a program.
GIT = (
    "git",
    "-c",
    "safe.directory=*",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/",
)
_PATHS_AT_ONCE = 500


class SourceTree:
    """A work tree, uncommitted changes included. Nothing is written into its repository."""

    def __init__(self, root: Path, tree: str, environ: Mapping[str, str]) -> None:
        self.root = root
        self._tree = tree
        self._environ = environ

    def digests(self, paths: Sequence[str]) -> dict[str, str]:
        """What git calls these parts, nothing what is not there; ``""`` is all of it."""
        normal = {path: posixpath.normpath(path) if path else "." for path in paths}
        asked = sorted({home for home in normal.values() if home != "."})
        found = {".": self._tree}
        for first in range(0, len(asked), _PATHS_AT_ONCE):
            some = asked[first : first + _PATHS_AT_ONCE]
            listed = self._run("--literal-pathspecs", "ls-tree", "-z", "--full-tree",
                               self._tree, "--", *some)  # fmt: skip
            for line in listed.split(b"\0"):
                kind, _, name = line.partition(b"\t")
                found[os.fsdecode(name)] = kind.decode("ascii")
        return {path: found.get(home, "") for path, home in normal.items()}

    def repositories(self) -> list[str]:
        """By what names farms may know it: its path, and where it comes from."""
        urls = self._run("config", "--get-regexp", r"^remote\..*\.url$", may_fail=True)
        lines = [line.partition(" ")[2] for line in os.fsdecode(urls).splitlines()]
        return list(dict.fromkeys([str(self.root), *lines]))[:10]

    def _run(self, *words: str, may_fail: bool = False) -> bytes:
        return _git(self.root, words, self._environ, may_fail=may_fail)


@contextmanager
def source_tree(folder: Path) -> Iterator[SourceTree]:
    """The work tree that ``folder`` is in; `CommandMisused` if it is in none."""
    environ = dict(os.environ)
    top = _git(folder, ("rev-parse", "--show-toplevel"), environ, may_fail=True)
    if not top:
        raise CommandMisused(
            f"{folder.absolute()} is no work tree of git, and a farm knows sources by"
            " what git calls their parts"
        )
    root = Path(os.fsdecode(top.rstrip(b"\n")))
    places = _git(root, ("rev-parse", "--git-path", "objects", "--git-path", "index"),
                  environ).splitlines()  # fmt: skip
    objects, index = (root / os.fsdecode(place) for place in places)
    with TemporaryDirectory(prefix="headrace-plan-") as place:
        aside = Path(place)
        (aside / "objects").mkdir()
        if index.exists():
            shutil.copyfile(index, aside / "index")
        environ |= {
            "GIT_INDEX_FILE": str(aside / "index"),
            "GIT_OBJECT_DIRECTORY": str(aside / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        _git(root, ("add", "--all"), environ)
        tree = _git(root, ("write-tree",), environ).decode("ascii").strip()
        yield SourceTree(root, tree, environ)


def _git(
    folder: Path, words: Sequence[str], environ: Mapping[str, str], may_fail: bool = False
) -> bytes:
    try:
        ended = subprocess.run(
            [*GIT, *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    except FileNotFoundError as error:
        raise CommandMisused("this needs git, which the machine has not") from error
    if ended.returncode == 0:
        return ended.stdout
    if may_fail:
        return b""
    said = ended.stderr.decode("utf-8", "replace").strip()
    raise CommandMisused(f"git {words[0]} does not work in {folder}: {said}")
