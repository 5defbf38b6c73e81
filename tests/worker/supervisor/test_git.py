from __future__ import annotations

import base64
import os
import shlex
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.order import GitSource
from protocol.results import Result
from tests.requirements import require
from tests.worker.supervisor.attempts import commit, folder, job, order, repository, run
from worker.supervisor.endings import CannotRun, Malformed
from worker.supervisor.git import fetch, remote

ALL = ("file", "git", "http", "https", "ssh")


class RemoteTests(SynchronousTestCase):
    def test_credentials_are_taken_out_of_the_url(self) -> None:
        found = remote("https://ann:pa%20ss@example.org:81/x.git", ALL)
        self.assertEqual(found.url, "https://example.org:81/x.git")
        self.assertEqual((found.user, found.password), ("ann", "pa ss"))
        self.assertNotIn("pa ss", found.clean("login ann:pa ss failed"))

    def test_ssh_in_its_short_form_is_known(self) -> None:
        self.assertEqual(remote("git@example.org:x/y", ALL).url, "git@example.org:x/y")

    def test_what_git_would_take_for_an_option_or_a_command_is_refused(self) -> None:
        for hostile in (
            "--upload-pack=touch /tmp/x",
            "-oProxyCommand=x:y",
            "ext::sh -c x",
            "fd::17",
            "../up",
            "",
        ):
            self.assertRaises(Malformed, remote, hostile, ALL)

    def test_only_protocols_that_the_operator_allows_are_used(self) -> None:
        self.assertRaises(Malformed, remote, "http://example.org/x", ("https",))
        self.assertRaises(Malformed, remote, "/srv/x.git", ("https",))
        self.assertRaises(Malformed, remote, "ftp://example.org/x", ALL)

    @given(st.text(max_size=60))
    def test_anything_is_either_taken_or_refused(self, text: str) -> None:
        try:
            self.assertFalse(remote(text, ALL).url.startswith("-"))
        except Malformed:
            pass


class FetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = folder(self)
        self.cache = self.top / "cache"
        self.source = repository(self, {"greeting": "hello\n"})
        self.place = Path(self.source.repository)

    def fetch(self, commit: str, name: str = "tree", repository: str = "") -> Path:
        target = self.top / name
        fetch(repository or self.source.repository, commit, self.cache, target, ALL)
        return target

    def test_the_tree_is_that_of_the_commit_with_its_history(self) -> None:
        (self.place / "greeting").write_text("changed\n")
        newer = commit(self.place)
        older = self.fetch(self.source.commit)
        self.assertEqual((older / "greeting").read_text(), "hello\n")
        tree = self.fetch(newer, "newer")
        log = subprocess.run(
            ["git", "log", "--format=%H"], cwd=tree, check=True, stdout=subprocess.PIPE
        )
        self.assertEqual(log.stdout.decode().split(), [newer, self.source.commit])

    def test_what_is_in_the_mirror_is_not_asked_for_again(self) -> None:
        self.fetch(self.source.commit)
        self.place.rename(self.place.with_name("moved"))
        self.place.mkdir()
        self.fetch(self.source.commit, "again")

    def test_a_mirror_that_a_crash_left_locked_is_used_again(self) -> None:
        self.fetch(self.source.commit)
        [mirror] = self.cache.glob("*.git")
        branch = next(path for path in (mirror / "refs/heads").iterdir())
        branch.with_name(f"{branch.name}.lock").touch()
        (mirror / "same").touch()
        (self.place / "new").touch()
        self.fetch(commit(self.place), "again")
        self.assertTrue((mirror / "same").exists(), "it was fetched anew as a whole")

    def test_a_mirror_that_is_damaged_is_made_anew(self) -> None:
        self.fetch(self.source.commit)
        [mirror] = self.cache.glob("*.git")
        (self.place / "new").touch()
        newer = commit(self.place)
        for path in (mirror / "objects").rglob("*"):
            if path.is_file():
                path.chmod(0o644)
                path.write_bytes(b"rubbish")
        self.fetch(newer, "again")

    def test_a_commit_on_no_branch_is_fetched_by_its_name(self) -> None:
        (self.place / "greeting").write_text("changed\n")
        loose = commit(self.place)
        subprocess.run(
            ["git", "reset", "--quiet", "--hard", self.source.commit],
            cwd=self.place,
            check=True,
        )
        self.assertEqual((self.fetch(loose) / "greeting").read_text(), "changed\n")

    def test_a_commit_that_does_not_exist_is_the_users_fault(self) -> None:
        gone = "12" * 20
        error = self.assertRaises(Malformed, self.fetch, gone)
        self.assertIn(f"has no commit {gone}", error.reason)

    def test_what_is_no_commit_name_is_refused(self) -> None:
        for name in ("HEAD", "--help", "1234", "12" * 20 + "\n", "G" * 40):
            self.assertRaises(Malformed, self.fetch, name)

    def test_a_repository_that_is_not_there_is_the_farms_fault(self) -> None:
        error = self.assertRaises(
            CannotRun, self.fetch, "12" * 20, "tree", str(self.top / "gone")
        )
        self.assertIn("there is no repository", error.reason)
        error = self.assertRaises(
            CannotRun, self.fetch, "12" * 20, "tree", "http://127.0.0.1:1/x.git"
        )
        self.assertIn("cannot fetch http://127.0.0.1:1/x.git", error.reason)

    def test_hooks_of_the_repository_or_of_a_template_never_run(self) -> None:
        trap = self.top / "trapped"
        templates = self.top / "templates"
        for hooks in (templates / "hooks", self.place / ".git/hooks"):
            hooks.mkdir(parents=True, exist_ok=True)
            for name in ("post-checkout", "reference-transaction", "pre-auto-gc"):
                (hooks / name).write_text(f"#!/bin/sh\ntouch {shlex.quote(str(trap))}\n")
                (hooks / name).chmod(0o755)
        own = self.top / "gitconfig"
        own.write_text(f"[core]\n\thooksPath = {templates}/hooks\n")
        variables = {"GIT_TEMPLATE_DIR": str(templates), "GIT_CONFIG_GLOBAL": str(own)}
        self.patch(os, "environ", {**os.environ, **variables})
        self.fetch(self.source.commit)
        self.assertFalse(trap.exists())

    def test_submodules_are_not_followed(self) -> None:
        (self.place / ".gitmodules").write_text(
            f'[submodule "x"]\n\tpath = x\n\turl = {self.place}\n'
        )
        link = f"160000,{self.source.commit},x"
        for arguments in (
            ["add", ".gitmodules"],
            ["update-index", "--add", "--cacheinfo", link],
        ):
            subprocess.run(["git", *arguments], cwd=self.place, check=True)
        tree = self.fetch(commit(self.place, add=False))
        self.assertEqual([path.name for path in (tree / "x").iterdir()], [])

    def test_a_repository_of_another_user_can_be_read(self) -> None:
        require(self, os.geteuid() == 0, "only root can give files away")
        for path in [self.place, *self.place.rglob("*")]:
            os.chown(path, 65534, 65534)
        self.fetch(self.source.commit)

    def test_the_tree_shares_nothing_with_the_mirror(self) -> None:
        tree = self.fetch(self.source.commit)
        links = [path.stat().st_nlink for path in tree.rglob("*") if path.is_file()]
        self.assertEqual(set(links), {1})

    def test_repositories_with_long_names_of_commits_work(self) -> None:
        place = folder(self) / "long"
        place.mkdir()
        subprocess.run(
            ["git", "init", "--quiet", "--object-format=sha256"], cwd=place, check=True
        )
        (place / "greeting").write_text("hello\n")
        tree = self.fetch(commit(place), "tree", str(place))
        self.assertEqual((tree / "greeting").read_text(), "hello\n")


class PasswordServer:
    """Asks for a password at each request; remembers which it was given."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.seen: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization") or ""
                if given:
                    outer.seen.append(base64.b64decode(given.split()[1]).decode())
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        test.addCleanup(thread.join)
        test.addCleanup(server.server_close)
        test.addCleanup(server.shutdown)


class CredentialTests(SynchronousTestCase):
    def test_a_password_reaches_the_server_but_no_log_and_no_file(self) -> None:
        server = PasswordServer(self)
        asked = GitSource(
            repository=f"http://ann:hush-hush@{server.address}/x.git", commit="12" * 20
        )
        told = run(self, order(asked, [[("unit", job("true"))]]))
        self.assertIn("ann:hush-hush", server.seen)
        self.assertEqual(told.end.result, Result.ERROR)
        self.assertIn(server.address, told.end.reason)
        self.assertNotIn("hush", told.log() + told.end.reason)

    def test_nobody_is_asked_for_a_password_that_was_not_given(self) -> None:
        server = PasswordServer(self)
        asked = GitSource(repository=f"http://{server.address}/x.git", commit="12" * 20)
        told = run(self, order(asked, [[("unit", job("true"))]]))
        self.assertEqual(told.end.result, Result.ERROR)
        self.assertEqual(set(server.seen) - {":"}, set())
