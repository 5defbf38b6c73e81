"""Reading repositories, with real git on local paths, `git daemon` and plain HTTP."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.server import Site
from twisted.web.static import File

from buildmaster.requests import Refusal
from buildmaster.source import git as git_module
from buildmaster.source import reader as reader_module
from buildmaster.source.reader import FILE_LIMIT, GitReader, Revision
from tests.buildmaster.source.repository import Repository
from tests.requirements import require

CONFIGURATION = "launchpad__yaml"
PATH = "launchpad.yaml"


class ReaderTestCase(TestCase):
    """A repository, and a reader with an empty cache."""

    allow_local = True

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        require(self, shutil.which("git") is not None, "git is not installed")
        self.home = Path(self.mktemp()).absolute()
        self.repository = Repository(self.home / "repository")
        self.first = self.repository.commit(**{CONFIGURATION: "first"})
        self.second = self.repository.commit(**{CONFIGURATION: "second"})
        self.reader = self.new_reader()

    def new_reader(self, **options: Any) -> GitReader:
        return GitReader(self.reactor, self.home / "cache", self.allow_local, **options)

    def read(
        self, revision: str = "HEAD", path: str = PATH, repository: str = ""
    ) -> Deferred[Revision]:
        where = repository or str(self.repository.folder)
        return Deferred.fromCoroutine(self.reader.read(where, revision, path))

    def mirror(self) -> Path:
        [mirror] = (self.home / "cache").glob("*.git")
        return mirror

    async def refusal(self, code: str, *arguments: str, **options: str) -> Refusal:
        try:
            await self.read(*arguments, **options)
        except Refusal as error:
            self.assertEqual(error.code, code, str(error))
            return error
        self.fail("it was read")


class LocalTests(ReaderTestCase):
    async def test_head_branch_tag_and_commit_are_found(self) -> None:
        self.repository.git("tag", "--annotate", "--message=x", "v1", self.first)
        self.repository.git("branch", "feature/x#1", self.first)
        first, second = Revision(self.first, b"first"), Revision(self.second, b"second")
        for revision, expected in (
            *(("HEAD", second), ("main", second), ("refs/heads/main", second)),
            *(("v1", first), ("feature/x#1", first)),
            *((self.first, first), (self.second, second)),
        ):
            self.assertEqual(await self.read(revision), expected, revision)

    async def test_a_branch_that_moved_is_read_anew(self) -> None:
        await self.read("main")
        third = self.repository.commit(**{CONFIGURATION: "third"})
        self.assertEqual(await self.read("main"), Revision(third, b"third"))
        mirror = self.mirror().stat().st_ino
        self.repository.git("reset", "--quiet", "--hard", self.first)
        self.assertEqual(await self.read("main"), Revision(self.first, b"first"))
        self.assertEqual(self.mirror().stat().st_ino, mirror, "it was begun anew")

    async def test_a_commit_that_was_read_before_needs_no_repository(self) -> None:
        await self.read(self.first)
        self.repository.folder.rename(self.home / "elsewhere")
        self.assertEqual(await self.read(self.first), Revision(self.first, b"first"))

    async def test_what_is_missing_is_named(self) -> None:
        for code, words in (
            ("revision_missing", ("nope",)),
            ("revision_missing", ("a" * 40,)),
            ("revision_missing", ("b" * 64,)),
            ("revision_missing", (self.first[:10],)),
            ("configuration_missing", ("HEAD", "nope.yaml")),
            ("configuration_missing", ("HEAD", f"{PATH}/x")),
            ("configuration_missing", ("HEAD", "*.yaml")),
        ):
            error = await self.refusal(code, *words)
            self.assertEqual(error.status, 422)
            self.assertIn(words[-1], str(error))
        nowhere = str(self.home / "nowhere")
        error = await self.refusal("repository_missing", repository=nowhere)
        self.assertIn(nowhere, str(error))
        await self.refusal("repository_missing", repository=str(self.home))
        empty = Repository(self.home / "empty")
        await self.refusal("revision_missing", repository=str(empty.folder))

    async def test_only_a_regular_file_of_bounded_size_is_read(self) -> None:
        (self.repository.folder / "link").symlink_to("/etc/passwd")
        (self.repository.folder / "folder").mkdir()
        (self.repository.folder / "folder" / "x").write_text("x")
        self.repository.commit(
            most=b"x" * FILE_LIMIT, more=b"x" * (FILE_LIMIT + 1), none=b"", raw=bytes(256)
        )
        await self.refusal("configuration_missing", "HEAD", "link")
        await self.refusal("configuration_missing", "HEAD", "folder")
        await self.refusal("configuration_too_large", "HEAD", "more")
        self.assertEqual(len((await self.read("HEAD", "most")).text), FILE_LIMIT)
        self.assertEqual((await self.read("HEAD", "none")).text, b"")
        self.assertEqual((await self.read("HEAD", "raw")).text, bytes(256))
        self.assertEqual((await self.read("HEAD", "folder/x")).text, b"x")

    async def test_a_tag_of_something_else_than_a_commit_is_no_revision(self) -> None:
        blob = self.repository.git("hash-object", "-w", PATH)
        self.repository.git("tag", "blob", blob)
        await self.refusal("revision_missing", "blob")
        await self.refusal("revision_missing", blob)

    async def test_a_repository_with_sha256_names_is_read(self) -> None:
        other = Repository(self.home / "sha256", form="sha256")
        commit = other.commit(**{CONFIGURATION: "x"})
        for revision in ("main", commit):
            found = await self.read(revision, repository=str(other.folder))
            self.assertEqual(found, Revision(commit, b"x"))
        await self.refusal("revision_missing", "nope", repository=str(other.folder))

    async def test_a_hook_of_a_repository_does_not_run(self) -> None:
        mark = self.home / "mark"
        hooks = self.repository.folder / ".git" / "hooks"
        for name in ("reference-transaction", "post-checkout", "fsmonitor-watchman"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {shlex.quote(str(mark))}\n")
            (hooks / name).chmod(0o755)
        for key in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand"):
            self.repository.git("config", key, f"touch {shlex.quote(str(mark))};")
        await self.read()
        await self.read(self.first)
        self.assertFalse(mark.exists())

    async def test_a_repository_of_another_user_is_read(self) -> None:
        require(self, os.geteuid() == 0, "only root can give a folder away")
        for path in (self.repository.folder, self.repository.folder / ".git"):
            os.chown(path, 12345, 12345)
        self.assertEqual((await self.read()).commit, self.second)

    async def test_a_mirror_that_is_damaged_is_no_way_up_to_another_repository(
        self,
    ) -> None:
        """The cache of a checkout's master may lie in that checkout."""
        self.reader = GitReader(self.reactor, self.repository.folder / "cache", True)
        await self.read()
        [mirror] = (self.repository.folder / "cache").glob("*.git")
        shutil.rmtree(mirror / "refs")
        third = self.repository.commit(**{CONFIGURATION: "third"})
        self.assertEqual((await self.read()).commit, third)
        self.assertTrue((mirror / "refs").exists(), "it was made anew")
        self.assertNotIn("headrace", self.repository.git("for-each-ref"))

    async def test_what_a_killed_git_left_is_in_nobodys_way(self) -> None:
        await self.read()
        mirror = self.mirror()
        number = mirror.stat().st_ino
        (mirror / "shallow.lock").touch()
        (mirror / "objects" / "pack" / "tmp_pack_x").touch()
        self.assertEqual((await self.read(self.first)).text, b"first")
        self.assertEqual(mirror.stat().st_ino, number, "it was begun anew")
        self.assertEqual(list(mirror.glob("objects/pack/tmp_*")), [])
        mirror.rename(mirror.with_suffix(".new"))  # killed while it was made
        self.assertEqual((await self.read()).commit, self.second)

    async def test_a_mirror_does_not_grow_for_ever(self) -> None:
        self.patch(reader_module, "_PACK_LIMIT", 3)
        for number in range(6):
            commit = self.repository.commit(**{CONFIGURATION: str(number)})
            self.assertEqual((await self.read()).commit, commit)
            packs = list((self.home / "cache").glob("*.git/objects/pack/*.pack"))
            self.assertLessEqual(len(packs), 3)

    async def test_a_fetch_brings_only_what_is_new(self) -> None:
        """Neither history nor what is there already."""
        self.repository.commit(big=os.urandom(300_000))
        self.repository.commit(big=os.urandom(300_000))
        await self.read()
        third = self.repository.commit(**{CONFIGURATION: "third"})
        self.assertEqual((await self.read()).commit, third)
        sizes = [
            p.stat().st_size for p in self.home.glob("cache/*.git/objects/pack/*.pack")
        ]
        self.assertLess(sum(sizes), 400_000)

    async def test_many_at_once_get_each_their_own(self) -> None:
        commits = [self.repository.commit(**{CONFIGURATION: str(n)}) for n in range(6)]
        found = await gatherResults([self.read(commit) for commit in commits])
        self.assertEqual(
            found, [Revision(c, str(n).encode()) for n, c in enumerate(commits)]
        )

    async def test_a_full_disk_is_the_operators(self) -> None:
        cache = self.home / "file"
        cache.write_text("")
        self.reader = GitReader(self.reactor, cache, True)
        error = await self.refusal("disk_full")
        self.assertEqual(error.status, 507)

    async def test_a_master_without_git_says_so(self) -> None:
        self.patch(os, "environ", {**os.environ, "PATH": "/nonexistent"})
        error = await self.refusal("git_failed")
        self.assertEqual(error.status, 503)


