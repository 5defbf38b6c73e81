"""A snapshot and what follows it, in all ways: no gap, nothing twice, nothing foreign."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater

from buildmaster.status import following as following_module
from buildmaster.status import questions as q
from buildmaster.status.asking import address, from_texts
from buildmaster.status.following import LOOKED_AT, wanted
from buildmaster.status.interface import IFollow
from buildmaster.status.methods import METHODS
from buildmaster.status.news import Happened, News
from tests.buildmaster.status.test_ways import TEAM, WaysCase


class _Browser(WebSocketClientProtocol):  # type: ignore[misc]
    """A WebSocket that keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: deque[dict[str, Any]] = deque()
        self.waiting: Deferred[None] | None = None
        self.closed: Deferred[int] = Deferred()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803
        self.heard.append(json.loads(payload))
        self.wake()

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N803
        if not self.closed.called:
            self.closed.callback(code)
        self.wake()

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.callback(None)


class OverWebSocket:
    """A following as a browser would have it, with the shape of the others."""

    def __init__(self, case: WaysCase, path: str, token: str | None) -> None:
        self._case = case
        self._path = path
        self._token = token
        self.socket: Any = None

    def __aiter__(self) -> OverWebSocket:
        return self

    async def __anext__(self) -> News:
        if self.socket is None:
            bearer = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            factory = WebSocketClientFactory(
                f"ws://127.0.0.1:{self._case.port}{self._path}", headers=bearer
            )
            factory.protocol = _Browser
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._case.port)
            self.socket = await endpoint.connect(factory)
        while not self.socket.heard:
            if self.socket.closed.called:
                raise StopAsyncIteration
            self.socket.waiting = Deferred()
            await self.socket.waiting
        told = self.socket.heard.popleft()
        document = json.dumps(told["document"]).encode()
        if told["kind"] == "snapshot":
            return News(told["id"], document)
        return News(told["id"], events=(Happened(told["id"], told["kind"], document),))

    def close(self) -> None:
        if self.socket is not None:
            self.socket.dropConnection(abort=True)


class FollowingCase(WaysCase):
    async def ways(
        self, name: str, asked: q.Question, since: str | None = None
    ) -> dict[str, IFollow]:
        """The same following in each way."""
        token = self.tokens.farm_token
        path = address(METHODS[name], asked, since=since)
        found: dict[str, IFollow] = {
            "in-process": self.status.follow(name, asked, since),
            "pb": (await self.over_pb(token)).follow(name, asked, since),
            "http": self.over_http(token).follow(name, asked, since),
            "websocket": OverWebSocket(self, path, token),
        }
        for following in found.values():
            self.addCleanup(following.close)
        return found

    async def take(self, following: IFollow, count: int) -> list[Happened]:
        taken: list[Happened] = []
        while len(taken) < count:
            taken += (await following.__anext__()).events
        return taken

    async def take_snapshot(self, following: IFollow) -> Any:
        while (news := await following.__anext__()).snapshot is None:
            pass
        return json.loads(news.snapshot)

    async def told(self, *places: str) -> None:
        for place in places:
            await self.rows.until_readable(place)


