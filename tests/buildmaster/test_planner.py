from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.planner import (
    CrossArchitecture,
    Plan,
    PlannedBuild,
    Series,
    Wait,
    plan,
)
from buildmaster.planning.model import MODES
from buildmaster.series import DEFAULT_SERIES
from protocol.pipeline.configuration import parse
from protocol.pipeline.model import Input, Output, Pipeline
from protocol.stages import dispatched, title
from tests import vectors
from tests.buildmaster.pipelines import SERIES, job, pipeline, pipelines, simple
from tests.laws import law

AMD, ARM = ["amd64"], ["arm64"]
BOTH = ["amd64", "arm64"]

#: The example that the rule of stage lists was specified with.
EXAMPLE = pipeline(
    ["build-snap", "test-snap"],
    {
        "build-snap": [job("focal", *BOTH)],
        "test-snap": [
            job("bionic", "amd64"),
            job("focal", *BOTH),
            job("jammy", *BOTH),
        ],
    },
)


def build(planned: Plan, architecture: str, part: int = 0) -> PlannedBuild:
    """The build of an architecture."""
    [found] = [
        one
        for one in planned.builds
        if (one.architecture, one.part) == (architecture, part)
    ]
    return found


class VectorTests(SynchronousTestCase):
    def test_stage_lists_are_as_agreed(self) -> None:
        for case in vectors.cases(self, "stage_lists.json"):
            expected = case["expected"]
            parsed = parse(case["config"].encode())
            if parsed.draft is None:
                self.assertIn(expected["outcome"], ("parse-error", "refused"), case["name"])
                continue
            planned = plan(parsed.draft, _series(case["supported_series"]), "refuse")
            self.assertEqual(
                [
                    {
                        "series": b.series,
                        "arch": b.architecture,
                        "stages": dispatched(b.stages),
                    }
                    for b in planned.builds
                ],
                expected.get("builds", []),
                case["name"],
            )
            self.assertEqual(bool(planned.errors), expected["outcome"] == "refused")
            for reason, skipped in zip(
                expected.get("log", []), planned.skipped, strict=True
            ):
                self.assertIn(reason, skipped.reason)

    def test_refusals_say_why_as_agreed(self) -> None:
        for case in vectors.cases(self, "stage_lists.json"):
            if case["expected"]["outcome"] != "refused":
                continue
            parsed = parse(case["config"].encode())
            errors = parsed.errors
            if parsed.pipeline is not None:
                errors = plan(parsed.pipeline, DEFAULT_SERIES, "refuse").errors
            words = set(case["expected"]["because"].split())
            marks = str.maketrans(":,", "  ")
            self.assertTrue(words <= set(errors[0].message.translate(marks).split()))

    def test_real_configurations_plan_in_every_mode(self) -> None:
        for name, text in vectors.real_configurations(self).items():
            parsed = parse(text).pipeline
            assert parsed is not None
            for mode in MODES:
                planned = plan(parsed, DEFAULT_SERIES, mode)
                self.assertEqual((planned.errors, planned.skipped), ((), ()), name)
                self.assertTrue(planned.builds, name)


def _series(documents: list[dict[str, str]]) -> list[Series]:
    return [
        Series(one["name"], one["version"], frozenset(one["buildable_architectures"]))
        for one in documents
    ]