class HostileTests(ReaderTestCase):
    allow_local = False

    async def test_a_path_is_refused_where_none_is_allowed(self) -> None:
        await self.refusal("repository_not_allowed")
        await self.refusal(
            "repository_not_allowed", repository=f"file://{self.repository.folder}"
        )

    async def test_nothing_hostile_runs_anything(self) -> None:
        mark = self.home / "mark"
        for repository in (
            f"ext::touch {mark}",
            f"--upload-pack=touch {mark}",
            f"ssh://-oProxyCommand=touch${{IFS}}{mark}/x",
        ):
            await self.refusal("repository_not_allowed", repository=repository)
        for revision in (f"--upload-pack=touch {mark}", "+x:y"):
            await self.refusal("bad_revision", revision, repository="https://x/y")
        for path in ("../../etc/passwd", "/etc/passwd", "--help"):
            await self.refusal("bad_path", "HEAD", path, "https://x/y")
        self.assertFalse(mark.exists())
        self.assertFalse((self.home / "cache").exists(), "git was not even asked")

    async def test_a_redirection_to_another_protocol_is_not_followed(self) -> None:
        """Were the check of the address the only wall, it would be too thin."""
        own = self.home / "gitconfig"
        own.write_text(f'[url "{self.repository.folder}"]\n\tinsteadOf = git://here/\n')
        self.patch(os, "environ", {**os.environ, "GIT_CONFIG_GLOBAL": str(own)})
        error = await self.refusal("repository_missing", repository="git://here/")
        self.assertIn("'file' not allowed", str(error))