class FollowingTests(FollowingCase):
    async def test_a_snapshot_and_what_follows_it_is_the_same_in_all_ways(self) -> None:
        job = await self.rows.job()
        await self.told(await self.rows.event("before", job=job))
        asked = q.Jobs(owner="ada")
        snapshot = (await self.status.jobs(asked)).plain()
        for way, following in (await self.ways("jobs", asked)).items():
            first = await following.__anext__()
            assert first.snapshot is not None
            self.assertEqual(json.loads(first.snapshot)["jobs"], snapshot["jobs"], way)
            after = [await self.rows.event(f"{way}-{n}", job=job) for n in range(3)]
            taken = await self.take(following, 3)
            self.assertEqual([each.id for each in taken], after, way)
            self.assertEqual(
                [each.kind for each in taken], [f"{way}-{n}" for n in range(3)]
            )
            document = json.loads(taken[0].json)
            self.assertEqual((document["job"], document["id"]), (job, after[0]))

    async def test_who_comes_back_misses_nothing_and_gets_nothing_twice(self) -> None:
        job = await self.rows.job()
        seen = [await self.rows.event(f"e{n}", job=job) for n in range(6)]
        await self.told(*seen)
        for way, following in (await self.ways("jobs", q.Jobs(), seen[0])).items():
            taken = await self.take(following, len(seen) - 1)
            seen.append(await self.rows.event("live", job=job))
            taken += await self.take(following, 1)
            self.assertEqual([each.id for each in taken], seen[1:], way)
            following.close()
            await self.told(seen[-1])
            again = (await self.ways("jobs", q.Jobs(), taken[2].id))[way]
            self.assertEqual(
                [each.id for each in await self.take(again, len(seen) - 4)], seen[4:], way
            )

    async def test_filters_hold_for_events(self) -> None:
        mine = await self.rows.job(owner="ada", name="in")
        for owner, name in (("eve", "in"), ("ada", "out")):
            await self.rows.event(
                f"of-{owner}", job=await self.rows.job(owner=owner, name=name)
            )
        asked = q.Jobs(owner="ada", name="in", state=("running",))
        for way, following in (await self.ways("jobs", asked)).items():
            await following.__anext__()
            other = await self.rows.job(owner="eve", name="in")
            await self.rows.event("foreign", job=other)
            await self.rows.event("of-nobody")
            await self.rows.event("mine", job=mine)
            [taken] = await self.take(following, 1)
            self.assertEqual(taken.kind, "mine", way)

    async def test_runs_hear_of_their_jobs_and_workers_of_themselves(self) -> None:
        run = await self.rows.run(owner="ada")
        job = await self.rows.job(run, owner="eve")
        await self.rows.worker("ant")
        runs = self.status.follow("runs", q.Runs(owner="ada"))
        worker = self.status.follow("worker", q.OneWorker(worker="ant"))
        one = self.status.follow("run", q.OneRun(run=run))
        for following in (runs, worker, one):
            self.addCleanup(following.close)
            await following.__anext__()
        await self.rows.event("of-job", job=job)
        await self.rows.event("of-run", run=run)
        await self.database.run(
            "INSERT INTO event (kind, worker) VALUES ('of-bee', 'bee'), ('of-ant', 'ant')"
        )
        for following, kinds in (
            (runs, ["of-job", "of-run"]),
            (one, ["of-job", "of-run"]),
            (worker, ["of-ant"]),
        ):
            taken = await self.take(following, len(kinds))
            self.assertEqual([each.kind for each in taken], kinds)

    async def test_what_cannot_be_followed_says_so_in_all_ways(self) -> None:
        for name, asked, since, code in (
            ("job", q.OneJob(job=7), "no id", "bad_event_id"),
            ("job", q.OneJob(job=7), None, "not_found"),
            ("jobs", q.Jobs(), "99999999-1", "bad_event_id"),
            ("jobs", q.Jobs(), "no id", "bad_event_id"),
        ):
            ways = await self.ways(name, asked, since)
            del ways["websocket"]  # its client has no words for a refusal
            for way, following in ways.items():
                told = await self.problem(_some(following))
                self.assertEqual(told[1], code, (name, way))

    async def test_what_no_event_tells_of_is_told_when_it_has_changed(self) -> None:
        self.patch(following_module, "LOOKED_AT", {**LOOKED_AT, "rules": 0.2})
        for way, following in (await self.ways("rules", q.Rules())).items():
            await following.__anext__()
            pattern = f"found over {way}"
            waiting = Deferred.fromCoroutine(self.take_snapshot(following))
            await self.rows.event("of-something-else")
            await deferLater(reactor, 0.5)
            self.assertFalse(waiting.called, f"{way}: nothing has changed")
            await self.database.run(
                "INSERT INTO failure_rule (pattern, classification, made_by)"
                " VALUES (%s, 'flaky', 'ada')",
                (pattern,),
            )
            told = await waiting
            self.assertEqual(told["rules"][-1]["pattern"], pattern, way)

    async def test_every_method_can_be_followed(self) -> None:
        for name, method in METHODS.items():
            required = {field.name: "1" for field in method.fields if field.required}
            wanted(name, from_texts(method, required))

    async def test_who_says_something_on_a_websocket_is_shown_the_door(self) -> None:
        following = (await self.ways("jobs", q.Jobs()))["websocket"]
        assert isinstance(following, OverWebSocket)
        await following.__anext__()
        following.socket.sendMessage(b"hello")
        self.assertEqual(await following.socket.closed, 4400)

    async def test_what_is_no_handshake_after_all_follows_nothing(self) -> None:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        for more in (
            {
                "Sec_WebSocket_Version": "99",
                "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
            },
            {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "short"},
            {},
        ):
            head = self.head("GET /api/v1/jobs HTTP/1.1", **upgrade, **more)
            raw = await self.raw(head)
            self.assertNotIn(b" 101 ", await raw.closed)
            while self.feed._followers:
                await (await self.get("/healthz")).content()

    async def test_pages_of_others_may_not_follow(self) -> None:
        """A browser lets any page open a WebSocket to anywhere."""
        head = self.head(
            "GET /api/v1/jobs HTTP/1.1",
            Upgrade="websocket",
            Connection="Upgrade",
            Origin="https://evil.example.com",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        )
        raw = await self.raw(head)
        self.assertIn(b"foreign_origin", await raw.until(b"foreign_origin"))

    async def test_who_leaves_is_forgotten_in_all_ways(self) -> None:
        ways = await self.ways("jobs", q.Jobs())
        for following in ways.values():
            await following.__anext__()
        while len(self.feed._followers) < 4:
            await self.get("/healthz")
        for following in ways.values():
            following.close()
        while self.feed._followers:
            await self.get("/healthz")