class PlanTests(SynchronousTestCase):
    def test_the_example_of_the_specification_gives_its_two_stage_lists(self) -> None:
        for mode in ("orchestrate", "refuse"):
            planned = plan(EXAMPLE, DEFAULT_SERIES, mode)
            self.assertEqual(
                {one.architecture: dispatched(one.stages) for one in planned.builds},
                {
                    "amd64": [
                        [["build-snap", 0]],
                        [["test-snap", 0], ["test-snap", 1], ["test-snap", 2]],
                    ],
                    "arm64": [[["build-snap", 0]], [["test-snap", 1], ["test-snap", 2]]],
                },
            )
            self.assertEqual([one.waits for one in planned.builds], [(), ()])

    def test_an_architecture_that_comes_later_waits_for_the_stage_before(self) -> None:
        planned = plan(simple(lint=AMD, build=BOTH), SERIES, "orchestrate")
        self.assertEqual(build(planned, "amd64").stages, ((("lint", 0),), (("build", 0),)))
        self.assertEqual(build(planned, "amd64").waits, ())
        self.assertEqual(build(planned, "arm64").waits, (Wait("amd64", 0),))
        self.assertEqual(build(planned, "arm64").stage_numbers, (1,))

    def test_an_architecture_is_cut_where_it_must_wait_in_the_middle(self) -> None:
        planned = plan(simple(aa=BOTH, bb=AMD, cc=BOTH), SERIES, "orchestrate")
        self.assertEqual(build(planned, "amd64").stage_numbers, (0, 1, 2))
        self.assertEqual(build(planned, "arm64", 0).stage_numbers, (0,))
        later = build(planned, "arm64", 1)
        self.assertEqual(later.stage_numbers, (2,))
        self.assertEqual(later.waits, (Wait("amd64", 1), Wait("arm64", 0)))

    def test_it_waits_for_every_architecture_of_the_stage_before(self) -> None:
        planned = plan(simple(aa=BOTH, bb=["s390x"]), SERIES, "orchestrate")
        self.assertEqual(
            build(planned, "s390x").waits, (Wait("amd64", 0), Wait("arm64", 0))
        )

    def test_barrier_waits_for_every_architecture_at_every_stage(self) -> None:
        planned = plan(simple(aa=BOTH, bb=BOTH), SERIES, "barrier")
        both = (Wait("amd64", 0), Wait("arm64", 0))
        self.assertEqual(
            [(one.architecture, one.part, one.waits) for one in planned.builds],
            [("amd64", 0, ()), ("amd64", 1, both), ("arm64", 0, ()), ("arm64", 1, both)],
        )

    def test_barrier_cuts_nothing_where_there_is_one_architecture(self) -> None:
        planned = plan(simple(aa=AMD, bb=AMD), SERIES, "barrier")
        self.assertEqual(build(planned, "amd64").stage_numbers, (0, 1))

    def test_refuse_names_architecture_stages_and_jobs_and_builds_nothing(self) -> None:
        planned = plan(simple(aa=AMD, bb=BOTH), SERIES, "refuse")
        [error] = planned.errors
        self.assertEqual(error.where, "pipeline.1")
        for part in ("arm64", "bb:0", "stage 1", "not in stage 0"):
            self.assertIn(part, error.message)
        self.assertEqual((planned.builds, planned.skipped), ((), ()))

    def test_a_stage_without_jobs_is_as_if_it_were_not_there(self) -> None:
        stages = pipeline(
            ["aa", [], "bb"], {n: [job("focal", *BOTH)] for n in ("aa", "bb")}
        )
        for mode in ("orchestrate", "refuse"):
            planned = plan(stages, SERIES, mode)
            self.assertEqual(build(planned, "arm64").stage_numbers, (0, 2))

    def test_an_architecture_that_is_listed_twice_runs_once(self) -> None:
        planned = plan(simple(aa=["amd64", "amd64"]), SERIES, "orchestrate")
        self.assertEqual(build(planned, "amd64").stages, ((("aa", 0),),))

    def test_a_name_that_is_there_twice_runs_twice(self) -> None:
        twice = pipeline(["aa", "aa"], {"aa": [job("focal", "amd64")]})
        planned = plan(twice, SERIES, "orchestrate")
        self.assertEqual(build(planned, "amd64").stages, ((("aa", 0),), (("aa", 0),)))

    def test_what_cannot_be_planned_is_an_error(self) -> None:
        several: list[list[list[str] | str]] = [[], [[]], ["ghost"], ["aa", "empty"]]
        for stages in several:
            wrong = pipeline(stages, {"aa": [job("focal", "amd64")], "empty": []})
            for mode in MODES:
                planned = plan(wrong, SERIES, mode)
                self.assertEqual(len(planned.errors), 1)
                self.assertEqual(planned.builds, ())

    def test_waits_without_end_are_an_error(self) -> None:
        many = [f"arch{n}" for n in range(40)]
        stages = {f"job{n}": many for n in range(20)}
        [error] = plan(simple(**stages), SERIES, "barrier").errors
        self.assertIn("waits", error.message)
        self.assertEqual(plan(simple(**stages), SERIES, "orchestrate").errors, ())


