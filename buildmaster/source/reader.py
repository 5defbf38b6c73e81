"""Asks a git repository which commit a revision is, and for one file of it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredLock

from buildmaster.requests import Refusal
from buildmaster.source.git import REMOTE_PROTOCOLS, Git, GitTimeout, check_address

#: Bytes of a configuration file.
FILE_LIMIT = 512 * 1024

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./@+-]{0,240}\Z")


@dataclass(frozen=True)
class Revision:
    """A commit, and the text of the file that was asked for."""

    commit: str
    text: bytes


def check_path(path: str) -> None:
    """Refuse a path of a file that leads out of its source."""
    parts = path.split("/")
    if path.startswith(("/", "-")) or ".." in parts or "" in parts or "\0" in path:
        raise Refusal(
            422,
            "bad_path",
            f"The configuration's path {path!r} must be relative, without '..'.",
        )


class GitReader:
    """Keeps a bare mirror for each repository below ``cache``."""

    def __init__(self, reactor: Any, cache: Path, allow_local: bool) -> None:
        protocols = (*REMOTE_PROTOCOLS, "file") if allow_local else REMOTE_PROTOCOLS
        self._git = Git(reactor, cache, protocols)
        self._cache = cache
        self._allow_local = allow_local
        self._locks: dict[str, DeferredLock] = {}

    async def read(self, repository: str, revision: str, path: str) -> Revision:
        """The commit that ``revision`` is, and the file at ``path`` in it.

        Raises `Refusal` with a sentence that says what is missing, or not allowed.
        """
        check_address(repository, allow_local=self._allow_local)
        check_path(path)
        if not _NAME.match(revision) or ".." in revision or "@{" in revision:
            raise Refusal(
                422,
                "bad_revision",
                f"{revision!r} is no commit, branch or tag that could be asked for.",
            )
        lock = self._locks.setdefault(repository, DeferredLock())
        await lock.acquire()
        try:
            return await self._read(_Question(self._git, repository, revision, path))
        except GitTimeout as error:
            raise Refusal(
                504,
                "source_timeout",
                f"{repository} did not answer within {self._git.time_limit:.0f} seconds; "
                f"try again later, or ask who runs it.",
            ) from error
        finally:
            lock.release()
            if not lock.waiting and not lock.locked:
                self._locks.pop(repository, None)

    async def _read(self, question: _Question) -> Revision:
        self._git.prepare()
        name = hashlib.sha256(question.repository.encode()).hexdigest()[:32]
        mirror = self._cache / f"{name}.git"
        if not mirror.is_dir():
            await self._git.run(self._cache, "init", "--quiet", "--bare", str(mirror))
        commit = await question.commit(mirror)
        return Revision(commit, await question.file(mirror, commit))


@dataclass(frozen=True)
class _Question:
    """One revision and file of one repository."""

    git: Git
    repository: str
    revision: str
    path: str

    async def commit(self, mirror: Path) -> str:
        """Which commit the revision is; fetched if the mirror lacks it."""
        if _COMMIT.match(self.revision):
            known = await self._resolve(mirror, self.revision)
            if known is not None:
                return known
            await self._fetch(mirror, "--depth=1", self.revision)
            found = await self._resolve(mirror, self.revision)
            if found is None:
                # Some servers give no commit that no branch or tag names.
                await self._fetch(mirror, "--tags", "+refs/heads/*:refs/heads/*")
                found = await self._resolve(mirror, self.revision)
        else:
            fetched = await self._fetch(mirror, "--depth=1", self.revision)
            found = await self._resolve(mirror, "FETCH_HEAD") if fetched else None
        if found is None:
            await self._say_what_is_missing(mirror)
        assert found is not None
        return found

    async def file(self, mirror: Path, commit: str) -> bytes:
        """The file's bytes in ``commit``."""
        name = f"{commit}:{self.path}"
        size = await self.git.run(mirror, "cat-file", "-s", name)
        kind = await self.git.run(mirror, "cat-file", "-t", name)
        if size.status != 0 or kind.out.strip() != b"blob":
            raise Refusal(
                422,
                "configuration_missing",
                f"Commit {commit} of {self.repository} has no file {self.path}: add "
                f"one, or name another with --config.",
            )
        if int(size.out) > FILE_LIMIT:
            raise Refusal(
                422,
                "configuration_too_large",
                f"{self.path} has {int(size.out)} bytes; {FILE_LIMIT} are allowed.",
            )
        return (await self.git.run(mirror, "cat-file", "blob", name)).out

    async def _fetch(self, mirror: Path, *what: str) -> bool:
        options, names = (
            [w for w in what if w.startswith("--")],
            [w for w in what if not w.startswith("--")],
        )
        ended = await self.git.run(
            mirror,
            *("fetch", "--quiet", "--no-write-commit-graph", *options),
            *("--", self.repository, *names),
        )
        return ended.status == 0

    async def _resolve(self, mirror: Path, name: str) -> str | None:
        ended = await self.git.run(
            mirror,
            "rev-parse",
            "--quiet",
            "--verify",
            "--end-of-options",
            f"{name}^{{commit}}",
        )
        return ended.out.decode("ascii").strip() if ended.status == 0 else None

    async def _say_what_is_missing(self, mirror: Path) -> None:
        ended = await self.git.run(mirror, "ls-remote", "--quiet", "--", self.repository)
        if ended.status != 0:
            raise Refusal(
                422,
                "repository_missing",
                f"The repository {self.repository} cannot be read ({ended.said}). Check "
                f"its address, and whether the buildmaster may read it.",
            )
        raise Refusal(
            422,
            "revision_missing",
            f"The repository {self.repository} has no commit, branch or tag "
            f"{self.revision}: push it first, or correct its name.",
        )
