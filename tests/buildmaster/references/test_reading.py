from __future__ import annotations

import itertools
import time

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.references.model import Concurrency, Limits, Need, Retry
from buildmaster.references.needs_keys import ALIASES
from buildmaster.references.reading import is_references, parse
from tests.buildmaster.references.files import (
    MONOREPO,
    NOTE,
    NOTE_PACKAGES,
    error,
    errors,
    jobs,
    read,
)


class NoteTests(SynchronousTestCase):
    """The YAML of the note that asked for all this."""

    def test_its_one_error_is_the_identifier_that_is_given_twice(self) -> None:
        found = error(NOTE)
        self.assertEqual((found.where, found.line), ("jobs.tests2", 14))
        self.assertIn("in lines 10 and 14", found.message)

    def test_without_it_the_jobs_are_as_the_note_means_them(self) -> None:
        read_jobs = read(NOTE.replace(b'"tests2"', b'"tests1"', 1)).jobs
        self.assertEqual(
            [(job.name, job.kind, [need.job for need in job.needs]) for job in read_jobs],
            [
                ("build1", "copr_build", []),
                ("build2", "copr_build", []),
                ("tests1", "tests", ["build1"]),
                ("tests2", "tests", ["build2"]),
            ],
        )
        self.assertEqual({job.trigger for job in read_jobs}, {"pull_request"})

    def test_its_packages_are_accepted_and_the_dots_are_warned_of(self) -> None:
        parsed = parse(NOTE_PACKAGES)
        assert parsed.references is not None
        [first, *others] = parsed.references.packages
        self.assertEqual([(one.name, one.rebuild) for one in first.depends],
                         [("B", True), ("C", True)])  # fmt: skip
        self.assertEqual([one.name for one in others], ["B", "C"])
        self.assertEqual([one.line for one in parsed.warnings], [1, 7, 8])


class JobsTests(SynchronousTestCase):
    def test_every_key_is_read(self) -> None:
        [job, _] = jobs("""
every:
  job: copr_build
  trigger: pull_request
  matrix: {arch: [amd64, arm64], series: [noble], python: ["3.11", "3.12"]}
  run: make
  environment: {A: b}
  needs: [{job: other, require: finished, map: all, cell: {arch: amd64},
           artifacts: ["*.whl"], weak: true}]
  reuse: outputs
  paths: [src]
  retry: [{exit: 75, limit: 2}]
  limits: {run: 15m, idle: 90, queue: 7d, total: "1:00:00"}
  isolation: chroot
  concurrency: {group: "{project}/{ref}", policy: replace_all}
  manual: true
  allow_failure: true
  interruptible: false
  provides: {collection: side, as: foo}
other: {run: make, architectures: amd64}
""").jobs
        self.assertEqual(len(job.variants), 4)
        self.assertEqual(job.axes, ("arch", "python", "series"))
        assert job.variants[0].runs is not None
        self.assertEqual(job.variants[0].runs.series, "noble")
        self.assertEqual(job.variants[0].runs.architectures, ("amd64",))
        self.assertEqual(job.variants[0].runs.environment, {"A": "b"})
        line = job.needs[0].line
        self.assertEqual(
            job.needs,
            (
                Need(
                    job="other",
                    require="finished",
                    map="all",
                    cell={"arch": "amd64"},
                    artifacts=("*.whl",),
                    weak=True,
                    line=line,
                ),
            ),
        )
        self.assertEqual(job.retry, (Retry(limit=2, exit=75),))
        self.assertEqual(job.limits, Limits(run=900, idle=90, queue=604800, total=3600))
        self.assertEqual(
            job.concurrency, Concurrency(group="{project}/{ref}", policy="replace_all")
        )
        self.assertEqual(
            (job.reuse, job.paths, job.isolation), ("outputs", ("src",), "chroot")
        )
        self.assertTrue(job.manual and job.allow_failure and not job.interruptible)
        self.assertEqual((job.provides, job.member), ("side", "foo"))

    def test_other_names_of_needs_mean_the_same(self) -> None:
        for alias in ALIASES:
            for value in ("build", "[build]", "[{job: build}]"):
                [_, test] = jobs(
                    f"build: {{run: a}}\ntest: {{run: b, {alias}: {value}}}"
                ).jobs
                self.assertEqual([need.job for need in test.needs], ["build"], alias)

    def test_inputs_that_would_have_one_variable_are_told(self) -> None:
        two = "jobs:\n  a-b: {run: x}\n  a.b: {run: x}\n"
        found = error(two + "  cc: {run: x, needs: [a-b, a.b]}\n")
        self.assertEqual((found.where, found.line), ("jobs.cc.needs", 4))
        self.assertIn("of a-b and of a.b would both be in $CI_INPUT_A_B", found.message)
        read(two + "  cc: {run: x, needs: [a-b, {job: a.b, artifacts: []}]}\n")
        found = error(
            "jobs:\n  a-b: {run: x}\n"
            "  cc: {run: x, needs: [a-b, {collection: a/b, contains: [foo]}]}\n"
        )
        self.assertIn("$CI_INPUT_A_B", found.message)
        # A package's job finds those of the packages that it depends on.
        found = error(
            "packages: {A: {}}\njobs:\n  a.b: {run: x}\n"
            "  a-b: {run: x, per_package: true, needs: [a.b]}\n"
        )
        self.assertIn("$CI_INPUT_A_B", found.message)

    def test_a_member_is_called_as_a_folder_can_be(self) -> None:
        for name in ("..", ".", "a/b", "/etc"):
            for key in (
                f"needs: [{{collection: c, contains: ['{name}']}}]",
                f"provides: {{collection: c, as: '{name}'}}",
            ):
                found = errors(f"jobs:\n  aa: {{run: x, {key}}}\n")[0]
                self.assertIn("cannot be", found.message)

    def test_the_scope_follows_of_what_a_job_is(self) -> None:
        found = {job.name: (job.scope, job.reuse) for job in read(MONOREPO).jobs}
        self.assertEqual(found["build"], ("each", "inputs"))
        self.assertEqual(found["publish"], ("component", "inputs"))
        found = {job.name: (job.scope, job.reuse) for job in jobs(
            "publish: {run: a}\nall: {run: b}\ntop: {run: c, scope: top}",
            packages="{A: {}}",
        ).jobs}  # fmt: skip
        self.assertEqual(found["publish"], ("component", "inputs"))
        self.assertEqual(found["all"], ("run", "never"))
        self.assertEqual(found["top"], ("top", "inputs"))
        self.assertEqual(jobs("publish: {run: a}").jobs[0].scope, "run")

    def test_order_may_be_what_a_plain_depend_means(self) -> None:
        file = read("depends_default: order\npackages: {A: {depends: [B]}, B: {}}\n")
        self.assertFalse(file.packages[0].depends[0].rebuild)

    def test_items_of_a_matrix_replace_keys_as_with_lpci(self) -> None:
        [job] = jobs("""
unit:
  architectures: [amd64, arm64]
  run: make
  matrix:
    - {series: noble, kind_of: a}
    - {series: jammy, kind_of: b, run: make old}
""").jobs
        self.assertEqual(len(job.variants), 4)
        runs = {dict(one.cell)["series"]: one.runs and one.runs.run for one in job.variants}
        self.assertEqual(runs, {"noble": "make", "jammy": "make old"})