class SeriesTests(SynchronousTestCase):
    def test_a_build_runs_in_the_newest_series_that_its_architecture_has(self) -> None:
        jobs = [
            job(name, "amd64", "arm64", "s390x") for name in ("focal", "noble", "jammy")
        ]
        planned = plan(pipeline(["aa"], {"aa": jobs}), SERIES, "orchestrate")
        self.assertEqual(
            {one.architecture: one.series for one in planned.builds},
            {"amd64": "noble", "arm64": "jammy", "s390x": "focal"},
        )

    def test_a_job_of_an_unknown_series_stays_in_its_list(self) -> None:
        jobs = {"aa": [job("focal", "amd64")], "bb": [job("potato", "amd64")]}
        planned = plan(pipeline(["aa", "bb"], jobs), SERIES, "orchestrate")
        self.assertEqual(build(planned, "amd64").series, "focal")
        self.assertEqual(build(planned, "amd64").stages, ((("aa", 0),), (("bb", 0),)))

    def test_a_part_of_only_unknown_series_stays_as_well(self) -> None:
        jobs = {
            "aa": [job("focal", *BOTH)],
            "bb": [job("focal", "amd64")],
            "cc": [job("potato", *BOTH)],
        }
        planned = plan(pipeline(["aa", "bb", "cc"], jobs), SERIES, "orchestrate")
        self.assertEqual(build(planned, "arm64", 1).series, "focal")
        self.assertEqual(planned.skipped, ())

    def test_an_architecture_without_an_image_is_skipped_with_the_reason(self) -> None:
        jobs = [job("noble", "arm64"), job("potato", "arm64"), job("focal", "amd64")]
        planned = plan(pipeline(["aa"], {"aa": jobs}), SERIES, "orchestrate")
        [skipped] = planned.skipped
        self.assertEqual((skipped.architecture, skipped.series), ("arm64", None))
        self.assertEqual(skipped.jobs, ("aa:0", "aa:1"))
        self.assertIn("no usable series for arm64", skipped.reason)
        self.assertEqual([one.architecture for one in planned.builds], ["amd64"])

    def test_what_waits_for_a_skipped_stage_is_skipped_and_what_waits_for_that(
        self,
    ) -> None:
        jobs = {
            "aa": [job("potato", "s390x"), job("focal", "riscv64")],
            "bb": [job("focal", "arm64")],
            "cc": [job("focal", "amd64")],
            "dd": [job("focal", "riscv64")],
        }
        planned = plan(pipeline(["aa", "bb", "cc", "dd"], jobs), SERIES, "orchestrate")
        self.assertEqual(
            [(one.architecture, one.part) for one in planned.builds], [("riscv64", 0)]
        )
        reasons = {one.jobs: one.reason for one in planned.skipped}
        self.assertIn("waits for stage 0 on s390x", reasons[("bb:0",)])
        self.assertIn("waits for stage 1 on arm64", reasons[("cc:0",)])
        self.assertIn("waits for stage 2 on amd64", reasons[("dd:0",)])


class InputTests(SynchronousTestCase):
    def test_an_input_from_another_architecture_must_be_waited_for(self) -> None:
        late = self._with_input(simple(aa=AMD, bb=BOTH, cc=ARM), "cc")
        # arm64 begins with stage 1, which waits for amd64's stage 0.
        self.assertEqual(plan(late, SERIES, "orchestrate").errors, ())
        late = self._with_input(
            pipeline(
                ["aa", "cc"],
                {
                    "aa": [job("focal", "amd64")],
                    "zz": [job("focal", "arm64")],
                    "cc": [job("focal", "arm64")],
                },
            ),
            "cc",
        )
        late = msgspec.structs.replace(late, stages=(("aa", "zz"), ("cc",)))
        [error] = plan(late, SERIES, "orchestrate").errors
        self.assertEqual(error.where, "jobs.cc.0.input.job-name")
        self.assertIn("does not wait", error.message)
        self.assertEqual(plan(late, SERIES, "barrier").errors, ())

    def test_waiting_may_be_indirect(self) -> None:
        stages = self._with_input(simple(aa=AMD, bb=["s390x"], cc=ARM), "cc")
        self.assertEqual(plan(stages, SERIES, "orchestrate").errors, ())

    def _with_input(self, stages: Pipeline, name: str) -> Pipeline:
        [taker] = stages.jobs[name]
        taker = msgspec.structs.replace(
            taker, input=Input(job_name="aa", target_directory="in")
        )
        return msgspec.structs.replace(stages, jobs={**stages.jobs, name: (taker,)})


