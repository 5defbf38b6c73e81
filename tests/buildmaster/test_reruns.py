from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.dependencies import Require
from buildmaster.reruns import (
    Candidate,
    Filter,
    NothingToRerunError,
    RerunScope,
    Selection,
    Wait,
    choose,
)
from protocol.results import Result

#: B passes, C fails, A waits for both and D for A; E is apart.
JOBS = [
    Candidate(1, "build", "B", "arch=amd64,series=noble", Result.SUCCESS),
    Candidate(2, "build", "C", "arch=amd64,series=noble", Result.FAILURE),
    Candidate(3, "build", "A", "arch=amd64,series=noble", Result.UNRUN),
    Candidate(4, "publish", None, "", Result.UNRUN),
    Candidate(5, "lint", None, "", Result.SUCCESS),
    Candidate(6, "notify", None, "", None),
]
WAITS = [Wait(1, 3), Wait(2, 3), Wait(3, 4), Wait(4, 6, Require.ALWAYS)]


class ChooseTests(SynchronousTestCase):
    def choose(self, scope: RerunScope, **only: str) -> Selection:
        return choose(JOBS, WAITS, scope, Filter(**only))

    def test_failed_is_what_ended_badly_or_never_ran(self) -> None:
        self.assertEqual(self.choose("failed"), Selection((2, 3, 4)))

    def test_what_is_in_the_way_comes_along(self) -> None:
        self.assertEqual(self.choose("failed", package="A"), Selection((2, 3), {2: 3}))
        self.assertEqual(
            self.choose("failed", job="publish"), Selection((2, 3, 4), {2: 3, 3: 4})
        )

    def test_a_failure_that_is_allowed_is_in_nobodys_way(self) -> None:
        jobs = [
            Candidate(1, "a", None, "", Result.FAILURE, allow_failure=True),
            Candidate(2, "b", None, "", Result.FAILURE),
        ]
        chosen = choose(jobs, [Wait(1, 2)], "failed", Filter(job="b"))
        self.assertEqual(chosen, Selection((2,)))

    def test_from_here_is_all_that_waits_for_it_and_has_ended(self) -> None:
        self.assertEqual(
            self.choose("from-here", package="B"), Selection((1, 2, 3, 4), {2: 3})
        )

    def test_node_is_what_is_named(self) -> None:
        self.assertEqual(self.choose("node", job="lint"), Selection((5,)))
        self.assertEqual(
            self.choose("node", cell="arch=amd64", package="B"), Selection((1,))
        )

    def test_nothing_is_an_error_and_never_everything(self) -> None:
        for scope, only in (
            ("failed", {"job": "lint"}),
            ("failed", {"package": "X"}),
            ("node", {"job": "notify"}),
            ("from-here", {"cell": "arch=s390x"}),
        ):
            with self.assertRaises(NothingToRerunError):
                self.choose(scope, **only)  # type: ignore[arg-type]
        with self.assertRaises(NothingToRerunError):
            choose([], [], "failed", Filter())
