"""Questions about keys over HTTP and PB: one answer, and the same rights."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from buildmaster.client.http import Client, FarmRefused
from buildmaster.status.keys import AskedKeys
from buildmaster.status.problems import StatusProblem
from tests.buildmaster.node_books import prepared
from tests.buildmaster.status.test_ways import TEAM, WaysCase
from tests.buildmaster.test_known_keys import planned

FILE = "jobs: {one: {run: x, isolation: chroot, series: noble, architectures: amd64}}"
INSIDE, OUTSIDE = f"{TEAM}/a.git", "https://example.com/teams/b.git"


class KeysCase(WaysCase):
    def client(self, token: str | None) -> Client:
        return Client(reactor, self.url, token)

    async def made(self, repository: str, commit: str) -> int:
        """A job of one node that passed."""
        file = FILE if repository == INSIDE else FILE.replace("run: x", "run: y")
        store = prepared(
            file, commit * 40, tree="t", repository=repository, wait_for_worker=True
        ).store
        job = (await self.database.transaction(store)).jobs[0].id
        await self.database.run(
            "UPDATE job SET state = 'done', result = 'success', finished_at = farm_now()"
            " WHERE id = %s",
            (job,),
        )
        return job

    def question(self, file: str = FILE) -> AskedKeys:
        nodes = planned(file, tree="t")
        return AskedKeys(nodes=tuple(nodes.values()))

    @property
    def outside(self) -> AskedKeys:
        return self.question(FILE.replace("run: x", "run: y"))


class SameAnswerTests(KeysCase):
    async def test_both_ways_have_the_same_answer(self) -> None:
        job = await self.made(INSIDE, "a")
        web = await self.client(None).keys(self.question())
        far = await (await self.over_pb()).keys(self.question())
        self.assertEqual(web, far)
        [known] = web.nodes
        assert known.passed is not None
        self.assertEqual(known.passed.job, job)

    async def test_long_questions_go_over_pb_in_pieces(self) -> None:
        await self.made(INSIDE, "a")
        [node] = self.question().nodes
        asked = AskedKeys(nodes=(node,) * 250)
        far = await (await self.over_pb()).keys(asked)
        self.assertEqual(len(far.nodes), 250)
        self.assertEqual(len({one.passed and one.passed.job for one in far.nodes}), 1)

    async def test_what_is_no_question_is_a_problem_in_both_ways(self) -> None:
        with self.assertRaises(FarmRefused) as refused:
            await self.client(None).change("/api/v1/keys", {"nodes": [{}]})
        self.assertEqual((refused.exception.status, refused.exception.code),
                         (400, "bad_body"))  # fmt: skip
        remote: Any = await self.over_pb()
        for given in (b"{}{", b'{"nodes": [{}]}', "text", None):
            answer = await remote._reference.callRemote("keys", given)
            self.assertEqual(answer[0], "problem", given)


class RightsTests(KeysCase):
    open_reading = False

    async def token(self, *scopes: str, project: str | None = None) -> str:
        token = await self.admission.add_client("ci", scopes, project, "test")
        await self.clients.round()
        return token

    async def test_who_may_not_read_may_not_ask(self) -> None:
        for token in (None, await self.token("submit")):
            with self.assertRaises(FarmRefused) as refused:
                await self.client(token).keys(self.question())
            with self.assertRaises(StatusProblem) as problem:
                await (await self.over_pb(token)).keys(self.question())
            self.assertEqual(refused.exception.status, problem.exception.status)
            self.assertEqual(refused.exception.status, 401 if token is None else 403)

    async def test_a_project_learns_nothing_of_others(self) -> None:
        inside = await self.made(INSIDE, "a")
        await self.made(OUTSIDE, "b")
        token = await self.token("read", project=TEAM)
        for asked, expected in ((self.question(), inside), (self.outside, None)):
            for known in (
                await self.client(token).keys(asked),
                await (await self.over_pb(token)).keys(asked),
            ):
                [one] = known.nodes
                self.assertEqual(one.passed and one.passed.job, expected)
                # The name is that of a job of the own project, and so is what is told.
                self.assertEqual(one.before and one.before.job,
                                 None if expected else inside)  # fmt: skip
        whole = self.tokens.farm_token
        [one] = (await self.client(whole).keys(self.outside)).nodes
        self.assertIsNotNone(one.passed)