class AdviceTests(SynchronousTestCase):
    def test_publishing_after_a_part_of_the_architectures_is_warned_of(self) -> None:
        narrowing = simple(build=BOTH, last=AMD)
        [warning] = plan(narrowing, SERIES, "orchestrate").warnings
        self.assertEqual(warning.where, "pipeline.1")
        for part in ("last:0", "amd64", "stage 0", "arm64", "barrier"):
            self.assertIn(part, warning.message)
        self.assertEqual(plan(narrowing, SERIES, "barrier").warnings, ())

    def test_a_job_that_publishes_by_name_or_output_is_warned_of_everywhere(self) -> None:
        named = simple(build=BOTH, publish=BOTH)
        self.assertEqual(len(plan(named, SERIES, "orchestrate").warnings), 2)
        jobs = simple(build=BOTH, last=BOTH).jobs
        [last] = jobs["last"]
        last = msgspec.structs.replace(last, output=Output(distribute="artifactory"))
        output = pipeline(["build", "last"], {**jobs, "last": [last]})
        self.assertEqual(len(plan(output, SERIES, "orchestrate").warnings), 2)

    def test_building_and_testing_everywhere_is_not_warned_of(self) -> None:
        self.assertEqual(plan(EXAMPLE, DEFAULT_SERIES, "orchestrate").warnings, ())
        self.assertEqual(plan(simple(aa=AMD, bb=BOTH), SERIES, "orchestrate").warnings, ())


def present(stages: Pipeline) -> list[dict[str, list[str]]]:
    """By stage and architecture what runs there; the plain reading of a pipeline."""
    found = []
    for names in stages.stages:
        here: dict[str, list[str]] = {}
        for name in names:
            for index, one in enumerate(stages.jobs[name]):
                for architecture in set(one.architectures):
                    here.setdefault(architecture, []).append(title(name, index))
        found.append(here)
    return found


def needed(
    stages: Pipeline, mode: CrossArchitecture
) -> dict[tuple[str, int], set[tuple[str, int]]]:
    """For each stage of each architecture what the rules say that it waits for."""
    needs: dict[tuple[str, int], set[tuple[str, int]]] = {}
    before: set[tuple[str, int]] = set()
    for number, here in enumerate(present(stages)):
        for architecture in here:
            own = {one for one in before if one[0] == architecture}
            needs[architecture, number] = before if mode == "barrier" or not own else own
        if here:
            before = {(architecture, number) for architecture in here}
    return needs


modes = st.sampled_from(MODES)
waiting_modes = st.sampled_from(("orchestrate", "barrier"))


