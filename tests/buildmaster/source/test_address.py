"""Which addresses, revisions and paths get as far as git."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.requests import Refusal
from buildmaster.source.address import check_address, check_path, check_revision

REMOTE = (
    "https://example.org/a/b.git",
    "http://example.org:8080/a",
    "ssh://git@example.org/a",
    "ssh://git@example.org:2222/~user/a",
    "git://example.org/a",
    "https://[::1]:8443/a",
    "git://127.0.0.1:9418/a",
    "git@example.org:a/b.git",
    "git@example.org:/srv/a",
    "example.org:a",
)

HOSTILE = (
    "",
    "-",
    "--upload-pack=touch /tmp/x",
    "ext::sh -c touch% /tmp/x",
    "ext::sh",
    "fd::17",
    "file:///etc",
    "FILE:///etc",
    "ftp://example.org/a",
    "transport::https://example.org/a",
    "https::https://example.org/a",
    "relative/path",
    "./path",
    "~/path",
    "ssh://-oProxyCommand=touch/a",
    "ssh://-oProxyCommand=touch@example.org/a",
    "ssh://a@-oProxyCommand=touch/a",
    "git@-oProxyCommand=touch:a",
    "-oProxyCommand=touch:a",
    "-o@example.org:a",
    "https://",
    "https:///a",
    "https://example.org/a b",
    "https://example.org/a\n",
    "https://example.org/\ta",
    "\thttps://example.org/a",
    "ht\ntps://example.org/a",
    "https://example.org:port/a",
    "https://[::1/a",
    "https://exa$(mple).org/a",
    "https://example.org/a\0b",
    "example.org:a\n",
    "example.org:a b",
)


class AddressTests(SynchronousTestCase):
    def test_what_git_reaches_over_a_network_is_allowed(self) -> None:
        for repository in REMOTE:
            check_address(repository, allow_local=False)

    def test_paths_of_the_master_only_where_the_operator_allows_them(self) -> None:
        check_address("/srv/git/a b", allow_local=True)
        for allow_local, repository in ((False, "/srv/git/a"), (True, "/srv\0/a")):
            with self.assertRaises(Refusal) as caught:
                check_address(repository, allow_local=allow_local)
            self.assertEqual(caught.exception.code, "repository_not_allowed")

    def test_nothing_else_gets_as_far_as_git(self) -> None:
        for repository in HOSTILE:
            for allow_local in (False, True):
                with self.subTest(repository=repository):
                    with self.assertRaises(Refusal) as caught:
                        check_address(repository, allow_local=allow_local)
                    self.assertEqual(caught.exception.status, 422)
                    self.assertEqual(caught.exception.code, "repository_not_allowed")

    def test_an_address_with_a_secret_is_refused_and_not_repeated(self) -> None:
        """A user name alone is how some forges take a token."""
        for user in ("mill:race", "mill", ":race", "mill:"):
            with self.assertRaises(Refusal) as caught:
                check_address(f"https://{user}@example.org/a", allow_local=True)
            self.assertEqual(caught.exception.code, "secret_in_address")
            self.assertNotIn("mill", str(caught.exception))
            self.assertNotIn("race", str(caught.exception))

    @given(st.text())
    def test_whatever_comes_it_is_allowed_or_refused(self, text: str) -> None:
        for check in (check_revision, check_path, _check):
            try:
                check(text)
            except Refusal:
                continue
            self.assertFalse(text.startswith("-"))
            self.assertNotIn("\0", text)


def _check(repository: str) -> None:
    check_address(repository, allow_local=True)


class RevisionTests(SynchronousTestCase):
    def test_names_of_commits_branches_and_tags_are_allowed(self) -> None:
        for revision in (
            "HEAD",
            "main",
            "v1.0",
            "feature/x#1",
            "é",
            "a" * 40,
            "refs/heads/a",
        ):
            check_revision(revision)

    def test_what_git_would_take_for_more_than_a_name_is_refused(self) -> None:
        for revision in (
            *("", "-x", "--all", "+main", "a:b", "main~1", "main^", "a..b", "@{-1}", "@"),
            *("a b", "a\n", "a*", "a?", "a[b", "a\\b", ".a", "a" * 300),
        ):
            with self.assertRaises(Refusal) as caught:
                check_revision(revision)
            self.assertEqual(caught.exception.code, "bad_revision")


class PathTests(SynchronousTestCase):
    def test_a_path_stays_in_its_source(self) -> None:
        for path in (".launchpad.yaml", "a/b.yaml", "...", "a..b"):
            check_path(path)
        for path in ("", "/a", "../a", "a/../b", "a//b", "a/", "./a", "-a", "a\0b", "a\nb"):
            with self.assertRaises(Refusal) as caught:
                check_path(path)
            self.assertEqual(caught.exception.code, "bad_path")
