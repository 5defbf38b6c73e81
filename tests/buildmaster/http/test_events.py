from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from buildmaster import feed as feed_module
from buildmaster.client.event_stream import EventStreamParser
from buildmaster.database import Cursor
from buildmaster.http.following import frame
from buildmaster.status import reading
from buildmaster.status.news import Happened
from tests.buildmaster.http.farm_site import Raw, SiteCase

HOSTILE = "a\nid: 7\n\ndata: x\r\n\r\u2028\u0085\0".replace("\0", "")


class FrameTests(SynchronousTestCase):
    @given(st.text(), st.text())
    def test_no_text_can_end_an_event_or_begin_another(self, kind: str, text: str) -> None:
        document = json.dumps({"payload": text}, ensure_ascii=False)
        sent = frame(Happened("1-2", kind, document.encode(errors="surrogatepass"))).decode(
            errors="surrogatepass"
        )
        lines = sent.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.assertEqual(lines[0], "id: 1-2")
        self.assertTrue(lines[1].startswith("event: "))
        self.assertEqual(lines[-2:], ["", ""])
        data = [line.removeprefix("data: ") for line in lines[2:-2]]
        self.assertEqual(json.loads("\n".join(data)), {"payload": text})


class EventsCase(SiteCase):
    async def stream(self, query: str = "", **headers: str) -> Raw:
        line = f"GET /api/v1/events{query} HTTP/1.1"
        raw = await self.raw(self.head(line, Accept="text/event-stream", **headers))
        await raw.until(b"the events of this farm\n\n")
        return raw

    async def take(self, raw: Raw, count: int) -> list[dict[str, Any]]:
        """The documents of the first events of a stream."""
        while True:
            body = raw.data.partition(b"\r\n\r\n")[2]
            # Chunk sizes stand on lines of their own between the chunks.
            lines = body.rpartition(b"\n\n")[0].split(b"\n")
            lines = [line for line in lines if line.startswith(b"data: ")]
            documents = [line.removeprefix(b"data: ") for line in lines]
            if len(documents) >= count:
                return [json.loads(document) for document in documents]
            await self.get("/healthz")


class JsonTests(EventsCase):
    async def test_events_come_in_pages(self) -> None:
        job = await self.rows.job()
        await self.rows.event("a", job=job, payload=json.dumps({"text": HOSTILE}))
        await self.rows.event("b")
        await self.rows.until_readable(await self.rows.event("c", job=job))
        first = await self.json("/api/v1/events?limit=2")
        self.assertEqual([each["kind"] for each in first["events"]], ["a", "b"])
        self.assertEqual(first["events"][0]["payload"], {"text": HOSTILE})
        self.assertEqual(first["events"][1]["id"], first["cursor"])
        second = await self.json(f"/api/v1/events?since={first['cursor']}")
        self.assertEqual([each["kind"] for each in second["events"]], ["c"])
        third = await self.json(f"/api/v1/events?since={second['cursor']}")
        self.assertEqual(third, {"events": [], "cursor": second["cursor"]})
        of_job = await self.json(f"/api/v1/events?job={job}")
        self.assertEqual([each["kind"] for each in of_job["events"]], ["a", "c"])

    async def test_cursors_of_another_kind_are_refused(self) -> None:
        for since in ("1", "1-", "x", "9" * 25 + "-1", "1-1%0A", f"{2**62}-1"):
            for accept in ("application/json", "text/event-stream"):
                response = await self.get(f"/api/v1/events?since={since}", Accept=accept)
                await self.assert_problem(response, 400, "bad_event_id")
        response = await self.get("/api/v1/events", Last_Event_ID="null")
        await self.assert_problem(response, 400, "bad_event_id")


