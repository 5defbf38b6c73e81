"""What each key of a job in ``.headrace.yaml`` does in the queue.

How a key is read, and what it makes of the graph, is tested with `references`.
"""

from __future__ import annotations

from typing import Any

from buildmaster.blaming import Blaming
from buildmaster.requests import Refusal
from protocol.results import Result
from tests.buildmaster.books import NO_DELAY
from tests.buildmaster.node_books import NodeBooks

PIPELINE = """\
pipeline: [lint, [test]]
jobs:
  lint: {series: noble, architectures: amd64, run: a}
  test: {series: noble, architectures: [amd64, arm64], run: b}
"""
GOOD, BAD = Result.SUCCESS, Result.FAILURE


def jobs(*lines: str) -> str:
    """A file with these jobs, all of which run something."""
    return "defaults: {run: make}\njobs:\n" + "".join(f"  {line}\n" for line in lines)


class NeedsTests(NodeBooks):
    """``needs``: what is waited for, and what is handed over."""

    async def test_require_says_how_it_must_end(self) -> None:
        text = jobs(
            "up: {}",
            *(f"on-{how}: {{needs: [{{job: up, require: {how}}}]}}"
              for how in ("good", "finished", "bad", "always")),
        )  # fmt: skip
        for place, (ends, expected) in enumerate(
            {
                GOOD: ("success", "success", "skipped", "success"),
                BAD: ("unrun", "success", "success", "success"),
                None: ("unrun", "unrun", "unrun", "success"),
            }.items()
        ):
            made = await self.submit(text, f"{place:040x}")
            if ends is None:
                await self.cancel(made.jobs[0].id)
            await self.run_all(up=ends or GOOD)
            found = list((await self.cells(made.run)).values())
            self.assertEqual(tuple(found[1:]), expected, ends)
            await self.audit()

    async def test_map_says_which_cells_are_waited_for(self) -> None:
        two = "matrix: {arch: [amd64, arm64]}"
        await self.submit(
            jobs(
                f"up: {{{two}}}",
                f"same: {{{two}, needs: [up]}}",
                "every: {needs: [{job: up, map: all}]}",
                "some: {needs: [{job: up, map: any}]}",
                "one: {needs: [{job: up, cell: {arch: arm64}}]}",
            )
        )
        begun = await self.begin()
        assert begun is not None
        self.assertEqual(begun[0], "up arch=amd64")
        await self.end(begun[1])
        found = await self.cells()
        ready = {name for name, state in found.items() if state == "ready"}
        self.assertEqual(ready, {"up arch=arm64", "same arch=amd64", "some"})
        await self.run_one(BAD)
        found = await self.cells()
        self.assertEqual(found["every"], "unrun")
        self.assertEqual((found["one"], found["same arch=arm64"]), ("unrun", "unrun"))
        self.assertEqual(found["same arch=amd64"], "ready")
        await self.audit()

    async def test_artifacts_are_those_that_are_asked_for(self) -> None:
        await self.submit(
            jobs(
                "up: {}",
                "all-of-it: {needs: [up]}",
                "wheels: {needs: [{job: up, artifacts: ['*.whl']}]}",
                "nothing: {needs: [{job: up, artifacts: []}]}",
            )
        )
        await self.run_all({"up": {"a.whl": "a", "log": "b"}})
        self.assertEqual(
            {name: self.files(name) for name in ("all-of-it", "wheels", "nothing")},
            {
                "all-of-it": {"up": ["a.whl", "log"]},
                "wheels": {"up": ["a.whl"]},
                "nothing": {},
            },
        )

    def files(self, name: str) -> dict[str, list[str]]:
        """What the job of this name found, by the job that made it."""
        return {
            one.job: sorted(file.path for file in one.files)
            for one in self.orders[name].handed
        }

    async def test_a_weak_need_of_what_is_not_there_is_none(self) -> None:
        text = jobs(
            "up: {trigger: tag}",
            "down: {needs: [{job: up, weak: true}]}",
            "sure: {needs: [up], trigger: tag}",
        )
        await self.submit(text, trigger="push")
        self.assertEqual(await self.results(), {"down": "ready"})
        await self.submit(text, "b" * 40, trigger="tag")
        self.assertEqual((await self.cells(2))["down"], "waiting")
        with self.assertRaisesRegex(Refusal, "make the need weak"):
            await self.submit(text.replace(", trigger: tag}", "}"), trigger="push")

    async def test_other_names_of_it_wait_alike(self) -> None:
        names = ("build_identifier", "after", "after_build", "depends_on", "needs")
        await self.submit(
            jobs(
                "up: {}", *(f"d-{name.replace('_', '-')}: {{{name}: up}}" for name in names)
            )
        )
        found = await self.results()
        self.assertEqual([found.pop("up"), set(found.values())], ["ready", {"waiting"}])
        self.assertEqual(len(await self.run_all()), 1 + len(names))

    async def test_the_jobs_of_the_note_test_the_build_that_they_name(self) -> None:
        job = "- {{job: {}, identifier: {}, trigger: pull_request, run: x{}}}\n"
        await self.submit(
            job.format("copr_build", "build1", "")
            + job.format("copr_build", "build2", "")
            + job.format("tests", "tests1", ", build_identifier: build1")
            + job.format("tests", "tests2", ", build_identifier: build2"),
            trigger="pull_request",
        )
        await self.run_all(build1=BAD)
        self.assertEqual(
            await self.results(),
            {"build1": "failure", "build2": "success", "tests1": "unrun",
             "tests2": "success"},
        )  # fmt: skip


