"""Jobs that refer to each other, from the file to the result, on a whole farm."""

from __future__ import annotations

from typing import Any

from tests.referring import Nodes, WholeFarm

CHAIN = """\
packages: {A: {paths: [a], depends: [B]}, B: {paths: [b]}}
defaults: {series: noble}
jobs:
  build:
    per_package: true
    run: |
      cat $(echo $CI_PACKAGE | tr A-Z a-z)/file > made.txt
      find $CI_INPUT_BUILD -type f | sed "s,$CI_INPUT_BUILD/,," | sort >> made.txt
      cat $CI_INPUT_BUILD/*/made.txt >> made.txt || true
    output: {paths: [made.txt]}
  test:
    per_package: true
    needs: [build]
    run: |
      echo "$CI_JOB of $CI_PACKAGE"; cat $CI_INPUT_BUILD/made.txt
      test ! -e $(echo $CI_PACKAGE | tr A-Z a-z)/broken
  publish:
    scope: component
    needs: [{job: test, map: all}]
    run: echo "publish $CI_PACKAGES"
"""


class ChainTests(WholeFarm):
    async def test_files_go_along_the_edges(self) -> None:
        self.commit(CHAIN, a__file="one\n", b__file="two\n")
        nodes = await self.built()
        self.assertEqual(
            nodes.results,
            dict.fromkeys(
                ("A/build", "A/test", "B/build", "B/test", "A/publish"), "success"
            ),
        )
        said = await self.log(nodes["A/test"])
        self.assertIn("test of A\none\nB/made.txt\ntwo\n", said)
        self.assertIn("publish A B", await self.log(nodes["A/publish"]))
        # Asked for again, the same commit is the same jobs.
        again = await self.built()
        self.assertEqual(again["A/publish"]["id"], nodes["A/publish"]["id"])

    async def test_a_failure_names_its_cause_and_is_run_again(self) -> None:
        gate = self.folder.parent / "gate"
        text = CHAIN.replace("test ! -e $(echo $CI_PACKAGE | tr A-Z a-z)/broken",
                             f"test $CI_PACKAGE = A || test -e {gate}")  # fmt: skip
        self.commit(text, a__file="one\n", b__file="two\n")
        run = await self.submit()
        nodes = await self.done(run)
        self.assertEqual(nodes.results["B/test"], "failure")
        self.assertEqual(nodes.results["A/test"], "unrun")
        self.assertEqual(nodes.results["A/publish"], "unrun")
        self.assertEqual(nodes["A/publish"]["root_cause"], nodes["B/test"]["id"])
        self.assertEqual(nodes.results["A/build"], "success")
        # An empty selection is never everything.
        said = await self.ask("rerun", str(run), "--failed", "--package", "X", status=1)
        self.assertIn("Nothing of run", said.all)
        # What is in the way is run as well.
        gate.touch()
        said = await self.ask("rerun", str(run), "--failed", "--package", "A")
        self.assertIn(f"job {nodes['B/test']['id']} as well", said.all)
        nodes = await self.done(run)
        self.assertEqual(set(nodes.results.values()), {"success"})
        self.assertEqual(nodes["A/build"]["attempt"], 1)
        said = await self.ask("rerun", str(run), "--failed", status=1)
        self.assertIn("none of the jobs that are meant has ended badly", said.all)
        # From here on: the build anew, and all that builds upon it.
        await self.ask("rerun", str(run), "--from-here", "build", "--package", "B")
        nodes = await self.done(run)
        self.assertEqual(nodes["B/build"]["attempt"], 2)
        self.assertEqual(nodes["A/test"]["attempt"], 3)

    async def test_a_manual_job_waits_for_somebody(self) -> None:
        self.commit(
            "jobs:\n  first: {run: 'true', allow_failure: true}\n"
            "  second: {run: 'false', needs: [first], allow_failure: true}\n"
            "  gated: {run: 'echo $CI_JOB', needs: [second], manual: true}\n"
            "  sad: {run: 'true', needs: [{job: first, require: bad}]}\n"
        )
        run = await self.submit()
        [gated] = [
            job for job in (await self.run_of(run))["jobs"] if job["name"] == "gated"
        ]
        found = await self.until(gated["id"], "parked")
        self.assertIn("headrace release", found["parked_for"])
        await self.ask("release", str(gated["id"]))
        nodes = await self.done(run)
        self.assertEqual(
            nodes.results,
            {"first": "success", "second": "failure", "gated": "success", "sad": "skipped"},
        )
        self.assertEqual((await self.run_of(run))["result"], "success")
        await self.ask("release", str(gated["id"]), status=1)

    async def test_retry_rules_and_any_cell(self) -> None:
        mark = self.folder.parent / "mark"
        self.commit(
            f"jobs:\n  flaky: {{run: 'test -e {mark} || {{ touch {mark}; exit 75; }}',"
            " retry: [{limit: 2, exit: 75}]}\n"
            "  some: {run: 'echo $CI_CELL_WORD > x; test $CI_CELL_WORD = good',"
            " matrix: {word: [good, bad]}, output: {paths: [x]}}\n"
            "  after: {run: 'cat $CI_INPUT_SOME/*/x', needs: [{job: some, map: any}]}\n"
        )
        found = await self.run_of(await self.submit())
        await self.done(found["id"])
        jobs = {
            (job["name"], job["cell"]): job
            for job in (await self.run_of(found["id"]))["jobs"]
        }
        self.assertEqual(jobs["flaky", ""]["result"], "success")
        self.assertEqual(jobs["flaky", ""]["attempt"], 2)
        self.assertEqual(jobs["some", "word=bad"]["result"], "failure")
        self.assertEqual(jobs["after", ""]["result"], "success")
        self.assertIn("good", await self.log(jobs["after", ""]))

    async def test_what_cannot_be_is_refused_whole(self) -> None:
        self.commit("jobs:\n  aa: {run: x, needs: [bb]}\n  bb: {run: x, needs: [aa]}\n")
        said = await self.ask("submit", str(self.folder), status=1)
        self.assertIn("aa -> bb -> aa", said.all)
        self.commit("jobs:\n  aa: {run: x, need: [bb]}\n")
        said = await self.ask("submit", str(self.folder), status=1)
        self.assertIn("line 2, jobs.aa.need", said.all)
        self.assertEqual((await self.ask("runs", "--json")).document, [])

    async def test_a_work_tree_is_run_likewise(self) -> None:
        (self.folder / ".headrace.yaml").write_text(CHAIN)
        for name in ("a", "b"):
            (self.folder / name).mkdir()
            (self.folder / name / "file").write_text(name)
        said = await self.ask("run", str(self.folder))
        self.assertIn("passed", said.all)