class _Daemon(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def processEnded(self, reason: object) -> None:
        self.ended.callback(None)


class NetworkTests(ReaderTestCase):
    allow_local = False

    async def daemon(self) -> str:
        """The address of the repository at a `git daemon`, stopped when the test ends."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        protocol = _Daemon()
        program = shutil.which("git") or ""
        process = self.reactor.spawnProcess(
            protocol,
            program,
            [
                *("git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1"),
                *(f"--port={port}", f"--base-path={self.home}", str(self.home)),
            ],
            {**os.environ, "GIT_CONFIG_COUNT": "1", **_safe()},
        )

        async def stop() -> None:
            process.signalProcess("TERM")
            await protocol.ended

        self.addCleanup(stop)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                await deferLater(self.reactor, 0.01)
        return f"git://127.0.0.1:{port}/repository"

    async def test_a_git_server_is_asked(self) -> None:
        address = await self.daemon()
        for revision in ("main", self.first):
            found = await self.read(revision, repository=address)
            self.assertIn(found.commit, (self.first, self.second))
        await self.refusal("revision_missing", "nope", repository=address)
        await self.refusal("revision_missing", "a" * 40, repository=address)
        await self.refusal("repository_missing", repository=address + "x")

    async def test_a_server_that_gives_only_what_is_named_is_asked(self) -> None:
        """As those do that speak only the first version of git's protocol."""
        old = git_module._CONFIGURATION.replace("version = 2", "version = 0")
        self.patch(git_module, "_CONFIGURATION", old)
        address = await self.daemon()
        await self.read("main", repository=address)
        found = await self.read(self.first, repository=address)
        self.assertEqual(found, Revision(self.first, b"first"))
        await self.refusal("revision_missing", "a" * 40, repository=address)

    async def test_a_plain_web_server_is_asked(self) -> None:
        """It can give neither a part of the history nor a commit by its name."""
        self.repository.git("update-server-info")
        port = self.reactor.listenTCP(0, Site(File(str(self.home))), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        base = f"http://127.0.0.1:{port.getHost().port}"
        address = f"{base}/repository/.git"
        self.assertEqual((await self.read("main", repository=address)).text, b"second")
        self.assertEqual((await self.read(self.first, repository=address)).text, b"first")
        await self.refusal("revision_missing", "nope", repository=address)
        await self.refusal("revision_missing", "a" * 40, repository=address)
        await self.refusal("repository_missing", repository=f"{base}/nowhere")

    async def test_a_server_that_is_not_there_is_told(self) -> None:
        await self.refusal("repository_missing", repository="http://127.0.0.1:1/a")

    async def silent_server(self) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        return f"git://127.0.0.1:{server.getsockname()[1]}/a"

    async def test_a_server_that_never_answers_is_given_up(self) -> None:
        address = await self.silent_server()
        self.reader = self.new_reader(time_limit=0.3)
        error = await self.refusal("source_timeout", repository=address)
        self.assertEqual(error.status, 504)
        while _processes_of(address):
            await deferLater(self.reactor, 0.01)

    async def test_who_does_not_wait_any_more_leaves_no_git_behind(self) -> None:
        address = await self.silent_server()
        waiting = self.read(repository=address)
        while not _processes_of(address):
            await deferLater(self.reactor, 0.01)
        second = self.read(repository=address)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        while _processes_of(address):
            await deferLater(self.reactor, 0.01)


def _safe() -> dict[str, str]:
    return {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


def _processes_of(address: str) -> list[str]:
    """The processes, zombies left out, that have ``address`` among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if address.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