class PackagesTests(NodeBooks):
    """``packages`` and the scopes of jobs."""

    async def again(self, text: str, tree: str, **parts: str) -> dict[str, str]:
        """How nodes stand in a run of another commit with these parts of the source."""
        made = await self.submit(text, tree.encode().hex().zfill(40), tree=tree,
                                 parts=parts)  # fmt: skip
        await self.run_all()
        return await self.cells(made.run)

    async def test_paths_say_whose_change_it_is_and_depends_who_follows(self) -> None:
        text = (
            "packages:\n"
            "  A: {paths: [a], depends: [B, {name: C, rebuild: false}]}\n"
            "  B: {paths: [b]}\n"
            "  C: {paths: [c]}\n"
            "jobs: {build: {per_package: true, run: x}}\n"
        )
        first = await self.again(text, "1", a="a", b="b", c="c")
        self.assertEqual(set(first.values()), {"success"})
        self.assertEqual(list(first)[-1], "A/build")
        changed = {
            "b": {"A/build": "success", "B/build": "success", "C/build": "reused"},
            # Only the order counts.
            "c": {"A/build": "reused", "B/build": "reused", "C/build": "success"},
            "a": {"A/build": "success", "B/build": "reused", "C/build": "reused"},
        }
        for part, expected in changed.items():
            parts = {**dict(a="a", b="b", c="c"), part: "new"}
            self.assertEqual(await self.again(text, part, **parts), expected)
        plain = text.replace("depends: [B", "depends: [C").replace(
            ", {name: C, rebuild: false}", ""
        )
        for default, result in (("order", "reused"), ("rebuild", "success")):
            said = f"depends_default: {default}\n{plain}"
            await self.again(said, f"0{default}", a="a", b="b", c="c")
            found = await self.again(said, default, a="a", b="b", c="other" + default)
            self.assertEqual(found["A/build"], result, default)

    async def test_there_is_one_of_a_job_for_what_its_scope_says(self) -> None:
        made = await self.submit(
            "packages: {A: {depends: [B]}, B: {}, C: {}}\n"
            "defaults: {run: x}\n"
            "jobs:\n"
            "  each: {scope: each}\n"
            "  per: {per_package: true}\n"
            "  top: {scope: top}\n"
            "  component: {scope: component}\n"
            "  publish: {type: publish}\n"
            "  run: {scope: run}\n"
        )
        await self.run_all()
        found = await self.cells(made.run)
        everyone = {"A", "B", "C"}
        expected = {
            **{f"{one}/{job}": "success" for one in everyone for job in ("each", "per")},
            **{f"{one}/top": "success" for one in ("A", "C")},
            "B/top": "skipped",
            **{f"{one}/{job}": "success" for one in ("A", "C")
               for job in ("component", "publish")},
            "run": "success",
        }  # fmt: skip
        self.assertEqual(found, expected)
        reasons = await self.books.database.rows(
            "SELECT reason FROM job WHERE name = 'B/top'"
        )
        self.assertIn("not_top", reasons[0][0])
        self.assertEqual(self.orders["A/component"].variables["CI_PACKAGES"], "A B")

    async def test_a_closure_hands_over_what_a_package_builds_upon(self) -> None:
        text = (
            "packages: {A: {depends: [B]}, B: {depends: [C]}, C: {}}\n"
            "defaults: {run: x, per_package: true}\n"
            "jobs: {build: {}, test: {needs: [build], install: INSTALL}}\n"
        )
        for install, expected in (
            ("own", ["file"]),
            ("closure", ["B/file", "C/file", "file"]),
        ):
            # Of another commit, or the same jobs would be meant.
            commit = f"{len(expected)}" * 40
            await self.submit(text.replace("INSTALL", install), commit)
            await self.run_all({"build": {"file": "x"}})
            [handed] = [one for one in self.orders["A/test"].handed if one.job == "build"]
            self.assertEqual(sorted(file.path for file in handed.files), expected)