class PlanLawTests(SynchronousTestCase):
    @law
    @given(pipelines, modes)
    def test_no_pipeline_job_is_lost_or_invented(
        self, stages: Pipeline, mode: CrossArchitecture
    ) -> None:
        planned = plan(stages, SERIES, mode)
        if planned.errors:
            self.assertEqual(mode, "refuse")
            return
        asked = Counter(
            (architecture, cell)
            for here in present(stages)
            for architecture, cells in here.items()
            for cell in cells
        )
        given_ = Counter(
            (one.architecture, title(*cell))
            for one in planned.builds
            for stage in one.stages
            for cell in stage
        )
        given_.update(
            (one.architecture, cell) for one in planned.skipped for cell in one.jobs
        )
        self.assertEqual(given_, asked)

    @law
    @given(pipelines, modes)
    def test_stages_are_whole_and_in_order(
        self, stages: Pipeline, mode: CrossArchitecture
    ) -> None:
        everything = present(stages)
        last: dict[str, int] = {}
        for one in plan(stages, SERIES, mode).builds:
            self.assertEqual(len(one.stages), len(one.stage_numbers))
            for number, stage in zip(one.stage_numbers, one.stages, strict=True):
                self.assertGreater(number, last.get(one.architecture, -1))
                last[one.architecture] = number
                cells = [title(*cell) for cell in stage]
                self.assertEqual(cells, everything[number][one.architecture])

    @law
    @given(pipelines, modes)
    def test_every_wait_names_a_stage_of_an_earlier_build_so_there_is_no_cycle(
        self, stages: Pipeline, mode: CrossArchitecture
    ) -> None:
        planned = plan(stages, SERIES, mode)
        home = {
            (one.architecture, number): one
            for one in planned.builds
            for number in one.stage_numbers
        }
        for one in planned.builds:
            self.assertEqual(list(one.waits), sorted(set(one.waits)))
            for wait in one.waits:
                awaited = home[wait.architecture, wait.stage]
                self.assertLess(awaited.stage_numbers[0], one.stage_numbers[0])

    @law
    @given(pipelines, waiting_modes)
    def test_everything_that_the_rules_ask_is_waited_for(
        self, stages: Pipeline, mode: CrossArchitecture
    ) -> None:
        needs = needed(stages, mode)
        for one in plan(stages, SERIES, mode).builds:
            waited = {(wait.architecture, wait.stage) for wait in one.waits}
            waited |= {(one.architecture, n) for n in one.stage_numbers}
            for number in one.stage_numbers:
                self.assertTrue(needs[one.architecture, number] <= waited)

    @law
    @given(pipelines, waiting_modes)
    def test_nothing_else_is_waited_for_and_nothing_is_cut_without_need(
        self, stages: Pipeline, mode: CrossArchitecture
    ) -> None:
        needs = needed(stages, mode)
        for one in plan(stages, SERIES, mode).builds:
            start = needs[one.architecture, one.stage_numbers[0]]
            own = {w.stage for w in one.waits if w.architecture == one.architecture}
            foreign = {
                (w.architecture, w.stage)
                for w in one.waits
                if w.architecture != one.architecture
            }
            self.assertEqual(foreign, {n for n in start if n[0] != one.architecture})
            self.assertEqual(bool(own), one.part > 0)
            self.assertTrue(one.part == 0 or foreign)

    @law
    @given(pipelines)
    def test_refuse_refuses_exactly_what_would_wait_elsewhere(
        self, stages: Pipeline
    ) -> None:
        waits = any(
            architecture != other
            for (architecture, _), before in needed(stages, "orchestrate").items()
            for other, _ in before
        )
        planned = plan(stages, SERIES, "refuse")
        self.assertEqual(bool(planned.errors), waits)
        self.assertEqual(sum(len(one.waits) for one in planned.builds), 0)
        self.assertTrue(all(one.part == 0 for one in planned.builds))

    @law
    @given(pipelines, modes, st.permutations(SERIES))
    def test_the_plan_is_the_same_every_time_and_sorted(
        self, stages: Pipeline, mode: CrossArchitecture, series: list[Series]
    ) -> None:
        planned = plan(stages, SERIES, mode)
        self.assertEqual(plan(stages, series, mode), planned)
        order = [(one.architecture, one.part) for one in planned.builds]
        self.assertEqual(order, sorted(set(order)))

    @law
    @given(pipelines, modes)
    def test_what_is_skipped_has_no_image_or_waits_for_what_is_skipped(
        self, stages: Pipeline, mode: CrossArchitecture
    ) -> None:
        known = {one.name: one for one in SERIES}
        planned = plan(stages, SERIES, mode)
        for one in planned.builds:
            self.assertTrue(known[one.series].has(one.architecture))
        skipped = {one.architecture for one in planned.skipped}
        for left_out in planned.skipped:
            if left_out.series is not None:
                words = left_out.reason.replace(",", "").split()
                self.assertTrue(skipped & set(words), left_out.reason)
