"""What a farm tells of the keys of nodes that are planned, and what it keeps to itself."""

from __future__ import annotations

from typing import Any

import msgspec

from buildmaster.cli.farm_plan import asked_nodes
from buildmaster.farm_series import Offering
from buildmaster.status.keys import AskedKeys, AskedNode, KnownKeys, KnownNode
from buildmaster.store.documents import keys as store
from protocol.messages import Offer
from protocol.results import Result
from tests.buildmaster.node_books import REPOSITORY, NodeBooks, prepared

CHAIN = """\
packages: {A: {paths: [a], depends: [B]}, B: {paths: [b]}}
defaults: {per_package: true, isolation: chroot, run: x}
jobs: {build: {}}
"""
PUBLISH = """\
packages: {A: {paths: [a]}}
defaults: {isolation: chroot, run: x}
jobs: {build: {per_package: true}, publish: {needs: [build]}}
"""
PARTS = {"a": "1", "b": "1"}
OFFERINGS = [
    Offering(
        "ant",
        True,
        tuple(
            Offer(isolation=isolation, architecture=architecture, series=("*",))
            for isolation in ("native", "chroot")
            for architecture in ("amd64", "arm64")
        ),
        (),
    )
]


def planned(text: str, commit: str = "e" * 40, **more: Any) -> dict[str, AskedNode]:
    """The nodes that a submission would make, by name."""
    asked = asked_nodes(prepared(text, commit, **more).keyed(OFFERINGS))
    return {node.name: node for node in asked}


class KnownCase(NodeBooks):
    async def known(
        self,
        nodes: dict[str, AskedNode],
        within: tuple[str, ...] | None = None,
        domains: tuple[str, ...] = ("trusted",),
        repositories: tuple[str, ...] = (REPOSITORY,),
    ) -> dict[str, KnownNode]:
        asked = AskedKeys(nodes=tuple(nodes.values()), repositories=repositories)
        text = await store.known_keys(self.books.database, asked, within, domains, "chroot")
        answer = msgspec.json.decode(text, type=KnownKeys)
        self.assertEqual(answer.isolation, "chroot")
        return dict(zip(nodes, answer.nodes, strict=True))

    async def build(self, text: str, commit: str, **more: Any) -> dict[str, int]:
        """Submit, and let all pass; the jobs by name."""
        made = await self.submit(text, commit * 40, **more)
        await self.run_all()
        return {job.name: job.id for job in made.jobs}


class KnownTests(KnownCase):
    async def test_what_passed_is_told_as_it_would_be_reused(self) -> None:
        nodes = planned(CHAIN, parts=PARTS)
        for one in (await self.known(nodes)).values():
            self.assertEqual((one.passed, one.before), (None, None))
        jobs = await self.build(CHAIN, "a", parts=PARTS)
        for name, one in (await self.known(nodes)).items():
            assert one.passed is not None
            self.assertEqual((one.passed.job, one.passed.run), (jobs[name], 1))
            self.assertEqual((one.passed.same_image, one.before), (True, None))
        # And so it happens.
        made = await self.submit(CHAIN, "b" * 40, parts=PARTS)
        rows = await self.books.database.rows(
            "SELECT job, reused_from FROM node WHERE reused_from IS NOT NULL ORDER BY 1"
        )
        self.assertEqual(rows, [(job.id, jobs[job.name]) for job in made.jobs])
        # What was reused stands for nothing itself.
        again = await self.known(nodes)
        self.assertEqual({one.passed and one.passed.run for one in again.values()}, {1})

    async def test_of_others_it_is_told_what_differs(self) -> None:
        jobs = await self.build(CHAIN, "a", parts=PARTS)

        async def same(text: str = CHAIN, **parts: str) -> dict[str, tuple[bool, ...]]:
            found = await self.known(planned(text, parts={**PARTS, **parts}))
            return {
                name: (b.same_key, b.same_base, b.same_configuration)
                for name, one in found.items()
                if (b := one.before) is not None and b.job == jobs[name]
            }

        self.assertEqual(await same(), {})
        self.assertEqual(
            await same(b="2"),
            {"B/build": (False, False, True), "A/build": (False, True, True)},
        )
        self.assertEqual(await same(a="2"), {"A/build": (False, False, True)})
        self.assertEqual(
            await same(CHAIN.replace("run: x", "run: y")),
            dict.fromkeys(jobs, (False, False, False)),
        )
        native = planned(CHAIN.replace("isolation: chroot, ", ""), parts=PARTS)
        for one in (await self.known(native)).values():
            assert one.before is not None
            self.assertEqual(one.before.environment, "chroot/amd64/noble")

    async def test_one_that_failed_or_runs_is_told_before_one_that_differs(self) -> None:
        await self.build(CHAIN, "a", parts=PARTS)
        made = await self.submit(CHAIN, "b" * 40, parts={**PARTS, "a": "2"})
        nodes = planned(CHAIN, parts={**PARTS, "a": "2"})
        begun = await self.begin()
        assert begun is not None
        before = (await self.known(nodes))["A/build"].before
        assert before is not None
        self.assertEqual((before.job, before.same_key), (made.jobs[-1].id, True))
        self.assertEqual((before.state, before.result), ("running", None))
        await self.end(begun[1], Result.FAILURE)
        await self.build(CHAIN, "c", parts={**PARTS, "a": "3"})
        before = (await self.known(nodes))["A/build"].before
        assert before is not None
        self.assertEqual((before.job, before.result), (made.jobs[-1].id, "failure"))

    async def test_an_image_that_was_replaced_is_told(self) -> None:
        jobs = await self.build(CHAIN, "a", parts=PARTS)
        for image, name in (("1", "B/build"), ("2", "A/build")):
            await self.books.database.run(
                "UPDATE pipeline_job SET image = %s WHERE job = %s",
                (image * 64, jobs[name]),
            )
        found = await self.known(planned(CHAIN, parts=PARTS))
        for name, is_same in (("B/build", False), ("A/build", True)):
            passed = found[name].passed
            assert passed is not None
            self.assertEqual(passed.same_image, is_same, name)

    async def test_what_was_published_stands_until_another_one_is(self) -> None:
        first = {"a": "1"}
        await self.build(PUBLISH, "a", parts=first)

        async def stands(repository: str = REPOSITORY) -> bool:
            nodes = planned(PUBLISH, parts=first)
            found = await self.known(nodes, repositories=(repository,))
            passed = found["A/publish"].passed
            assert passed is not None
            return passed.stands

        self.assertTrue(await stands())
        self.assertFalse(await stands("https://git.example/other.git"))
        await self.build(PUBLISH, "b", parts={"a": "2"})
        self.assertFalse(await stands())

    async def test_a_question_without_nodes_tells_what_the_farm_is(self) -> None:
        text = await store.known_keys(
            self.books.database, AskedKeys(), None, ("trusted",), "vm"
        )
        answer = msgspec.json.decode(text, type=KnownKeys)
        self.assertEqual((answer.isolation, answer.nodes), ("vm", ()))
        self.assertEqual(len(answer.offers), 4)

    async def test_no_table_of_jobs_is_read_whole(self) -> None:
        cells = ", ".join(f"v{number}" for number in range(100))
        of_it = f"{{run: x, isolation: chroot, matrix: {{aa: [{cells}]}}}}"
        many = f"jobs: {{{', '.join(f'job{n}: {of_it}' for n in range(20))}}}"
        for commit in "ab":
            await self.submit(many, commit * 40)
        await self.books.database.run("ANALYZE job, node, build, run_job, pipeline_job")
        nodes = planned(CHAIN, parts=PARTS)
        rows = await self.books.database.rows(
            f"EXPLAIN {store.STATEMENT}",
            {
                "nodes": msgspec.json.encode([*nodes.values()]).decode(),
                "repositories": [REPOSITORY],
                "environments": ["chroot/amd64/noble"],
                "within": ["https://git.example"],
                "domains": ["trusted"],
                "isolation": "chroot",
            },
        )
        text = "\n".join(line for (line,) in rows)
        for table in ("job", "node", "build", "run_job", "pipeline_job"):
            self.assertNotIn(f"Seq Scan on {table} ", text)
        for index in ("node_inputs", "job_name", "run_job_job"):
            self.assertRegex(text, rf"(Scan|Scan Backward|on|using) {index}\b")