class ReuseTests(NodeBooks):
    """``reuse`` and ``cutoff``: when an earlier result stands for one."""

    def chain(self, keys: str) -> str:
        return (
            "packages: {A: {paths: [a], depends: [B]}, B: {paths: [b]}}\n"
            f"jobs: {{build: {{per_package: true, run: x, {keys}}}}}\n"
        )

    async def follows(self, keys: str, makes: str) -> tuple[dict[str, str], list[str]]:
        """How A and B end, when B changed and now makes something; and what ran."""
        for number, made in (("1", "same"), ("2", makes)):
            submitted = await self.submit(
                self.chain(keys),
                f"{number}{keys.encode().hex()}".ljust(40, "0")[:40],
                parts={"a": keys, "b": keys + number},
            )
            ran = await self.run_all({"build": {"file": made}})
        return await self.cells(submitted.run), ran

    async def test_inputs_must_be_the_same(self) -> None:
        found, ran = await self.follows("reuse: inputs", "same")
        self.assertEqual((found["A/build"], len(ran)), ("success", 2))

    async def test_or_the_outputs_that_it_builds_upon(self) -> None:
        for keys in ("reuse: outputs", "cutoff: true"):
            found, ran = await self.follows(keys, "same")
            self.assertEqual((found["A/build"], ran), ("reused", ["B/build"]), keys)
            await self.audit()

    async def test_and_if_they_differ_it_runs(self) -> None:
        found, ran = await self.follows("cutoff: true", "another")
        self.assertEqual((found["A/build"], len(ran)), ("success", 2))

    async def test_never_is_never(self) -> None:
        for number in "12":
            made = await self.submit(self.chain("reuse: never"), number * 40, tree="t")
            self.assertEqual(len(await self.run_all()), 2)
        self.assertEqual(set((await self.cells(made.run)).values()), {"success"})


