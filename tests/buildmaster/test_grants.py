from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.grants import FARM, Grant, Right, Scope, is_below

TEAM = "https://example.com/team"


class ProjectTests(SynchronousTestCase):
    def test_a_project_is_an_address_and_what_lies_below_it(self) -> None:
        for repository in (TEAM, f"{TEAM}/", f"{TEAM}/a.git", f"{TEAM}/deep/er/a"):
            self.assertTrue(is_below(TEAM, repository), repository)
            self.assertTrue(is_below(f"{TEAM}/", repository), repository)
        self.assertTrue(is_below("git@example.com:team", "git@example.com:team/a"))
        self.assertTrue(is_below("/srv/git", "/srv/git/a"))

    def test_neighbours_and_ways_out_are_not_below_it(self) -> None:
        for repository in (
            "https://example.com/teammates/a",
            "https://example.com/team.git",
            "https://example.com/other/a",
            "https://EXAMPLE.com/team/a",
            "https://example.com:443/team/a",
            f"{TEAM}/../other/a",
            f"{TEAM}/a/..",
            f"{TEAM}/./a",
            f"{TEAM}//other/a",
            f"{TEAM}/%2e%2e/other",
            f"{TEAM}/a?b",
            f"{TEAM}/a#b",
            f"{TEAM}\\a",
            f"{TEAM}/..\\other",
            "http://example.com/team/a",
            "",
        ):
            self.assertFalse(is_below(TEAM, repository), repository)
        self.assertFalse(is_below("https://example.com", "https://example.com@evil/a"))
        self.assertFalse(is_below("https://example.com", "https://example.com.evil/a"))

    @given(st.text(), st.text())
    def test_below_means_that_the_address_begins_so(self, top: str, rest: str) -> None:
        if is_below(top, rest):
            self.assertTrue(rest.startswith(top.rstrip("/")))

    def test_a_limited_grant_does_not_reach_what_has_no_repository(self) -> None:
        limited = Grant("token ci", (Right(frozenset({Scope.SUBMIT}), TEAM),))
        self.assertTrue(limited.reaches(Scope.SUBMIT, f"{TEAM}/a"))
        self.assertFalse(limited.reaches(Scope.SUBMIT, None))
        self.assertTrue(FARM.reaches(Scope.SUBMIT, None))

    def test_each_scope_reaches_the_projects_that_it_was_granted_for(self) -> None:
        other = "https://example.com/other"
        read, cancel = frozenset({Scope.READ}), frozenset({Scope.READ, Scope.CANCEL})
        grant = Grant("person ada", (Right(read, TEAM), Right(cancel, other)))
        self.assertEqual(grant.projects(Scope.READ), (other, TEAM))
        self.assertEqual(grant.projects(Scope.CANCEL), (other,))
        self.assertEqual(grant.projects(Scope.SUBMIT), ())
        self.assertTrue(grant.reaches(Scope.READ, f"{TEAM}/a"))
        self.assertFalse(grant.reaches(Scope.CANCEL, f"{TEAM}/a"))
        self.assertTrue(grant.reaches(Scope.CANCEL, f"{other}/a"))
        self.assertFalse(grant.reaches(Scope.SUBMIT, f"{other}/a"))
        whole = Grant("person ada", (*grant.rights, Right(read)))
        self.assertIsNone(whole.projects(Scope.READ))
        self.assertEqual(whole.projects(Scope.CANCEL), (other,))

    def test_admins_may_do_everything_and_others_what_was_granted(self) -> None:
        self.assertTrue(all(map(FARM.covers, Scope)))
        for scope in (Scope.READ, Scope.SUBMIT, Scope.CANCEL):
            grant = Grant("token x", (Right(frozenset({scope})),))
            self.assertEqual([each for each in Scope if grant.covers(each)], [scope])