class ProblemsTests(SynchronousTestCase):
    """Every error has its line, and says what to do."""

    def check(self, text: str, line: int, words: str) -> None:
        found = errors(text)
        self.assertTrue(found, text)
        self.assertEqual((found[0].line, len(found)), (line, 1), found)
        self.assertIn(words, found[0].message)

    def test_what_refers_to_nothing(self) -> None:
        build = "jobs:\n  build: {run: a}\n  test:\n    run: b\n    needs:\n"
        self.check(build + "      - biuld\n", 6, "did you mean build?")
        self.check(
            build + "      - {job: build}\n      - build\n", 7, "twice, first in line 6"
        )
        self.check(
            "jobs:\n  b1: {job: copr, run: a}\n  b2: {job: copr, run: a}\n"
            "  tt: {run: b, needs: copr}\n",
            4,
            "the kind of b1, b2",
        )
        self.check("packages:\n  A:\n    depends: [b]\n  B: {}\n", 3, "did you mean B?")

    def test_packages_that_depend_on_each_other(self) -> None:
        text = "packages:\n  A: {depends: [B]}\n  B: {depends: [C]}\n  C: {depends: [A]}\n"
        self.check(text, 2, "A -> B -> C -> A")
        self.check("packages:\n  A: {depends: [A]}\n", 2, "A -> A")

    def test_slips_of_the_pen(self) -> None:
        for text, line, words in (
            ("jobs:\n  aa: {run: x, need: [b]}\n", 2, "did you mean needs?"),
            ("jobs:\n  aa: {run: x, scope: toop}\n", 2, "did you mean top?"),
            ("jobs:\n  aa: {run: x, per_package: true}\n", 2, "this file has none"),
            ("jobs:\n  aa: {run: x, cutoff: false, reuse: outputs}\n", 2, "contradict"),
            ("jobs:\n  aa: {run: x, matrix: {python: [3.10]}}\n", 2, 'quote it: "3.10"'),
            ("jobs:\n  aa: {run: x, matrix: {arch: []}}\n", 2, "without a value"),
            ("jobs:\n  aa: {run: x, matrix: {arch: [amd64, amd64]}}\n", 2, "given twice"),
            ("jobs:\n  aa: {run: x, retry: 1000}\n", 2, "from 0 to 100"),
            ("jobs:\n  aa: {run: x, limits: {run: 0}}\n", 2, "more than no time"),
            ("jobs:\n  aa: {run: x, concurrency: '{refs}'}\n", 2, "may have {project}"),
            ("jobs:\n  aa: {lpci: .launchpad.yaml, run: x}\n", 2, "has no run"),
            ("jobs:\n  pipeline: {run: x}\n", 2, "give this job another name"),
            ("jobs:\n  - {run: x}\n", 2, "has no identifier"),
            ("jobs:\n  aa: {run: x, golang-version: '1'}\n", 2, "belongs to the plugin"),
            ("jobs:\n  aa: {run: x}\n  aa: {run: x}\n", 3, "first in line 2"),
            (
                "jobs:\n  aa: {run: x, manual: true,"
                " needs: [{collection: c, contains: [a]}]}\n",
                2,
                "goes when that is complete",
            ),
            ("jobs: 5\n", 1, "must be a mapping or a list"),
            ("5\n", 1, "a mapping with the key jobs"),
            ("license: {spdx: MIT}\n", 1, "the key jobs is missing"),
        ):
            self.check(text, line, words)

    def test_all_errors_are_told_in_the_order_of_the_file(self) -> None:
        found = errors(
            "packages:\n  A: {depends: [X]}\njobs:\n  aa: {run: [1], scope: x}\n"
            "  bb: {matrix: 5}\n"
        )
        self.assertEqual([one.line for one in found], [2, 4, 4, 5])

    def test_which_names_are_of_such_files(self) -> None:
        self.assertTrue(
            is_references(".headrace.yaml") and is_references("x/headrace.yaml")
        )
        self.assertTrue(is_references("ci/nightly.headrace.yaml"))
        self.assertFalse(
            is_references(".launchpad.yaml") or is_references("xheadrace.yaml")
        )