class PermittedTests(FollowingCase):
    open_reading = False

    async def test_a_project_bounds_what_can_be_followed(self) -> None:
        outside = await self.rows.job(
            repository="https://example.com/b.git", source_digest="a" * 40, name="out"
        )
        token = await self.admission.add_client("ci", ["read"], TEAM, "test")
        await self.clients.round()
        for status in (await self.over_pb(token), self.over_http(token)):
            for following in (
                status.follow("workers", q.Workers()),
                status.follow("overview", q.Nothing()),
                status.follow("job", q.OneJob(job=outside)),
                status.follow("events", q.Events(job=outside)),
            ):
                self.addCleanup(following.close)
                told = await self.problem(_some(following))
                self.assertEqual(told[:2], (403, "outside_project"))

    async def test_lists_of_a_project_follow_that_project_only_in_all_ways(self) -> None:
        source = "a" * 40
        inside = await self.rows.job(
            repository=f"{TEAM}/a.git", source_digest=source, name="in"
        )
        outside = await self.rows.job(
            repository=f"{TEAM}mates/b.git", source_digest=source, name="out"
        )
        token = await self.admission.add_client("ci", ["read"], TEAM, "test")
        await self.clients.round()
        for name, asked in (("jobs", q.Jobs()), ("events", q.Events())):
            ways: dict[str, IFollow] = {
                "pb": (await self.over_pb(token)).follow(name, asked),
                "http": self.over_http(token).follow(name, asked),
                "websocket": OverWebSocket(self, address(METHODS[name], asked), token),
            }
            for way, following in ways.items():
                self.addCleanup(following.close)
                first = await following.__anext__() if name == "jobs" else News("")
                if first.snapshot is not None:
                    told = json.loads(first.snapshot)["jobs"]
                    self.assertEqual([job["id"] for job in told], [inside], way)
                since = await self.rows.event("foreign", job=outside)
                await self.rows.event("of-nobody")
                await self.rows.event("mine", job=inside)
                if name == "events":
                    # From the beginning: what is over is filtered, too.
                    following.close()
                    asked = q.Events(since=since)
                    page = await self.over_http(token).events(q.Events())
                    self.assertEqual(
                        {event.job for event in page.read().events}, {inside}, way
                    )
                    continue
                [taken] = await self.take(following, 1)
                self.assertEqual(taken.kind, "mine", way)
                back = self.over_http(token).follow(name, asked, since)
                self.addCleanup(back.close)
                [taken] = await self.take(back, 1)
                self.assertEqual(taken.kind, "mine", way)

    async def test_a_token_that_ends_ends_what_it_follows(self) -> None:
        token = await self.admission.add_client("ci", ["read"], None, "test")
        await self.clients.round()
        job = await self.rows.job()
        path = address(METHODS["jobs"], q.Jobs())
        socket = OverWebSocket(self, path, token)
        followings: tuple[Any, ...] = (
            (await self.over_pb(token)).follow("jobs", q.Jobs()),
            self.over_http(token).follow("jobs", q.Jobs()),
            socket,
        )
        for following in followings:
            self.addCleanup(following.close)
            await following.__anext__()
        await self.admission.revoke_client("ci")
        await self.clients.round()
        await self.rows.event("secret", job=job)
        for following in followings[:2]:
            told = await self.problem(following.__anext__())
            self.assertEqual(told[:2], (401, "unauthorized"))
        self.assertEqual(await socket.socket.closed, 4401)
        self.assertEqual(list(socket.socket.heard), [])


async def _some(following: IFollow) -> None:
    """News until the end, which is a `StatusProblem`."""
    async for _ in following:
        pass