class RunningTests(NodeBooks):
    """Keys about how it is run."""

    async def job(self, name: str, what: str) -> Any:
        (found,) = await self.books.database.one(
            f"SELECT {what} FROM job JOIN job_class ON job_class.id = job.class"
            " WHERE job.name = %s ORDER BY job.id DESC LIMIT 1",
            (name,),
        )
        return found

    async def test_retry_is_for_the_failures_that_it_names(self) -> None:
        await self.submit(jobs("any: {retry: 1}", "none: {}"))
        ran = await self.run_all(any=BAD, none=BAD)
        self.assertEqual(sorted(ran), ["any", "any", "none"])
        self.assertEqual(set((await self.results()).values()), {"failure"})

    async def test_isolation_limits_and_who_may_interrupt_are_noted(self) -> None:
        await self.submit(
            jobs(
                "one: {isolation: chroot, interruptible: false}",
                "two: {limits: {run: 1m, idle: 2m, queue: 3m, total: 4m}}",
            )
        )
        self.assertEqual(await self.job("one", "isolation::text"), "chroot")
        self.assertEqual(await self.job("two", "isolation::text"), "native")
        self.assertFalse(await self.job("one", "interruptible"))
        self.assertTrue(await self.job("two", "interruptible"))
        await self.run_all()
        limits = self.orders["two"].limits
        self.assertEqual((limits.run, limits.idle), (60.0, 120.0))
        self.assertEqual(self.orders["one"].isolation, "chroot")
        self.assertEqual(
            await self.job("two", "ARRAY[queue_limit, total_limit]"), [180.0, 240.0]
        )

    async def test_what_waits_too_long_ends(self) -> None:
        for key, why in (("queue", "no worker took it"), ("total", "was not done within")):
            await self.submit(jobs(f"{key}: {{limits: {{{key}: 1m}}}}"), f"{len(why):040}")
            await self.books.database.run(
                "UPDATE time_limit SET at = at - interval '1 h', since = since - interval"
                " '1 h'"
            )
            await self.books.database.run(
                "UPDATE job SET ready_at = ready_at - interval '1 h'"
            )
            await Blaming(self.books.database, NO_DELAY).round()
            self.assertEqual(await self.job(key, "result::text"), "timeout")
            self.assertIn(why, await self.job(key, "reason"))

    async def test_one_of_a_group_is_at_work_at_a_time(self) -> None:
        text = jobs(
            "one: {concurrency: 'g {project}'}", "two: {concurrency: 'g {project}'}"
        )
        await self.submit(text)
        await self.submit(text, repository="https://git.example/q.git")
        begun = [await self.begin(), await self.begin(), await self.begin()]
        self.assertEqual([one and one[0] for one in begun], ["one", "one", None])
        assert begun[0] is not None
        await self.end(begun[0][1])
        self.assertEqual((await self.begin() or ("", None))[0], "two")

    async def test_a_newer_one_takes_the_place_of_those_that_it_may(self) -> None:
        expected = {
            # at work, and in the line
            "queue": (False, "ready"),
            "replace_pending": (False, "cancelled"),
            "replace_all": (True, "cancelled"),
        }
        for policy, (is_stopped, pending) in expected.items():
            for interruptible in (True, False):
                case = f"{policy} {interruptible}"
                group = f"{case} {{ref}}"
                text = jobs(
                    f"one: {{interruptible: {str(interruptible).lower()}, concurrency:"
                    f" {{group: '{group}', policy: {policy}}}}}"
                )
                first = await self.of(text, case, 1)
                begun = await self.books.begin()
                self.assertEqual(begun.job, first)
                second = await self.of(text, case, 2)
                third = await self.of(text, case, 3)
                asked, by = await self.books.database.one(
                    "SELECT cancel_asked_at IS NOT NULL, superseded_by FROM job"
                    " WHERE id = %s",
                    (first,),
                )
                self.assertEqual(asked, is_stopped and interruptible, case)
                self.assertEqual(by, second if asked else None, case)
                state, result, _ = await self.books.state(second)
                self.assertEqual(result or state, pending, case)
                await self.end(begun)
                for job in (second, third):
                    await self.cancel(job)

    async def of(self, text: str, case: str, number: int) -> int:
        """The job of the next commit."""
        commit = f"{number}{case.encode().hex()}".ljust(40, "0")[:40]
        return (await self.submit(text, commit, refs=("main",))).jobs[0].id

    async def test_manual_is_parked_and_held_back_by_what_it_needs(self) -> None:
        made = await self.submit(jobs("up: {}", "down: {needs: [up], manual: true}"))
        down = made.jobs[-1].id
        await self.run_one(BAD)
        self.assertEqual((await self.books.state(down))[1], "unrun")
        await self.rerun(made.run, scope="failed")
        await self.run_one()
        self.assertEqual((await self.books.state(down))[0], "parked")
        await self.release(down)
        self.assertEqual(await self.run_all(), ["down"])
        await self.audit()

    async def test_a_whole_pipeline_is_a_node_as_others_are(self) -> None:
        text = (
            "jobs:\n  old: {lpci: .launchpad.yaml}\n"
            "  new: {run: x, architectures: arm64, needs: [old]}\n"
            "  end: {run: x, needs: [{job: old, map: all}]}\n"
        )
        made = await self.submit(text, included={".launchpad.yaml": PIPELINE})
        self.assertEqual(
            await self.cells(),
            {"old arch=amd64": "ready", "old arch=arm64": "waiting",
             "new arch=arm64": "waiting", "end": "waiting"},
        )  # fmt: skip
        await self.run_all({"old": {"file": "x"}})
        self.assertEqual(set((await self.cells(made.run)).values()), {"success"})
        stages = self.orders["old arch=arm64"].stages
        self.assertEqual(stages, ((("test", 0),),))
        [handed] = self.orders["new arch=arm64"].handed
        self.assertEqual([file.path for file in handed.files], ["test/0/file"])
        self.assertEqual((await self.cells())["end"], "success")
        await self.audit()
        # Its failure is that of the node.
        made = await self.submit(text, "b" * 40, included={".launchpad.yaml": PIPELINE})
        await self.run_all(old=BAD)
        found = await self.cells(made.run)
        self.assertEqual((found["end"], found["new arch=arm64"]), ("unrun", "unrun"))