class HostileTests(SynchronousTestCase):
    """A stranger's file costs little, whatever is in it."""

    def refused(self, text: str, words: str = "") -> None:
        begun = time.thread_time()
        parsed = parse(text.encode())
        self.assertIsNone(parsed.references)
        self.assertIn(words, " ".join(one.message for one in parsed.errors))
        # Not a measurement: what grows without bound would take minutes.
        self.assertLess(time.thread_time() - begun, 20)

    def test_anchors_that_grow(self) -> None:
        lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
        names = "abcdefgh"
        for one, next_ in itertools.pairwise(names):
            lines.append(f"{next_}: &{next_} [{', '.join([f'*{one}'] * 10)}]")
        self.refused("\n".join(lines), "too large")

    def test_merge_keys_that_grow(self) -> None:
        lines = [f"m0: &m0 {{{', '.join(f'k{n}: {n}' for n in range(50))}}}"]
        lines += [
            f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], x{n}: 1}}" for n in range(1, 300)
        ]
        self.refused("\n".join(lines))

    def test_depth_numbers_and_size(self) -> None:
        self.refused("jobs: " + "[" * 5000, "levels deep")
        self.refused(f"jobs: {{aa: {{run: x, retry: {'9' * 5000}}}}}", "5000 characters")
        self.refused("#" + "x" * (600 * 1024), "512 KiB")

    def test_a_matrix_that_grows(self) -> None:
        axes = ", ".join(
            f"a{n}: [{', '.join(f'v{m}' for m in range(50))}]" for n in range(10)
        )
        self.refused(f"jobs: {{aa: {{run: x, matrix: {{{axes}}}}}}}", "20000 cells")

    def test_needs_that_grow(self) -> None:
        names = [f"j{n:04}" for n in range(1500)]
        listed = f"&all [{', '.join(names[:900])}]"
        lines = [f"  {names[0]}: {{run: x, needs: {listed}}}"]
        lines += [f"  {name}: {{run: x, needs: *all}}" for name in names[1:]]
        self.refused("jobs:\n" + "\n".join(lines))

    def test_any_text_is_answered(self) -> None:
        for text in ("", "\x00", "- ", "[]", "{}", "jobs: {1: 2}", "- - -", "? [a]\n: b",
                     "jobs: {aa: null}", "packages: []", "packages: {1: {}}",
                     "jobs: [x]", "defaults: {identifier: a}\njobs: {}"):  # fmt: skip
            parse(text.encode())