class AttackTests(KnownCase):
    """Who asks knows the keys, names and repositories of others, and learns nothing."""

    THEIRS = "https://git.example/secret/p.git"
    MINE = "https://git.example/mine"

    async def assert_nothing_is_told(self, **narrowed: Any) -> None:
        nodes = planned(CHAIN, parts=PARTS)
        changed = planned(CHAIN, parts={"a": "2", "b": "2"})
        for repositories in ((), (self.THEIRS,), (REPOSITORY, self.THEIRS)):
            for asked in (nodes, changed):
                found = await self.known(asked, repositories=repositories, **narrowed)
                told = {(one.passed, one.before) for one in found.values()}
                self.assertEqual(told, {(None, None)}, repositories)

    async def test_of_other_projects_nothing_is_told(self) -> None:
        await self.build(CHAIN, "a", parts=PARTS, repository=self.THEIRS)
        for within in ((self.MINE,), (), ("https://git.example/sec",)):
            await self.assert_nothing_is_told(within=within)
        # An own, older one is told though there is a newer one elsewhere.
        mine = f"{self.MINE}/p.git"
        jobs = await self.build(CHAIN, "b", parts=PARTS, repository=mine, force=True)
        await self.build(CHAIN, "c", parts=PARTS, repository=self.THEIRS, force=True)
        found = await self.known(planned(CHAIN, parts=PARTS), within=(self.MINE,))
        self.assertEqual(
            {name: one.passed and one.passed.job for name, one in found.items()}, jobs
        )
        await self.assert_nothing_is_told(within=("https://git.example/nobody",))

    async def test_of_other_trust_domains_nothing_is_told(self) -> None:
        await self.build(CHAIN, "a", parts=PARTS, domain="stranger")
        await self.assert_nothing_is_told()
        await self.assert_nothing_is_told(within=("https://git.example",))
        await self.assert_nothing_is_told(domains=("another",))

    async def test_questions_are_bounded_and_checked(self) -> None:
        [node, _] = msgspec.to_builtins([*planned(CHAIN).values()])
        for wrong in (
            {"nodes": [node] * 1001},
            {"nodes": [{**node, "key": "x" * 64}]},
            {"nodes": [{**node, "key": node["key"] + "\n"}]},
            {"nodes": [{**node, "name": "\x00"}]},
            {"nodes": [{**node, "part": -1}]},
            {"nodes": [], "repositories": ["x"] * 11},
            {"nodes": [], "domain": "stranger"},
        ):
            with self.assertRaises(msgspec.ValidationError, msg=repr(wrong)[:100]):
                msgspec.convert(wrong, AskedKeys)
        # What fits is only compared.
        hostile = {**node, "name": "'; DROP TABLE job; --", "cell": "%s {0} \\"}
        found = await self.known({"x": msgspec.convert(hostile, AskedNode)})
        self.assertIsNone(found["x"].before)
