"""What will become of a node, in words."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.references.keys import Keys
from buildmaster.references.outlook import Outlook, outlook
from buildmaster.status.keys import ComparedNode, Passed
from tests.buildmaster.references.files import graph

HERE = "chroot/amd64/noble"
PASSED = Passed(
    job=7,
    attempt=1,
    run=3,
    repository="r",
    finished_at="2026-01-31T12:34:56.000000Z",
    same_image=True,
    stands=True,
)
BEFORE = ComparedNode(
    job=5,
    run=2,
    state="done",
    result="success",
    finished_at=None,
    same_key=False,
    same_base=True,
    same_configuration=True,
    environment=HERE,
)


class OutlookTests(SynchronousTestCase):
    def of(
        self,
        keys: str = "reuse: inputs",
        *,
        late: bool = False,
        passed: Passed | None = None,
        before: ComparedNode | None = None,
        ups: tuple[str, ...] = (),
        packages: str = "",
    ) -> Outlook:
        [node] = graph(f"{packages}jobs: {{one: {{run: x, {keys}}}}}").nodes
        key = Keys(base=b"", inputs=b"", is_late=late)
        return outlook(node, key, HERE, ("a", "b"), ups, passed, before)

    def before(self, **more: Any) -> ComparedNode:
        return ComparedNode(
            **{**{f: getattr(BEFORE, f) for f in BEFORE.__struct_fields__}, **more}
        )

    def passed(self, **more: Any) -> Passed:
        return Passed(
            **{**{f: getattr(PASSED, f) for f in PASSED.__struct_fields__}, **more}
        )

    def test_what_passed_is_reused(self) -> None:
        found = self.of(passed=PASSED)
        self.assertEqual((found.fate, found.job, found.run), ("reused", 7, 3))
        self.assertEqual(
            found.sentence, "from job 7 of run 3, passed at 2026-01-31 12:34 UTC"
        )
        self.assertEqual(self.of("reuse: never", passed=PASSED).fate, "runs")

    def test_what_was_published_is_skipped_if_it_stands(self) -> None:
        packages = "packages: {A: {}}\n"
        found = self.of("scope: component", passed=PASSED, packages=packages)
        self.assertEqual(found.fate, "skipped")
        self.assertIn("unchanged since job 7 of run 3", found.sentence)
        gone = self.passed(stands=False)
        found = self.of("scope: component", passed=gone, packages=packages)
        self.assertEqual(found.fate, "runs")
        self.assertIn("not the last that was published", found.sentence)

    def test_the_input_that_differs_is_named(self) -> None:
        cases: dict[str, tuple[ComparedNode | None, tuple[str, ...], str]] = {
            "environment": (
                self.before(environment="native/amd64/noble", same_base=False),
                (),
                "it ran in native/amd64/noble, this one in chroot/amd64/noble",
            ),
            "job": (
                self.before(same_configuration=False, same_base=False),
                (),
                "the job says something else",
            ),
            "source": (
                self.before(same_base=False),
                (),
                "its part of the source has changed, a, b",
            ),
            "upstreams": (
                BEFORE,
                ("C/build",),
                "it builds upon another result, C/build",
            ),
            "source upstreams": (
                self.before(same_base=False),
                ("C/build",),
                "a, b; it builds upon another result, C/build",
            ),
        }
        for differs, (before, ups, said) in cases.items():
            found = self.of(before=before, ups=ups)
            self.assertEqual(found.differs, tuple(differs.split()))
            self.assertEqual((found.fate, found.job), ("runs", 5))
            self.assertIn("unlike job 5 of run 2: ", found.sentence)
            self.assertTrue(found.sentence.endswith(said), found.sentence)
            self.assertEqual(found.upstreams, ups)
        found = self.of(passed=self.passed(same_image=False))
        self.assertEqual(found.differs, ("image",))
        self.assertIn(f"image of {HERE} that has been replaced", found.sentence)

    def test_what_is_known_without_a_result_is_told(self) -> None:
        self.assertIn("knows no earlier one", self.of().sentence)
        for state, result, said in (
            ("done", "failure", "has its key, and ended as failure"),
            ("running", None, "has its key, and is running"),
        ):
            found = self.of(before=self.before(same_key=True, state=state, result=result))
            self.assertEqual(found.fate, "runs")
            self.assertIn(said, found.sentence)

    def test_what_is_known_late_is_left_open(self) -> None:
        found = self.of(before=BEFORE, ups=("up",), late=True)
        self.assertTrue(found.may_be_reused)
        self.assertIn("unless what it builds upon comes out the same", found.sentence)
        self.assertFalse(self.of(passed=PASSED, late=True).may_be_reused)