class LiveTests(EventsCase):
    async def test_a_stream_tells_what_happens(self) -> None:
        raw = await self.stream()
        self.assertIn(b"Content-Type: text/event-stream\r\n", raw.data)
        self.assertNotIn(b"Content-Encoding", raw.data)
        place = await self.rows.event("job.ready", payload=json.dumps({"text": HOSTILE}))
        await raw.until(f"id: {place}\nevent: job.ready\ndata: {{".encode())
        [document] = await self.take(raw, 1)
        self.assertEqual(document["id"], place)
        self.assertEqual(document["payload"], {"text": HOSTILE})

    async def test_the_clients_own_reader_understands_it(self) -> None:
        raw = await self.stream(Connection="close")
        await self.rows.event("job.ready", payload=json.dumps({"text": HOSTILE}))
        await self.take(raw, 1)
        chunks = raw.data.partition(b"\r\n\r\n")[2]
        body = b""
        while chunks:
            length, _, chunks = chunks.partition(b"\r\n")
            body, chunks = body + chunks[: int(length, 16)], chunks[int(length, 16) + 2 :]
        [event] = EventStreamParser().feed(body)
        self.assertEqual(json.loads(event.data)["payload"], {"text": HOSTILE})

    async def test_a_stream_goes_on_where_the_client_was(self) -> None:
        first = await self.rows.event("a")
        second = await self.rows.event("b")
        await self.rows.until_readable(await self.rows.event("c"))
        raw = await self.stream(f"?since={first}")
        documents = await self.take(raw, 2)
        self.assertEqual([each["kind"] for each in documents], ["b", "c"])
        raw = await self.stream(f"?since={first}", Last_Event_ID=second)
        await self.rows.event("d")
        documents = await self.take(raw, 2)
        self.assertEqual([each["kind"] for each in documents], ["c", "d"])

    async def test_commits_out_of_order_are_all_told_once(self) -> None:
        raw = await self.stream("?since=0-0")
        begun: Deferred[None] = Deferred()
        may_commit: Deferred[None] = Deferred()

        async def slow(cursor: Cursor) -> None:
            await cursor.run("INSERT INTO event (kind) VALUES ('slow')")
            begun.callback(None)
            await may_commit

        committed = Deferred.fromCoroutine(self.database.transaction(slow))
        await begun
        await self.rows.event("quick")
        late = await self.stream("?since=0-0")
        may_commit.callback(None)
        await committed
        for each in (raw, late):
            documents = await self.take(each, 2)
            self.assertEqual([event["kind"] for event in documents], ["slow", "quick"])

    async def test_a_run_and_a_job_can_be_followed(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job(run)
        of_run, of_job = await self.stream(f"?run={run}"), await self.stream(f"?job={job}")
        await self.rows.event("noise")
        await self.rows.event("job.ready", job=job)
        await self.rows.event("run.done", run=run)
        kinds = [event["kind"] for event in await self.take(of_run, 2)]
        self.assertEqual(kinds, ["job.ready", "run.done"])
        kinds = [event["kind"] for event in await self.take(of_job, 1)]
        self.assertEqual(kinds, ["job.ready"])

    async def test_silence_is_broken_now_and_then(self) -> None:
        self.patch(reading, "PATIENCE", 0.01)
        raw = await self.stream()
        await raw.until(b": still here\n\n")

    async def test_a_reader_that_takes_nothing_is_dropped_and_others_are_not(self) -> None:
        self.patch(feed_module, "BACKLOG", 20)
        slow, quick = await self.stream(), await self.stream()
        transport: Any = slow.transport
        transport.pauseProducing()
        payload = json.dumps({"text": "x" * 200_000})
        told = 0
        while len(self.feed._followers) == 2:
            await self.rows.event("large", payload=payload)
            told += 1
            await self.take(quick, told)
            self.assertLess(told, 200)
        transport.resumeProducing()
        await slow.until(b"event: too-slow")
        await self.rows.event("small")
        self.assertEqual((await self.take(quick, told + 1))[-1]["kind"], "small")

    async def test_who_leaves_is_forgotten(self) -> None:
        raw = await self.stream()
        self.assertEqual(len(self.feed._followers), 1)
        transport: Any = raw.transport
        transport.abortConnection()
        while self.feed._followers:
            await self.get("/healthz")

    async def test_there_is_a_bound_on_streams(self) -> None:
        self.patch(feed_module, "FOLLOWERS", 1)
        await self.stream()
        response = await self.get("/api/v1/events", Accept="text/event-stream")
        await self.assert_problem(response, 503, "not_now")
        self.assertEqual(response.headers.getRawHeaders("retry-after"), ["2"])

    async def test_the_farm_going_down_ends_it(self) -> None:
        raw = await self.stream(Connection="close")
        await self.feed.stop()
        self.assertTrue((await raw.closed).endswith(b"0\r\n\r\n"))

    async def test_head_does_not_stream(self) -> None:
        response = await self.ask(
            "HEAD", "/api/v1/events", headers={"Accept": "text/event-stream"}
        )
        self.assertEqual(response.code, 200)
        self.assertEqual(len(self.feed._followers), 0)
