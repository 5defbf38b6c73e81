"""What git calls the parts of a work tree, as a farm does of a commit of it."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from buildmaster.cli.git import git_environment, run_git
from buildmaster.cli.problems import CommandMisused

_PATHS_AT_ONCE = 500


class SourceTree:
    """A work tree, uncommitted changes included. Nothing is written into its repository."""

    def __init__(
        self, root: Path, urls: Sequence[str], tree: str, environ: Mapping[str, str]
    ) -> None:
        """``environ`` is git's, in a repository that has the object ``tree``."""
        self.root = root
        self._urls = urls
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
        return list(dict.fromkeys([str(self.root), *self._urls]))[:10]

    def _run(self, *words: str) -> bytes:
        return _git(self.root, words, self._environ)


@contextmanager
def source_tree(folder: Path) -> Iterator[SourceTree]:
    """The work tree that ``folder`` is in; `CommandMisused` if it is in none."""
    own = git_environment()
    top = _git(folder, ("rev-parse", "--show-toplevel"), own, may_fail=True)
    if not top:
        raise CommandMisused(
            f"{folder.absolute()} is no work tree of git, and a farm knows sources by"
            " what git calls their parts"
        )
    root = Path(os.fsdecode(top.rstrip(b"\n")))
    told = _git(root, ("rev-parse", "--show-object-format", "--git-path", "objects",
                       "--git-path", "index", "--git-path", "info/exclude"),
                own).splitlines()  # fmt: skip
    kind = os.fsdecode(told[0])
    objects, index, exclude = (root / os.fsdecode(place) for place in told[1:])
    with TemporaryDirectory(prefix="headrace-plan-") as place:
        # A repository beside it: the settings of the tree's own could name programs through
        # which files go when they are added.
        aside = Path(place)
        init = ("init", "--quiet", "--template=", f"--object-format={kind}", place)
        _git(aside, init, own)
        (aside / ".git" / "info").mkdir(exist_ok=True)
        for file, copy in ((index, "index"), (exclude, "info/exclude")):
            if file.is_file():
                shutil.copyfile(file, aside / ".git" / copy)
        environ = own | {
            "GIT_DIR": str(aside / ".git"),
            "GIT_WORK_TREE": str(root),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        _git(root, ("add", "--all"), environ)
        tree = _git(root, ("write-tree",), environ).decode("ascii").strip()
        yield SourceTree(root, _urls(root, own), tree, environ)


def _urls(root: Path, environ: Mapping[str, str]) -> list[str]:
    """Where it comes from, without the names and passwords that addresses may hold."""
    words = ("config", "--get-regexp", r"^remote\..*\.url$")
    urls = _git(root, words, environ, may_fail=True)
    return [
        _without_secret(line.partition(" ")[2]) for line in os.fsdecode(urls).splitlines()
    ]


def _without_secret(url: str) -> str:
    scheme, found, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    who, _, host = place.rpartition("@")
    # The user of ssh is a part of the address; for others it may be a token.
    if not found or not who or (scheme == "ssh" and ":" not in who):
        return url
    return f"{scheme}://{host}{slash}{path}"


def _git(
    folder: Path, words: Sequence[str], environ: Mapping[str, str], may_fail: bool = False
) -> bytes:
    try:
        ended = run_git(folder, *words, environ=environ)
    except FileNotFoundError as error:
        raise CommandMisused("this needs git, which the machine has not") from error
    if ended.returncode == 0:
        return ended.stdout
    if may_fail:
        return b""
    said = ended.stderr.decode("utf-8", "replace").strip()
    raise CommandMisused(f"git {words[0]} does not work in {folder}: {said}")
