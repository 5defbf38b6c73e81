from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from buildmaster.client import http
from buildmaster.client.event_stream import ServerSentEvent
from buildmaster.client.http import Client, ClientError, FarmAway, FarmRefused
from buildmaster.requests import GitRequest, Problem, SubmissionRequest
from tests.buildmaster.client.scripted_farm import (
    ScriptedFarm,
    document,
    problem,
    streamed,
)

JOB = {"id": 7, "kind": "build", "name": "pipeline", "state": "done", "attempt": 2}
SUBMITTED = {"run": 3, "source_digest": "a" * 40, "jobs": [], "skipped": [], "notes": []}


class ClientTests(TestCase):
    """Against a real server."""

    def setUp(self) -> None:
        """A farm, and a client with a token."""
        self.farm = ScriptedFarm(self)
        self.client = Client(reactor, self.farm.url + "/", token="secret")

    async def refusal(self, call: Any) -> FarmRefused:
        """What ``call`` is refused with."""
        try:
            await call
        except FarmRefused as refused:
            return refused
        raise self.failureException("it was not refused")

    async def test_documents_come_as_types(self) -> None:
        """What a later farm adds is passed over."""
        self.farm.answers["GET /api/v1/jobs/7"] = document({**JOB, "new": {"x": 1}})
        job = await self.client.job(7)
        self.assertEqual((job.id, job.state, job.attempt, job.result), (7, "done", 2, None))

    async def test_the_token_goes_with_every_request(self) -> None:
        self.farm.answers["GET /api/v1/jobs/7"] = document(JOB)
        await self.client.job(7)
        self.assertEqual(self.farm.headers[0]["authorization"], "Bearer secret")

    async def test_the_token_does_not_follow_a_redirect(self) -> None:
        """The answer could point anywhere."""

        def redirect(request: Any) -> bytes:
            request.redirect(self.farm.url.encode() + b"/elsewhere")
            return b""

        self.farm.answers["GET /api/v1/jobs/7"] = redirect
        refused = await self.refusal(self.client.job(7))
        self.assertEqual(refused.status, 302)
        self.assertEqual(len(self.farm.heard), 1)

    async def test_a_list_is_passed_on_with_all_its_fields(self) -> None:
        self.farm.answers["GET /api/v1/jobs?state=ready&limit=2"] = document(
            {"jobs": [{**JOB, "new": 1}], "next": None, "cursor": "1-1"}
        )
        listed = await self.client.listing("jobs", state="ready", limit=2, run=None)
        self.assertEqual([json.loads(each) for each in listed], [{**JOB, "new": 1}])

    async def test_a_refusal_is_the_farms_own_sentence(self) -> None:
        self.farm.answers["POST /api/v1/runs"] = problem(
            422,
            "The file has an error.",
            code="bad_configuration",
            problems=[{"where": "jobs.x", "line": 3, "message": "unknown key"}],
        )
        request = SubmissionRequest(source=GitRequest(repository="/r"))
        refused = await self.refusal(self.client.submit(request))
        self.assertEqual(str(refused), "The file has an error.")
        self.assertEqual((refused.status, refused.code), (422, "bad_configuration"))
        self.assertEqual(
            refused.problems, (Problem(where="jobs.x", line=3, message="unknown key"),)
        )

    async def test_a_refused_token_names_where_it_is_set(self) -> None:
        self.farm.answers["POST /api/v1/jobs/7/cancel"] = problem(401, "No.")
        refused = await self.refusal(self.client.cancel("job", 7, "why"))
        self.assertIn("HEADRACE_TOKEN", str(refused))

    async def test_something_that_is_no_farm_is_a_sentence(self) -> None:
        for body in (b"<html>hello", b"[]", b'{"id": "x"}', b"[" * 100_000):
            self.farm.answers["GET /api/v1/jobs/7"] = partial(_sent, body)
            with self.assertRaisesRegex(ClientError, "is it a Headrace farm"):
                await self.client.job(7)

    async def test_an_error_without_a_reason_is_a_sentence(self) -> None:
        def broken(request: Any) -> bytes:
            request.setResponseCode(500)
            return b"<html>\x1b[2J"

        self.farm.answers["GET /api/v1/jobs/7"] = broken
        refused = await self.refusal(self.client.job(7))
        self.assertIn("500 Internal Server Error", str(refused))
        self.assertNotIn("\x1b", str(refused))

    async def test_nobody_there_names_the_address_and_the_variable(self) -> None:
        client = Client(reactor, "http://127.0.0.1:1")
        with self.assertRaisesRegex(FarmAway, r"127\.0\.0\.1:1 \(HEADRACE_URL\)"):
            await client.job(1)

    async def test_a_server_that_never_answers_is_given_up(self) -> None:
        self.patch(http, "ANSWER_WITHIN", 0.05)
        self.farm.answers["GET /healthz"] = lambda request: None
        client = self.client
        with self.assertRaisesRegex(FarmAway, "did not answer"):
            await client._send("GET", "/healthz", within=0.05)

    async def test_an_answer_that_never_ends_is_given_up(self) -> None:
        self.patch(http, "ANSWER_WITHIN", 0.05)
        self.farm.answers["GET /api/v1/jobs/7"] = streamed(b'{"id":')
        with self.assertRaisesRegex(FarmAway, "did not answer"):
            await self.client.job(7)

    async def test_a_document_without_bounds_is_given_up(self) -> None:
        self.patch(http, "DOCUMENT_LIMIT", 1000)
        self.farm.answers["GET /api/v1/jobs/7"] = lambda request: b"x" * 1001
        with self.assertRaisesRegex(ClientError, "more than 1000 bytes"):
            await self.client.job(7)

    async def test_a_connection_that_breaks_is_a_farm_that_is_away(self) -> None:
        listen: Any = reactor.listenTCP
        port = listen(0, _Breaking(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = Client(reactor, f"http://127.0.0.1:{port.getHost().port}")
        with self.assertRaises(FarmAway):
            await client.job(7)

    async def test_submitting_sends_the_request_and_reads_what_came_of_it(self) -> None:
        self.farm.answers["POST /api/v1/runs"] = document(SUBMITTED, 201)
        request = SubmissionRequest(source=GitRequest(repository="/r"), force=True)
        submitted = await self.client.submit(request)
        self.assertEqual(submitted.run, 3)
        self.assertEqual(self.farm.headers[0]["content-type"], "application/json")
        self.assertEqual(json.loads(self.farm.heard[0][1])["force"], True)

    async def test_retry_and_cancel_say_what_is_meant(self) -> None:
        self.farm.answers["POST /api/v1/jobs/7/retry"] = document(
            {"id": 7, "kind": "build", "attempt": 3, "state": "ready", "result": None}, 202
        )
        self.farm.answers["POST /api/v1/runs/3/cancel"] = document({}, 202)
        retried = await self.client.retry(7, "test:1", from_start=False)
        await self.client.cancel("run", 3, "enough")
        self.assertEqual(retried.attempt, 3)
        self.assertEqual(
            [json.loads(body) for _, body in self.farm.heard],
            [{"only": "test:1", "from_start": False}, {"why": "enough"}],
        )

    async def test_artifacts_are_sent_as_they_are(self) -> None:
        content = bytes(range(256)) * 1000
        self.farm.answers["PUT /api/v1/artifacts/ab"] = lambda request: b""
        path = Path(self.mktemp())
        path.write_bytes(content)
        with open(path, "rb") as file:
            await self.client.store_artifact("ab", file)
        self.assertEqual(self.farm.heard[0][1], content)
        self.assertEqual(self.farm.headers[0]["content-length"], str(len(content)))

    async def test_whether_the_farm_has_an_artifact_is_asked_without_its_bytes(
        self,
    ) -> None:
        self.farm.answers["HEAD /api/v1/artifacts/ab"] = lambda request: b""
        self.assertTrue(await self.client.has_artifact("ab"))
        self.assertFalse(await self.client.has_artifact("cd"))
        self.farm.answers["HEAD /api/v1/artifacts/ab"] = problem(401, "")
        refused = await self.refusal(self.client.has_artifact("ab"))
        self.assertEqual(refused.status, 401)

    async def test_health_is_what_the_farm_says(self) -> None:
        self.farm.answers["GET /healthz"] = document({"status": "ok"})
        self.assertTrue(await self.client.is_healthy())
        self.farm.answers["GET /healthz"] = problem(503, "no database")
        self.assertFalse(await self.client.is_healthy())


class StreamTests(TestCase):
    """Logs and events, as they come."""

    def setUp(self) -> None:
        """A farm."""
        self.farm = ScriptedFarm(self)
        self.client = Client(reactor, self.farm.url)

    async def test_a_log_arrives_while_it_is_written(self) -> None:
        self.farm.answers["GET /api/v1/jobs/7/log?attempt=2&follow=1"] = streamed(b"one\n")
        parts: list[bytes] = []
        arrived: Deferred[None] = Deferred()

        def received(data: bytes) -> None:
            parts.append(data)
            if not arrived.called:
                arrived.callback(None)

        following = Deferred.fromCoroutine(
            self.client.log(7, received, attempt=2, follow=True)
        )
        await arrived
        self.assertEqual(parts, [b"one\n"])
        self.assertNoResult(following)
        self.farm.open[0].write(b"two\n")
        self.farm.open[0].finish()
        await following
        self.assertEqual(b"".join(parts), b"one\ntwo\n")

    async def test_what_was_shown_before_a_break_is_skipped(self) -> None:
        self.farm.answers["GET /api/v1/jobs/7/log"] = lambda request: b"0123456789"
        for skip in (0, 4, 10, 20):
            parts: list[bytes] = []
            await self.client.log(7, parts.append, skip=skip)
            self.assertEqual(b"".join(parts), b"0123456789"[skip:])
            self.assertNotIn(b"", parts)

    async def test_a_part_of_a_log_is_asked_for_by_name(self) -> None:
        """However odd the name is."""
        target = "GET /api/v1/jobs/7/log?name=a%26b%2F%C3%BC&index=1"
        self.farm.answers[target] = lambda request: b"part"
        parts: list[bytes] = []
        await self.client.log(7, parts.append, only=("a&b/\u00fc", 1))
        self.assertEqual(parts, [b"part"])

    async def test_a_log_that_is_not_there_is_refused(self) -> None:
        with self.assertRaisesRegex(FarmRefused, "there is no"):
            await self.client.log(7, lambda data: None)

    async def test_events_are_heard_until_the_stream_breaks(self) -> None:
        self.farm.answers["GET /api/v1/events?since=1-1&run=3"] = streamed(
            b"id: 1-2\nevent: job.done\ndata: {}\n\n", b"id: 1-3\nda"
        )
        events: list[ServerSentEvent] = []

        def heard(event: ServerSentEvent) -> None:
            events.append(event)
            self.farm.open[0].transport.abortConnection()

        with self.assertRaises(FarmAway):
            await self.client.events(heard, since="1-1", run=3)
        self.assertEqual(events, [ServerSentEvent("1-2", "job.done", "{}")])

    async def test_a_silent_stream_of_events_is_given_up(self) -> None:
        self.patch(http, "SILENCE_LIMIT", 0.05)
        self.farm.answers["GET /api/v1/events"] = streamed(b": hello\n\n")
        with self.assertRaisesRegex(FarmAway, "nothing came"):
            await self.client.events(lambda event: None)

    async def test_cancelling_closes_the_connection(self) -> None:
        begun: Deferred[None] = Deferred()
        closed: Deferred[None] = Deferred()

        def answer(request: Any) -> None:
            request.notifyFinish().addErrback(lambda failure: closed.callback(None))
            request.write(b"one\n")

        self.farm.answers["GET /api/v1/jobs/7/log"] = answer
        following = Deferred.fromCoroutine(
            self.client.log(7, lambda data: begun.callback(None), follow=True)
        )
        await begun
        following.cancel()
        self.failureResultOf(following, CancelledError)
        await closed

    async def test_cancelling_before_the_answer_is_no_error_of_the_farm(self) -> None:
        asked: Deferred[None] = Deferred()
        self.farm.answers["GET /api/v1/jobs/7"] = lambda request: asked.callback(None)
        asking = Deferred.fromCoroutine(self.client.job(7))
        await asked
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking

    async def test_what_the_receiver_raises_ends_the_stream(self) -> None:
        """A closed standard output, for one."""
        self.farm.answers["GET /api/v1/jobs/7/log"] = streamed(b"one\n")

        def received(data: bytes) -> None:
            raise BrokenPipeError("nobody reads")

        with self.assertRaises(BrokenPipeError):
            await self.client.log(7, received, follow=True)


class AddressTests(SynchronousTestCase):
    def test_what_is_no_address_is_refused_at_once(self) -> None:
        for url in (
            "",
            "farm",
            "localhost:8010",
            "ftp://host/",
            "http://",
            "http://host:x",
            "http://host:99999",
            "http://host/?query",
            "http://[::1",
        ):
            with self.assertRaisesRegex(ClientError, "HEADRACE_URL", msg=url):
                Client(reactor, url)

    def test_addresses_may_end_in_a_slash(self) -> None:
        self.assertEqual(Client(reactor, "http://host:80/").url, "http://host:80")


def _sent(body: bytes, request: Any) -> bytes:
    return body


class _Breaking(Factory):
    """Reads the request and hangs up in the middle of the answer."""

    class protocol(Protocol):  # noqa: N801
        """One connection."""

        def dataReceived(self, data: bytes) -> None:
            """Answer half."""
            assert self.transport is not None
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            self.transport.loseConnection()
