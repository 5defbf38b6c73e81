"""The same questions in all ways: the same answers, and the same problems."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint

from buildmaster.addresses import endpoint
from buildmaster.admission import Admission
from buildmaster.bearers import Bearers
from buildmaster.cli import status as command
from buildmaster.cli.console import Console
from buildmaster.cli.context import Context, Interrupts
from buildmaster.cli.problems import CommandFailed
from buildmaster.client import connect
from buildmaster.client.http import Client, ClientError
from buildmaster.client.pb import RemoteStatus
from buildmaster.client.status import HttpStatus
from buildmaster.clients import Clients
from buildmaster.forecasting import Forecaster
from buildmaster.kinds.details import Details
from buildmaster.kinds.registry import Kinds
from buildmaster.status import pb_server
from buildmaster.status import questions as q
from buildmaster.status.asking import given
from buildmaster.status.methods import METHODS
from buildmaster.status.permission import Permission
from buildmaster.status.problems import StatusProblem
from buildmaster.status.reading import Status
from protocol.tls import listener_options, make_certificate
from protocol.trust import SYSTEM, Trust
from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.status.test_reading import full_farm

TEAM = "https://example.com/team"


class _Context(Context):
    """One whose farm is that of a test."""

    url = ""
    token: str | None = None

    def client(self) -> Client:
        return Client(self.reactor, self.url, self.token)


class WaysCase(SiteCase):
    open_reading = True

    def more(self) -> dict[str, Any]:
        self.status = Status(
            self.database,
            Details(self.database, Kinds()),
            Forecaster(self.database, reactor),
            self.feed,
        )
        self.clients = Clients(self.database)
        self.admission = Admission(self.database)
        return {
            "status": self.status,
            "clients": self.clients,
            "open_reading": self.open_reading,
        }

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        listening = await pb_server.listen(
            reactor,
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
            self.status,
            Bearers(self.tokens, self.clients).find,
            lambda grant: Permission(self.database, grant, open_reading=self.open_reading),
        )
        self.addCleanup(listening.stopListening)
        self.pb_port: Any = listening
        address: Any = listening.getHost()
        self.pb_url = f"pb://127.0.0.1:{address.port}"

    async def over_pb(self, token: str | None = None) -> RemoteStatus:
        remote = await connect(reactor, self.pb_url, token)
        self.addCleanup(remote.close)
        return remote

    def over_http(self, token: str | None = None) -> HttpStatus:
        return HttpStatus(Client(reactor, self.url, token))

    async def by_command(
        self, name: str, asked: q.Question, token: str | None = None
    ) -> Any:
        parser = argparse.ArgumentParser()
        command.add(parser.add_subparsers())
        words = ["status", name, "--json"]
        for field in METHODS[name].fields:
            value = given(asked).get(field.name)
            if value is None:
                continue
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            option = f"--{field.name.replace('_', '-')}={text}"
            words.append(text if field.required else option)
        chosen = parser.parse_args(words)
        output = io.BytesIO()
        context = _Context(
            reactor,
            Console(output, False, False),
            {},
            Interrupts(reactor, lambda: None),
        )
        context.url, context.token = self.url, token
        self.assertEqual(await chosen.act(chosen, context), 0)
        return json.loads(output.getvalue())

    async def problem(self, asking: Awaitable[Any]) -> tuple[int, str, str]:
        with self.assertRaises(StatusProblem) as caught:
            await asking
        error = caught.exception
        return error.status, error.code, error.detail


class SameAnswerTests(WaysCase):
    async def test_every_question_has_the_same_answer_in_all_ways(self) -> None:
        run, job = await full_farm(self.rows)
        token = self.tokens.farm_token
        remote, http = await self.over_pb(token), self.over_http(token)
        questions: list[tuple[str, q.Question]] = [
            ("run", q.OneRun(run=run)),
            ("job", q.OneJob(job=job)),
            ("explain", q.OneJob(job=job)),
            ("graph", q.OneRun(run=run)),
            ("build", q.OneBuild(job=job, tail=4)),
            ("grid", q.Grid(cells="pipeline_jobs", owner="ada")),
            ("timeline", q.Timeline(since="2026-01-01T00:00:00Z", worker="ant")),
            ("worker", q.OneWorker(worker="ant")),
            ("workflow", q.OneWorkflow(workflow="w")),
            ("workflow_history", q.WorkflowTimeline(workflow="w")),
            ("jobs", q.Jobs(state=("running", "ready"), limit=1, order="id")),
            ("jobs", q.Jobs(fields=("id", "state"), worker="ant")),
            ("runs", q.Runs(owner="ada", fields=("id", "jobs"))),
            ("events", q.Events(since="0-0", job=job)),
            *((m.name, m.question()) for m in METHODS.values() if not _needs(m.question)),
        ]
        self.assertEqual({name for name, _ in questions}, set(METHODS))
        for name, asked in questions:
            here = await getattr(self.status, name)(asked)
            far = await getattr(remote, name)(asked)
            web = await getattr(http, name)(asked)
            printed = await self.by_command(name, asked, token)
            if name in _TELL_THE_TIME:
                whole = [each.plain() for each in (here, far, web)] + [printed]
                for each in whole:
                    for told in (each, each.get("explanation", {})):
                        for key in _TELL_THE_TIME[name]:
                            told.pop(key, None)
                self.assertEqual(whole, [whole[0]] * 4)
                continue
            self.assertEqual((far.json, web.json), (here.json, here.json), name)
            self.assertEqual(printed, here.plain(), name)
            self.assertEqual((far.kind, web.kind), (here.kind, here.kind), name)

    async def test_problems_are_the_same_too(self) -> None:
        remote, http = await self.over_pb(), self.over_http()
        for name, asked in (
            ("job", q.OneJob(job=7)),
            ("worker", q.OneWorker(worker="nobody")),
            ("events", q.Events(since="999999999-1")),
        ):
            here = await self.problem(getattr(self.status, name)(asked))
            far = await self.problem(getattr(remote, name)(asked))
            web = await self.problem(getattr(http, name)(asked))
            self.assertEqual((far, web), (here, here))
            with self.assertRaises(CommandFailed):
                await self.by_command(name, asked)

    async def test_a_page_longer_than_a_string_of_pb_arrives_whole(self) -> None:
        for _ in range(40):
            await self.rows.job(name="x" * 20_000)
        here = await self.status.jobs(q.Jobs())
        self.assertGreater(len(here.json), 640 * 1024)
        remote = await self.over_pb()
        self.assertEqual((await remote.jobs(q.Jobs())).json, here.json)


class TlsTests(WaysCase):
    async def test_over_tls_only_a_farm_that_is_trusted_is_told_a_token(self) -> None:
        folder = Path(self.mktemp_folder())
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make_certificate(certificate, key, ["127.0.0.1", "localhost"])
        found: list[str] = []
        listening = await pb_server.listen(
            reactor,
            endpoint(reactor, "127.0.0.1:0", listener_options(certificate, key)),
            self.status,
            lambda token: found.append(token),
            lambda grant: Permission(self.database, grant, open_reading=True),
        )
        self.addCleanup(listening.stopListening)
        address: Any = listening.getHost()
        url = f"pbs://127.0.0.1:{address.port}"
        trust = Trust(ca_file=str(certificate))
        status = await connect(reactor, url, None, trust)
        self.addCleanup(status.close)
        here = await self.status.workers(q.Workers())
        self.assertEqual((await status.workers(q.Workers())).json, here.json)
        with self.assertRaises(ClientError):
            await connect(reactor, url, "a token", SYSTEM)
        self.assertEqual(found, [])


class PermissionTests(WaysCase):
    open_reading = False

    async def token(self, *scopes: str, project: str | None = None) -> str:
        token = await self.admission.add_client("ci", scopes, project, "test")
        await self.clients.round()
        return token

    async def test_who_has_no_token_reads_nothing_in_any_way(self) -> None:
        remote, http = await self.over_pb(), self.over_http()
        for name in ("jobs", "events", "overview"):
            asked = METHODS[name].question()
            far = await self.problem(getattr(remote, name)(asked))
            web = await self.problem(getattr(http, name)(asked))
            self.assertEqual((far[:2], web[:2]), ((401, "unauthorized"),) * 2)

    async def test_a_wrong_token_brings_less_than_none(self) -> None:
        far = await self.problem(self.over_pb("hra_wrong"))
        self.assertEqual(far[:2], (401, "unauthorized"))

    async def test_scopes_and_projects_hold_in_every_way(self) -> None:
        inside = await self.rows.job(
            repository=f"{TEAM}/a.git", source_digest="a" * 40, name="in"
        )
        outside = await self.rows.job(
            repository="https://example.com/b.git", source_digest="a" * 40, name="out"
        )
        token = await self.token("read", project=TEAM)
        remote, http = await self.over_pb(token), self.over_http(token)
        for status in (remote, http):
            self.assertEqual((await status.job(q.OneJob(job=inside))).read().id, inside)
            for asking in (
                status.job(q.OneJob(job=outside)),
                status.events(q.Events(job=outside)),
                status.workers(q.Workers()),
                status.overview(q.Nothing()),
            ):
                told = await self.problem(asking)
                self.assertEqual(told[:2], (403, "outside_project"))
            page = (await status.jobs(q.Jobs())).read()
            self.assertEqual([job.id for job in page.jobs], [inside])
            told = await self.problem(status.tokens(q.Tokens()))
            self.assertEqual(told[:2], (403, "not_allowed"))


#: What differs in each answer, because it says when it is, or how long something took.
_TELL_THE_TIME = {
    "overview": ("at",),
    "explain": ("as_of", "end", "summary"),
    "build": ("as_of", "end", "summary"),
    "worker": ("busy_24h",),
    "timeline": ("since", "until"),
    "history": ("trend_since",),
}


def _needs(question: type[q.Question]) -> bool:
    return any(field.required for field in msgspec.structs.fields(question))