MONOREPO = """\
packages: {A: {paths: [a], depends: [B, {name: C, rebuild: true}]}, B: {paths: [b]},
           C: {paths: [c]}}
defaults: {series: noble}
jobs:
  build:
    per_package: true
    run: |
      dir=$(echo $CI_PACKAGE | tr A-Z a-z)
      if test -e $dir/file; then cut -d' ' -f1 $dir/file > made.txt; fi
      cat $CI_INPUT_BUILD/*/made.txt >> made.txt || true
    output: {paths: [made.txt]}
  test: {per_package: true, needs: [build], install: closure, run: 'true'}
  publish:
    scope: component
    needs: [{job: test, map: all}]
    interruptible: false
    run: echo "publish $CI_PACKAGES"
"""
ALL = ("A/build", "B/build", "C/build", "A/test", "B/test", "C/test")


class ReuseTests(WholeFarm):
    """What has not changed is not done again."""

    def assert_results(self, nodes: Nodes, publish: str, **results: str) -> None:
        expected = dict.fromkeys(ALL, "reused") | {
            f"{package}/{job}": result
            for package, result in results.items()
            for job in ("build", "test")
        }
        self.assertEqual(nodes.results, expected | {"A/publish": publish})

    async def test_a_change_goes_up_the_chain_and_is_published_with_it(self) -> None:
        self.commit(MONOREPO, a__file="a", b__file="b", c__file="c", README="1")
        first = await self.built()
        self.assertEqual(set(first.results.values()), {"success"})
        self.assertIn("publish A B C", await self.log(first["A/publish"]))

        # Only C.
        self.commit(c__file="c2")
        second = await self.built()
        self.assert_results(second, "success", A="success", C="success")
        self.assertIn("publish A C\n", await self.log(second["A/publish"]))
        [reused] = (await self.ask("show", str(second["B/build"]["id"]), "--json")).document
        self.assertEqual(reused["node"]["reused_from"], first["B/build"]["id"])
        self.assertEqual(reused["pipeline_jobs"][0]["result"], "reused")

        # Nothing that counts.
        self.commit(README="2")
        third = await self.built()
        self.assert_results(third, "skipped")
        self.assertIn("unchanged", third["A/publish"]["reason"])

        # Back to what was there before: it is built already, and published anew.
        self.commit(c__file="c")
        fourth = await self.built()
        self.assert_results(fourth, "success")
        self.assertIn("publish A C\n", await self.log(fourth["A/publish"]))

        # All of it, because somebody wants that.
        self.commit(README="3")
        fifth = await self.built("--force")
        self.assertEqual(set(fifth.results.values()), {"success"})
        self.assertIn("publish A B C", await self.log(fifth["A/publish"]))

        # A reused job that is tried again runs.
        await self.ask("retry", str(third["B/build"]["id"]))
        self.assertEqual(
            (await self.until(third["B/build"]["id"], "done"))["result"], "success"
        )

    async def test_a_change_that_makes_no_difference_ends_there(self) -> None:
        text = MONOREPO.replace("per_package: true", "per_package: true, cutoff: true", 2)
        text = text.replace("build:\n    per_package: true, cutoff: true",
                            "build:\n    per_package: true\n    cutoff: true")  # fmt: skip
        self.commit(text, a__file="a 1", b__file="b 1", c__file="c 1")
        await self.built()
        # C is built anew, and comes out the same: A stays as it is.
        self.commit(c__file="c 2")
        second = await self.built()
        self.assertEqual(second.results["C/build"], "success")
        self.assertEqual(second.results["A/build"], "reused")
        # And again it is known at once.
        self.commit(README="x")
        third = await self.built()
        self.assertEqual(set(third.results.values()), {"reused", "skipped"})

    async def test_what_failed_to_be_published_is_published_next(self) -> None:
        gate = self.folder.parent / "gate"
        text = MONOREPO.replace('run: echo "publish', f'run: test -e {gate}; echo "publish')
        self.commit(text, a__file="a", b__file="b", c__file="c")
        first = await self.built()
        self.assertEqual(first.results["A/publish"], "failure")
        gate.touch()
        self.commit(README="x")
        second = await self.built()
        self.assert_results(second, "success")
        self.assertIn("publish A B C", await self.log(second["A/publish"]))


