"""Asks a git repository which commit a revision is, and for one file of it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import DeferredLock, DeferredSemaphore
from twisted.internet.threads import deferToThread

from buildmaster.requests import Refusal
from buildmaster.source.address import (
    REMOTE_PROTOCOLS,
    check_address,
    check_path,
    check_revision,
)
from buildmaster.source.git import Ended, Git, GitTimeout

#: Bytes of a configuration file.
FILE_LIMIT = 512 * 1024
#: Fetches after which a mirror is begun anew, which is cheaper than tidying it.
_PACK_LIMIT = 100
#: Parts of a commit that one command names.
_PATHS_AT_ONCE = 500
T = TypeVar("T")
#: Repositories that are asked at the same time.
_AT_ONCE = 4

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
#: What git says of a revision that the repository does not have, or does not give out.
_NOT_THERE = re.compile(
    r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref"
    r"|Server does not allow request|Unable to find [0-9a-f]+ under"
)
_NO_SHALLOW = "does not support shallow"
_OTHER_FORMAT = "mismatched algorithms"
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")


@dataclass(frozen=True)
class Revision:
    """A commit, and the text of the file that was asked for."""

    commit: str
    text: bytes
    path: str = field(default="", compare=False)  #: of several, which one it is


@dataclass(frozen=True)
class Parts:
    """Files of a commit, and what its parts are called."""

    files: dict[str, bytes]
    digests: dict[str, str]  #: a part that is not there has an empty one


class GitReader:
    """Keeps a bare mirror for each repository below ``cache``.

    ``time_limit`` is how many seconds a repository may take to answer, with all it is
    asked for one `read`. Nobody else may use ``cache``.
    """

    def __init__(
        self, reactor: Any, cache: Path, allow_local: bool, *, time_limit: float = 60.0
    ) -> None:
        protocols = (*REMOTE_PROTOCOLS, "file") if allow_local else REMOTE_PROTOCOLS
        self._git = Git(reactor, cache.absolute(), protocols)
        self._clock = reactor
        self._allow_local = allow_local
        self._time_limit = time_limit
        self._locks: dict[str, DeferredLock] = {}
        self._turns = DeferredSemaphore(_AT_ONCE)

    async def read(self, repository: str, revision: str, *paths: str) -> Revision:
        """The commit that ``revision`` is, and the first of the files at ``paths`` in it.

        ``revision`` is a whole commit id or the name of a branch or tag. Raises `Refusal`
        with a sentence that says what is missing, or not allowed.
        """
        for path in paths:
            check_path(path)
        check_revision(revision)
        return await self._in_turn(
            repository, revision, paths, lambda question: question.answer()
        )

    async def parts(
        self, repository: str, commit: str, files: Sequence[str], paths: Sequence[str]
    ) -> Parts:
        """Files of a commit, and what git calls the parts of it at ``paths``.

        The commit was just read. ``""`` is all of it.
        """
        for path in (*files, *(path for path in paths if path)):
            check_path(path)
        return await self._in_turn(
            repository, commit, (), lambda question: question.parts(files, paths)
        )

    async def _in_turn(
        self,
        repository: str,
        revision: str,
        paths: Sequence[str],
        ask: Callable[[_Question], Awaitable[T]],
    ) -> T:
        check_address(repository, allow_local=self._allow_local)
        lock = self._locks.setdefault(repository, DeferredLock())
        await lock.acquire()
        try:
            await self._turns.acquire()
            try:
                return await self._ask(repository, revision, paths, ask)
            finally:
                self._turns.release()
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(repository, None)

    async def _ask(
        self,
        repository: str,
        revision: str,
        paths: Sequence[str],
        ask: Callable[[_Question], Awaitable[T]],
    ) -> T:
        try:
            self._git.prepare()
        except OSError as error:
            raise Refusal(
                507, "disk_full", f"The buildmaster cannot keep sources: {error}."
            ) from error
        ends = self._clock.seconds() + self._time_limit
        question = _Question(self._git, self._clock, ends, repository, revision, paths)
        try:
            return await ask(question)
        except GitTimeout as error:
            raise Refusal(
                504,
                "source_timeout",
                f"{repository} did not answer within {self._time_limit:g} seconds; "
                "try again later, or ask who runs it.",
            ) from error


@dataclass(frozen=True)
class _Question:
    """One revision and file of one repository, to be answered in time."""

    git: Git
    clock: Any
    ends: float
    repository: str
    revision: str
    paths: Sequence[str]

    async def parts(self, files: Sequence[str], paths: Sequence[str]) -> Parts:
        mirror = await self._mirror("sha256" if len(self.revision) == 64 else "sha1")
        try:
            commit = await self._commit(mirror)
            texts = {path: await self._file(mirror, commit, [path]) for path in files}
            return Parts(
                {path: text for path, (text, _) in texts.items()},
                await self._digests(mirror, commit, paths),
            )
        finally:
            _tidy(mirror)

    async def _digests(
        self, mirror: Path, commit: str, paths: Sequence[str]
    ) -> dict[str, str]:
        found = dict.fromkeys(paths, "")
        if "" in found:
            named = await self._run(mirror, "rev-parse", "--verify", f"{commit}^{{tree}}")
            if named.status != 0:
                self._blame_operator(named)
            found[""] = named.out.decode("ascii").strip()
        normal = {posixpath.normpath(path): path for path in paths if path}
        asked = sorted(normal)
        for first in range(0, len(asked), _PATHS_AT_ONCE):
            words = asked[first : first + _PATHS_AT_ONCE]
            listed = await self._run(
                mirror,
                "--literal-pathspecs",
                "ls-tree",
                "-z",
                "--full-tree",
                commit,
                "--",
                *words,
            )
            if listed.status != 0:
                self._blame_operator(listed)
            for line in listed.out.split(b"\0"):
                kind, _, name = line.partition(b"\t")
                path = os.fsdecode(name)
                if path in normal:
                    found[normal[path]] = kind.decode("ascii")
        for path in paths:
            if path and posixpath.normpath(path) == ".":
                found[path] = (await self._digests(mirror, commit, [""]))[""]
            elif path:
                found[path] = found[normal[posixpath.normpath(path)]]
        return found

    async def answer(self) -> Revision:
        formats = ("sha256",) if len(self.revision) == 64 else ("sha1", "sha256")
        for form in formats:
            try:
                return await self._ask_twice(form)
            except _OtherFormatError:
                continue
        self._no_such_revision()

    async def _ask_twice(self, form: str) -> Revision:
        try:
            return await self._ask(form)
        except Refusal as refusal:
            if refusal.code not in ("source_failed", "git_failed"):
                raise
        # A crash may have damaged the mirror; if so, a new one helps.
        await deferToThread(shutil.rmtree, self._place(form, "git"), ignore_errors=True)
        return await self._ask(form)

    async def _ask(self, form: str) -> Revision:
        mirror = await self._mirror(form)
        try:
            commit = await self._commit(mirror)
            text, path = await self._file(mirror, commit, self.paths)
            return Revision(commit, text, path)
        finally:
            _tidy(mirror)

    def _place(self, form: str, ending: str) -> Path:
        key = hashlib.sha256(f"{form} {self.repository}".encode()).hexdigest()[:40]
        return self.git.home / f"{key}.{ending}"

    async def _mirror(self, form: str) -> Path:
        mirror, unfinished = self._place(form, "git"), self._place(form, "new")
        packs = sum(1 for _ in mirror.glob("objects/pack/*.pack"))
        if (mirror / "HEAD").exists() and packs < _PACK_LIMIT:
            _tidy(mirror)
            return mirror
        # Complete before it gets its name: a crash leaves no half mirror.
        for old in (unfinished, mirror):
            await deferToThread(shutil.rmtree, old, ignore_errors=True)
        options = ("--quiet", "--bare", "--template=", f"--object-format={form}")
        made = await self._run(None, "init", *options, str(unfinished))
        if made.status != 0:
            self._blame_operator(made)
        unfinished.rename(mirror)
        return mirror

    async def _commit(self, mirror: Path) -> str:
        """Which commit the revision is; fetched if the mirror lacks it."""
        if _COMMIT.match(self.revision):
            known = await self._resolve(mirror, self.revision)
            if known is not None:
                return known
        # Kept under a name, so that the next fetch need not bring all of it again.
        kept = f"refs/headrace/{hashlib.sha256(self.revision.encode()).hexdigest()[:16]}"
        fetched = await self._fetch(mirror, "--depth=1", f"+{self.revision}:{kept}")
        if _NO_SHALLOW in fetched.err:
            fetched = await self._fetch(mirror, f"+{self.revision}:{kept}")
        if fetched.status == 0:
            found = await self._resolve(mirror, kept)
        elif _COMMIT.match(self.revision):
            # Some servers give no commit that no branch or tag names.
            found = await self._find_in_history(mirror)
        else:
            found = None
        return found or await self._say_what_is_wrong(mirror, fetched)

    async def _find_in_history(self, mirror: Path) -> str | None:
        everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        # A mirror that is shallow in places would stay so without a depth.
        fetched = await self._fetch(mirror, "--depth=2147483647", *everything)
        if _NO_SHALLOW in fetched.err:
            await self._fetch(mirror, *everything)
        return await self._resolve(mirror, self.revision)

    async def _fetch(self, mirror: Path, *words: str) -> Ended:
        options = [word for word in words if word.startswith("--")]
        names = [word for word in words if not word.startswith("--")]
        fixed = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
        fetched = await self._run(mirror, *fixed, *options, "--", self.repository, *names)
        if _OTHER_FORMAT in fetched.err:
            raise _OtherFormatError
        return fetched

    async def _resolve(self, mirror: Path, name: str) -> str | None:
        what = ("--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        ended = await self._run(mirror, "rev-parse", *what)
        return ended.out.decode("ascii").strip() if ended.status == 0 else None

    async def _file(
        self, mirror: Path, commit: str, paths: Sequence[str]
    ) -> tuple[bytes, str]:
        """The bytes of the first of the files that ``commit`` has, and its path."""
        path = ""
        for path in paths:
            listed = await self._run(mirror, "ls-tree", "-z", "-l", commit, "--", path)
            fields = (*listed.out.partition(b"\t")[0].split(), *[b""] * 4)
            mode, kind, name, size = fields[:4]
            if listed.status == 0 and mode:
                break
        if listed.status != 0 or not mode:
            raise Refusal(
                422,
                "configuration_missing",
                f"Commit {commit} of {self.repository} has no file {path}: add "
                "one, or name another with --config.",
            )
        if kind != b"blob" or mode == b"120000":
            raise Refusal(
                422,
                "configuration_missing",
                f"{path} in commit {commit} of {self.repository} is not a regular file.",
            )
        if int(size) > FILE_LIMIT:
            raise Refusal(
                422,
                "configuration_too_large",
                f"{path} has {int(size)} bytes; {FILE_LIMIT} are allowed.",
            )
        read = await self._run(mirror, "cat-file", "blob", name.decode("ascii"))
        if read.status != 0 or len(read.out) != int(size):
            self._blame_operator(read)
        return read.out, path

    async def _say_what_is_wrong(self, mirror: Path, fetched: Ended) -> NoReturn:
        if _DISK_FULL.search(fetched.err):
            self._blame_operator(fetched)
        listed = await self._run(mirror, "ls-remote", "--quiet", "--", self.repository)
        if listed.status == 127:
            self._blame_operator(listed)
        if listed.status != 0:
            raise Refusal(
                422,
                "repository_missing",
                f"The repository {self.repository} cannot be read ({listed.said}). Check "
                "its address, and whether the buildmaster may read it.",
            )
        if fetched.status == 0 or _NOT_THERE.search(fetched.err):
            self._no_such_revision()
        raise Refusal(
            502,
            "source_failed",
            f"{self.revision} of the repository {self.repository} cannot be fetched "
            f"({fetched.said}). Try again; if it stays so, ask who runs the repository.",
        )

    def _no_such_revision(self) -> NoReturn:
        raise Refusal(
            422,
            "revision_missing",
            f"The repository {self.repository} has no commit, branch or tag "
            f"{self.revision}: push it first, or correct its name. A commit is named by "
            "all its digits.",
        )

    def _blame_operator(self, ended: Ended) -> NoReturn:
        if _DISK_FULL.search(ended.err):
            raise Refusal(
                507,
                "disk_full",
                "The disk of the buildmaster is full, so it cannot fetch sources: its "
                "operator has to make room.",
            )
        raise Refusal(
            503,
            "git_failed",
            f"Git does not work on the buildmaster ({ended.said}): its operator has to "
            "look at that.",
        )

    async def _run(self, mirror: Path | None, *arguments: str) -> Ended:
        return await self.git.run(mirror, self.ends - self.clock.seconds(), *arguments)


class _OtherFormatError(Exception):
    """The repository names its objects by another hash than the mirror."""


def _tidy(mirror: Path) -> None:
    """Remove what commands that were killed left behind; the mirror is ours alone now."""
    for pattern in ("*.lock", "objects/pack/tmp_*", "objects/pack/*.lock"):
        for left in mirror.glob(pattern):
            left.unlink(missing_ok=True)
