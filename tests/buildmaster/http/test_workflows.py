"""Workflows over HTTP and PB: started, signalled, asked, cancelled, seen; and webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint

from buildmaster.admission import Admission
from buildmaster.bearers import Bearers
from buildmaster.client import connect
from buildmaster.client.http import Client, FarmRefused
from buildmaster.client.status import HttpStatus
from buildmaster.client.workflows import Workflows
from buildmaster.clients import Clients
from buildmaster.orchestration.webhooks import BadSecret, Webhooks, secrets
from buildmaster.status import pb_server
from buildmaster.status import questions as q
from buildmaster.status.permission import Permission
from buildmaster.status.problems import StatusProblem
from buildmaster.workflow import Delivery, webhook, workflow
from buildmaster.workflow.testing import crash_everywhere, replay
from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.rows import HOSTILE
from tests.buildmaster.live_farm import live_farm
from tests.buildmaster.orchestration.stage import Master
from tests.buildmaster.workflow import samples

SECRET = b"a secret of sixteen bytes or more"


@workflow(name="Hooked")
class Hooked(samples.Build):
    """A build that hears of its ends by a webhook."""

    @webhook("copr")
    @staticmethod
    def of_copr(message: Any) -> list[Delivery]:
        if message.get("spin"):
            while True:
                pass
        return [
            Delivery(
                f"build-{message['project']}",
                "build_ended",
                [message["chroot"], message["ok"]],
                id=message.get("id"),
            )
        ]


class WorkflowSiteCase(SiteCase):
    def more(self) -> dict[str, Any]:
        farm = live_farm(self, self.database)
        self.master = Master(
            self, self.database, farm, samples.Build, Hooked, samples.Asking
        )
        self.clients = Clients(self.database)
        hooks = Webhooks(self.master.control, self.master.threads, {"copr": SECRET})
        return {
            "control": self.master.control,
            "webhooks": hooks,
            "clients": self.clients,
        }

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        client = Client(reactor, self.url, self.tokens.farm_token)
        self.workflows = Workflows(client)

    async def token(self, *scopes: str, project: str | None = None) -> str:
        token = await Admission(self.database).add_client(
            "-".join(scopes), scopes, project, "test"
        )
        await self.clients.round()
        return token

    async def refused(self, work: Any) -> tuple[int, str]:
        with self.assertRaises(FarmRefused) as caught:
            await work
        return caught.exception.status, caught.exception.code

    async def count(self, kind: str) -> int:
        (count,) = await self.database.one(
            "SELECT count(*) FROM workflow_event WHERE type = %s", (kind,)
        )
        return int(count)


class WorkflowTests(WorkflowSiteCase):
    async def test_one_goes_from_its_start_to_its_end(self) -> None:
        name = "project/a build"
        started = await self.workflows.start("Build", ["p"], name=name)
        self.assertEqual((started["name"], started["joined"]), (name, False))
        again = await self.workflows.start("Build", ["p"], name=name)
        self.assertEqual((again["id"], again["joined"]), (started["id"], True))
        await self.master.go_on()
        document = await self.workflows.document(name)
        [wait] = document["waits"]
        self.assertEqual((wait["what"], wait["name"]), ("condition", "source built"))
        self.assertEqual(wait["since"][:10], wait["until"][:10] or "")
        self.assertLess(wait["since"], wait["until"])
        for number in range(2):
            sent = await self.workflows.signal(
                name, "build_ended", ["source", True], id="message 1"
            )
            self.assertEqual(sent["repeated"], bool(number))
        await self.workflows.signal(name, "build_ended", {"chroot": "binary", "ok": True})
        await self.master.go_on()
        self.assertEqual(
            await self.workflows.query(name, "so_far"), {"source": True, "binary": True}
        )
        document = await self.workflows.document(str(started["id"]))
        self.assertEqual((document["result"], document["value"]), ("success", "built"))
        late = await self.workflows.signal(name, "build_ended", ["x", True])
        self.assertEqual(late["state"], "done")
        await self.master.go_on()
        (is_late,) = await self.database.one(
            "SELECT late FROM workflow_event ORDER BY id DESC LIMIT 1"
        )
        self.assertTrue(is_late)

    async def test_its_history_is_a_timeline_and_can_be_replayed(self) -> None:
        await self.workflows.start("Build", ["p"], name="b")
        await self.workflows.signal("b", "build_ended", ["source", True])
        await self.master.go_on()
        page = await self.json("/api/v1/workflows/b/history?limit=2")
        self.assertEqual(page["next"], 1)
        whole = await self.json("/api/v1/workflows/b/history")
        self.assertEqual(whole["next"], None)
        told = [(each["n"], each["what"], each["kind"]) for each in whole["history"]]
        self.assertEqual(
            told[:4],
            [
                (0, "started", None),
                (0, "asked", "local"),
                (1, "signal", None),
                (2, "completed", None),
            ],
        )
        self.assertEqual(whole["history"][2]["by"], "farm token")
        self.assertEqual(
            told[: len(page["history"])],
            [(each["n"], each["what"], each["kind"]) for each in page["history"]],
        )
        text = await self.workflows.export("b")
        replay(text, samples.Build)
        self.assertEqual(
            crash_everywhere(text, samples.Build), len(json.loads(text)["events"]) + 1
        )

    async def test_policies_for_a_name_that_is_taken(self) -> None:
        await self.workflows.start("Build", ["p"], name="b")
        start = self.workflows.start
        self.assertEqual(
            await self.refused(start("Build", ["p"], name="b", on_duplicate="reject")),
            (409, "name_taken"),
        )
        policy = "replace-after-close"
        joined = await start("Build", ["p"], name="b", on_duplicate=policy)
        self.assertTrue(joined["joined"])
        await self.workflows.cancel("b", "enough")
        await self.workflows.cancel("b")
        await self.master.go_on()
        self.assertEqual((await self.workflows.document("b"))["result"], "cancelled")
        self.assertTrue((await start("Build", ["p"], name="b"))["joined"])
        other = await start("Build", ["p"], name="b", on_duplicate=policy)
        self.assertFalse(other["joined"])
        listed = await self.json("/api/v1/workflows?name=b&fields=id,state,result")
        self.assertEqual([each["state"] for each in listed["workflows"]], ["open", "done"])
        self.assertEqual(
            (await self.json("/api/v1/workflows?state=done&workflow_class=Build"))[
                "workflows"
            ][0]["name"],
            "b",
        )

    async def test_what_makes_no_sense_is_refused(self) -> None:
        await self.workflows.start("Asking", [], name="a")
        await self.master.go_on()
        w = self.workflows
        for work, told in (
            (w.start("Nothing", []), (422, "no_such_class")),
            (w.start("Build", []), (422, "bad_arguments")),
            (w.start("Build", [1]), (422, "bad_arguments")),
            (w.start("Build", ["\0"]), (422, "bad_arguments")),
            (w.start("Build", ["p"], name="a\nb"), (400, "bad_body")),
            (w.start("Build", ["p"], name="17"), (422, "bad_name")),
            (w.start("Build", ["p"], name="a\x85b"), (422, "bad_name")),
            (w.start("Build", ["x" * 300_000]), (422, "bad_arguments")),
            (w.signal("nobody", "ask", ["x"]), (404, "not_found")),
            (w.signal("a", "ask", [1]), (422, "bad_arguments")),
            (w.query("a", "nothing"), (404, "no_such_query")),
            (w.query("a", "peek", ["x"]), (422, "bad_arguments")),
            (w.query("a", "meddle"), (409, "query_failed")),
            (w.query("a", "command"), (409, "query_failed")),
            (w.document("nobody"), (404, "not_found")),
            (w.document("\N{SUPERSCRIPT TWO}"), (404, "not_found")),
            (w.signal("\N{SUPERSCRIPT TWO}", "ask", ["x"]), (404, "not_found")),
            (w.document("9" * 30), (404, "not_found")),
        ):
            self.assertEqual(await self.refused(work), told)
        # Unknown signals are kept, hostile names harm nothing.
        await w.signal("a", HOSTILE.replace("\r\n", " ")[:100].replace("\u2028", ""), [])
        await self.master.go_on()
        self.assertEqual((await w.document("a"))["state"], "open")

    async def test_who_may(self) -> None:
        await self.workflows.start("Asking", [], name="a")
        await self.master.go_on()
        reader = Workflows(Client(reactor, self.url, await self.token("read")))
        nobody = Workflows(Client(reactor, self.url))
        team = await self.token("submit", "cancel", project="https://example.com/team")
        outsider = Workflows(Client(reactor, self.url, team))
        for who, status in ((reader, 403), (nobody, 401), (outsider, 403)):
            for work in (
                who.start("Build", ["p"]),
                who.signal("a", "ask", ["x"]),
                who.cancel("a"),
            ):
                self.assertEqual((await self.refused(work))[0], status)
        self.assertEqual(await reader.query("a", "peek"), 0)
        self.assertEqual(await self.count("signal"), 0)

    async def test_signals_over_pb(self) -> None:
        await self.workflows.start("Build", ["p"], name="b")
        listening = await pb_server.listen(
            reactor,
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
            self.master.control,  # type: ignore[arg-type]
            Bearers(self.tokens, self.clients).find,
            lambda grant: Permission(self.database, grant, open_reading=True),
            self.master.control.signal,
        )
        self.addCleanup(listening.stopListening)
        address: Any = listening.getHost()
        url = f"pb://127.0.0.1:{address.port}"
        remote = await connect(reactor, url, self.tokens.farm_token)
        self.addCleanup(remote.close)
        for number in range(2):
            sent = await remote.signal("b", "build_ended", ["source", True], "m1")
            self.assertEqual(sent["repeated"], bool(number))
        for given in (("nobody", "x", []), ("b", "build_ended", ["x"])):
            with self.assertRaises(StatusProblem):
                await remote.signal(*given)
        stranger = await connect(reactor, url)
        self.addCleanup(stranger.close)
        with self.assertRaises(StatusProblem) as caught:
            await stranger.signal("b", "build_ended", ["binary", True])
        self.assertEqual(caught.exception.status, 401)
        self.assertEqual(await self.count("signal"), 1)

    async def test_what_happens_to_one_can_be_followed(self) -> None:
        await self.workflows.start("Build", ["p"], name="b")
        await self.workflows.start("Build", ["p"], name="other")
        http = HttpStatus(Client(reactor, self.url, self.tokens.farm_token))
        following = http.follow("workflow", q.OneWorkflow(workflow="b"))
        self.addCleanup(following.close)
        snapshot = await following.__anext__()
        self.assertIn(b'"name" : "b"', snapshot.snapshot or b"")
        await self.master.go_on()
        kinds: list[str] = []
        while "workflow.waiting" not in kinds:
            news = await following.__anext__()
            for event in news.events:
                kinds.append(event.kind)
                self.assertEqual(json.loads(event.json)["payload"]["name"], "b")

    async def test_who_follows_a_page_of_nothing_hears_of_each_step(self) -> None:
        """Whoever shows one knows when to ask again, however long its history is."""
        await self.workflows.start("Build", ["p"], name="b")
        http = HttpStatus(Client(reactor, self.url, self.tokens.farm_token))
        beyond = q.WorkflowTimeline(workflow="b", after=2**31 - 1, limit=1)
        following = http.follow("workflow_history", beyond)
        self.addCleanup(following.close)

        async def told() -> dict[str, Any]:
            while True:
                news = await following.__anext__()
                if news.snapshot is not None:
                    return dict(json.loads(news.snapshot))

        first = await told()
        self.assertEqual(
            (first["history"], first["next"], first["state"], first["events"]),
            ([], None, "open", 0),
        )
        await self.master.go_on()
        second = await told()
        self.assertGreater(second["events"], 0)
        await self.database.run(
            """UPDATE workflow SET state = 'parked', reason = 'x', next_try = farm_now(),
                   changed_at = farm_now() WHERE name = 'b'"""
        )
        third = await told()
        self.assertEqual((third["state"], third["events"]), ("parked", second["events"]))
        self.assertGreater(third["changed_at"], second["changed_at"])


class WebhookTests(WorkflowSiteCase):
    async def send(self, body: Any, secret: bytes = SECRET, **headers: str) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        signature = hmac.new(secret, data, hashlib.sha256).hexdigest()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask(
            "POST",
            "/api/v1/hooks/copr",
            data=data,
            headers={
                "Content-Type": "application/json",
                "X-Hub-Signature-256": f"sha256={signature}",
                **names,
            },
        )

    async def test_a_signed_message_is_a_signal_once(self) -> None:
        await self.workflows.start("Hooked", ["p"], name="build-p")
        message = {"project": "p", "chroot": "source", "ok": True}
        for _ in range(2):
            response = await self.send(message, X_GitHub_Delivery="one")
            self.assertEqual(response.code, 202, await response.text())
            self.assertEqual(await response.json(), {"sent": 1, "unknown": []})
        self.assertEqual(await self.count("signal"), 1)
        # Without an id the signal's own key makes it one.
        for _ in range(2):
            await self.send({**message, "chroot": "binary"})
        self.assertEqual(await self.count("signal"), 2)
        response = await self.send({**message, "project": "other"})
        self.assertEqual(await response.json(), {"sent": 0, "unknown": ["build-other"]})

    async def test_what_is_not_signed_by_the_secret_is_refused(self) -> None:
        message = {"project": "p", "chroot": "source", "ok": True}
        await self.assert_problem(await self.send(message, b"wrong"), 401, "bad_signature")
        for signature in ("", "sha256=", "sha1=abc", "\xe9"):
            response = await self.send(message, X_Hub_Signature_256=signature)
            await self.assert_problem(response, 401, "bad_signature")
        unknown = await self.ask(
            "POST",
            "/api/v1/hooks/nobody",
            data=b"{}",
            headers={"Content-Type": "application/json"},
        )
        await self.assert_problem(unknown, 401, "bad_signature")

    async def test_hostile_messages_harm_nobody(self) -> None:
        bodies: list[Any] = [[], {"nothing": 1}, {"spin": True}]
        for body in bodies:
            response = await self.send(body)
            await self.assert_problem(response, 422, "bad_message")
            self.flushLoggedErrors()
        await self.assert_problem(await self.send(b"{"), 400, "bad_json")
        await self.assert_problem(await self.send(b"[" * 100_000), 400, "bad_json")

    def test_secrets_are_files_of_some_length(self) -> None:
        folder = self.mktemp_folder()
        (Path(folder) / "good").write_bytes(SECRET + b"\n")
        (Path(folder) / "short").write_bytes(b"short")
        self.assertEqual(secrets(Path(folder), {"a": "good"}), {"a": SECRET})
        for file in ("short", "none"):
            self.assertRaises(BadSecret, secrets, Path(folder), {"a": file})