class FarmPlanTests(WholeFarm):
    """``headrace plan --farm`` says before what a run then does."""

    async def planned(self, *options: str) -> dict[str, dict[str, Any]]:
        """What would become of each node, by name."""
        path = str(self.folder / ".headrace.yaml")
        document = (await self.ask("plan", path, "--farm", "--json", *options)).document
        return {node["name"]: node["reuse"] for node in document["nodes"]}

    async def assert_comes_true(self, told: dict[str, dict[str, Any]]) -> Nodes:
        """Commit and build what was planned: it ends as was said."""
        self.git("add", "-A")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q",
                 "--allow-empty", "-m", "x")  # fmt: skip
        nodes = await self.built()
        ends = {"runs": "success", "reused": "reused", "skipped": "skipped"}
        self.assertEqual(
            nodes.results, {name: ends[one["fate"]] for name, one in told.items()}
        )
        for name, one in told.items():
            if one["fate"] == "reused":
                [job] = (await self.ask("show", str(nodes[name]["id"]), "--json")).document
                self.assertEqual(job["node"]["reused_from"], one["job"], name)
        return nodes

    async def test_what_is_planned_comes_true_and_says_why(self) -> None:
        text = MONOREPO.replace("defaults: {series: noble}\n", "")
        self.commit(text, a__file="a", b__file="b", c__file="c")
        before = list((self.folder / ".git").rglob("*"))
        told = await self.planned()
        self.assertEqual({one["fate"] for one in told.values()}, {"runs"})
        self.assertIn("knows no earlier one", told["C/build"]["sentence"])
        first = await self.assert_comes_true(told)

        # Nothing that counts; and what is not committed is seen.
        (self.folder / "README").write_text("x")
        told = await self.planned()
        self.assertEqual(told["A/publish"]["fate"], "skipped")
        self.assertEqual(told["A/build"]["job"], first["A/build"]["id"])
        await self.assert_comes_true(told)

        # Only C: and the plan names who is why.
        (self.folder / "c" / "file").write_text("c2")
        told = await self.planned()
        self.assertEqual(told["C/build"]["differs"], ["source"])
        self.assertIn("its part of the source has changed, c", told["C/build"]["sentence"])
        self.assertEqual(told["A/build"]["upstreams"], ["C/build"])
        self.assertEqual(told["B/build"]["fate"], "reused")
        await self.assert_comes_true(told)

        # Another script.
        (self.folder / ".headrace.yaml").write_text(text.replace("run: 'true'", "run: ls"))
        path = str(self.folder / ".headrace.yaml")
        told = await self.planned()
        self.assertEqual(told["B/test"]["differs"], ["job"])
        said = (await self.ask("plan", path, "--farm")).out
        self.assertIn("B/test: runs: unlike job", said)
        self.assertRegex(said, r"B/build: reused: from job \d+ of run \d+, passed at 20")
        self.assertIn("of 7 nodes 4 would run, 3 be reused, 0 be skipped", said)
        dot = (await self.ask("plan", path, "--farm", "--graph", "dot")).out
        self.assertRegex(dot, r'label="B/build", style=dashed, tooltip="reused: from job')
        await self.assert_comes_true(told)
        # Nothing was written into the repository.
        self.assertTrue(set(before) <= set((self.folder / ".git").rglob("*")))

    async def test_what_cannot_be_asked_is_told(self) -> None:
        path = self.folder / ".headrace.yaml"
        self.commit("jobs:\n  aa: {run: x, architectures: s390x, series: noble}\n")
        said = await self.ask("plan", str(path), "--farm", status=1)
        self.assertIn("No worker of this farm can run aa on s390x", said.all)
        self.commit("jobs:\n  aa: {run: x, needs: [bb]}\n")
        said = await self.ask("plan", str(path), "--farm", status=1)
        self.assertIn("there is no job", said.all)
        other = self.folder.parent / ".launchpad.yaml"
        other.write_text("pipeline: [aa]\njobs: {aa: {series: noble, run: x}}\n")
        said = await self.ask("plan", str(other), "--farm", status=2)
        self.assertIn("--farm goes with a .headrace.yaml", said.all)
        lonely = self.folder.parent / ".headrace.yaml"
        lonely.write_text("jobs: {aa: {run: x}}")
        said = await self.ask("plan", str(lonely), "--farm", status=2)
        self.assertIn("is no work tree of git", said.all)
