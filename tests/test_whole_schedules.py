"""Schedules over HTTP and by command, on a whole farm: a master, a worker, a workflow."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.farm import Said, environment, headrace, repository
from tests.masters import MasterHome
from tests.postgres import fresh_dsn, query
from tests.worker.daemons import WorkerHome

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "workflow-build-handler"
PIPELINE = """\
pipeline: [unit]
jobs:
  unit: {series: noble, architectures: amd64, run: 'echo at its time'}
"""
JOBS = {"jobs": {"jobs": [{"performs": "tidy"}]}}
#: A time that does not come while the test runs.
FAR = "0 0 1 1 *"


class ScheduleCase(TestCase):
    timeout = 240
    moment: datetime

    async def setUp(self) -> None:  # type: ignore[override]
        self.dsn = fresh_dsn(self)
        self.home = MasterHome(self, self.dsn)
        example = self.home.folder / "example"
        ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(EXAMPLE, example, ignore=ignored)
        self.home.environment = {
            "PYTHONPATH": str(example),
            "COPR_URL": "http://127.0.0.1:9",
        }
        await self.home.start()

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return query(self.dsn, statement, *parameters)

    def past(self) -> str:
        """A time that has just gone by: it comes by itself in a year."""
        self.moment = (datetime.now(UTC) - timedelta(minutes=2)).replace(second=0)
        return f"{self.moment:%M %H %d %m} *"

    def come(self, name: str) -> None:
        """Let the next time of a schedule be the one that has gone by, once more."""
        self.sql("UPDATE firing SET at = at - interval '1 hour'")
        self.sql(
            "UPDATE schedule SET next_at = date_trunc('minute', %s) WHERE name = %s",
            self.moment,
            name,
        )

    async def command(self, *arguments: str, status: int = 0) -> Said:
        """What ``headrace`` says, with the farm's token."""
        token = str(self.home.folder / "token")
        env = environment(HEADRACE_URL=self.home.url, HEADRACE_TOKEN_FILE=token)
        said = await headrace(*arguments, env=env)
        self.assertEqual(said.status, status, said.all)
        return said

    async def add(self, name: str, starts: Any, cron: str = FAR, *options: str) -> Said:
        return await self.command(
            "schedule", "add", name, cron, json.dumps(starts), *options
        )

    async def listed(self, name: str) -> dict[str, Any]:
        documents = (await self.command("schedule", "list", "--json")).document
        [found] = [each for each in documents if each["name"] == name]
        return dict(found)

    async def post(
        self, path: str, body: Any, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the document of a POST; without ``token`` nobody asks."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"

        def ask() -> tuple[int, dict[str, Any]]:
            request = Request(f"{self.home.url}{path}", data, headers, method="POST")
            try:
                with urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except HTTPError as error:
                with error:
                    return error.code, json.load(error)

        return await deferToThread(ask)

    async def token(self, name: str, *options: str) -> str:
        said = await self.command("token", "add", name, *options, "--json")
        [document] = said.document
        return str(document["token"])

    def farm_token(self) -> str:
        return (self.home.folder / "token").read_text().strip()


class CommandTests(ScheduleCase):
    async def test_one_is_made_listed_paused_resumed_and_removed(self) -> None:
        said = await self.command("schedule", "list")
        self.assertIn("There are no schedules.", said.all)
        said = await self.add(
            *("tidy", JOBS, "30 2 * * mon-fri", "--zone", "Europe/Berlin"),
            *("--overlap", "queue", "--catch-up", "all", "--limit", "3"),
        )
        self.assertIn("Schedule tidy comes first at 20", said.out)
        found = await self.listed("tidy")
        self.assertEqual(
            {
                name: found[name]
                for name in ("cron", "zone", "overlap", "catch_up", "state")
            },
            {
                "cron": "30 2 * * mon-fri",
                "zone": "Europe/Berlin",
                "overlap": "queue",
                "catch_up": "all",
                "state": "active",
            },
        )
        self.assertEqual((found["catch_up_limit"], found["times"]), (3, []))
        self.assertEqual(found["starts"]["jobs"]["jobs"][0]["performs"], "tidy")
        table = (await self.command("schedule", "list")).out
        for word in ("NAME", "tidy", "30 2 * * mon-fri", "Europe/Berlin", "active"):
            self.assertIn(word, table)
        said = await self.command(
            "schedule", "add", "tidy", FAR, json.dumps(JOBS), status=1
        )
        self.assertIn("There is a schedule tidy already.", said.all)

        said = await self.command("schedule", "pause", "tidy")
        self.assertIn("lets its times pass", said.out)
        found = await self.listed("tidy")
        self.assertEqual((found["state"], found["next_at"]), ("paused", None))
        said = await self.command("schedule", "resume", "tidy")
        self.assertIn("comes next at 20", said.out)
        self.assertEqual((await self.listed("tidy"))["state"], "active")
        # The same is told by the status, in its words.
        status = (await self.command("status", "schedules", "--json")).document
        [told] = status["schedules"]
        self.assertEqual((told["name"], told["by"]), ("tidy", found["by"]))
        said = await self.command("schedule", "remove", "tidy")
        self.assertIn("no schedule tidy any more", said.out)
        for word in ("pause", "resume", "remove"):
            said = await self.command("schedule", word, "tidy", status=1)
            self.assertIn("There is no schedule tidy.", said.all)
        said = await self.command("schedule", "add", "x", FAR, "{no JSON", status=1)
        self.assertIn("WHAT is not JSON", said.all)

    async def test_it_starts_a_run_that_a_worker_runs_and_a_workflow(self) -> None:
        WorkerHome(self, self.home.port).start()
        await self.home.worker("ant", "connected")
        source = repository(self, PIPELINE)
        run = {"run": {"source": {"kind": "git", "repository": str(source)}}}
        handled = {"class": "BuildHandler", "arguments": ["p", "abc", ["f42"]]}
        cron = self.past()
        await self.add("nightly", run, cron)
        await self.add("report", {"workflow": handled}, cron)
        self.come("nightly")
        self.come("report")
        while not ((last := await self.listed("nightly"))["times"] and self._over(last)):
            await deferLater(reactor, 0.1)
        [time] = last["times"]
        self.assertEqual((time["state"], time["result"]), ("started", "success"))
        [job] = (await self.command("status", "run", str(time["run"]), "--json")).document[
            "jobs"
        ]
        self.assertEqual(job["requester"], "schedule nightly")
        self.assertIn("at its time", await self.home.logged(job["id"]))
        self.assertIn("started", (await self.command("schedule", "list")).out)

        while not (report := await self.listed("report"))["times"]:
            await deferLater(reactor, 0.1)
        [time] = report["times"]
        while time["state"] == "waiting":
            await deferLater(reactor, 0.1)
            [time] = (await self.listed("report"))["times"]
        self.assertRegex(time["workflow"], r"^report@\d{4}-\d\d-\d\dT\d\d:\d\d$")
        shown = await self.command("status", "workflow", time["workflow"], "--json")
        self.assertEqual(shown.document["requester"], "schedule report")
        # While it is under way the next time is passed over, with the reason.
        self.come("report")
        while len((report := await self.listed("report"))["times"]) < 2 or (
            report["times"][0]["state"] == "waiting"
        ):
            await deferLater(reactor, 0.1)
        self.assertEqual(report["times"][0]["state"], "skipped")
        self.assertIn("still under way", report["times"][0]["reason"])
        await self.command("workflow", "cancel", time["workflow"])
        # What it starts is what its maker asked for, again each time.
        self.come("nightly")
        while len((last := await self.listed("nightly"))["times"]) < 2 or (
            not self._over(last)
        ):
            await deferLater(reactor, 0.1)
        self.assertNotEqual(last["times"][0]["run"], None)
        [(attempts,)] = self.sql("SELECT sum(attempt) FROM job WHERE kind = 'build'")
        self.assertEqual(attempts, 2)

    def _over(self, schedule: dict[str, Any]) -> bool:
        return schedule["times"][0]["result"] is not None

    async def test_a_run_that_cannot_start_says_why(self) -> None:
        nowhere = {"kind": "git", "repository": str(self.home.folder / "nowhere")}
        await self.add("broken", {"run": {"source": nowhere}}, self.past())
        self.come("broken")
        while not (found := await self.listed("broken"))["times"] or (
            found["times"][0]["state"] == "waiting"
        ):
            await deferLater(reactor, 0.1)
        [time] = found["times"]
        self.assertEqual((time["state"], time["run"]), ("failed", None))
        self.assertIn("nowhere", time["reason"])


class HttpTests(ScheduleCase):
    async def test_who_may(self) -> None:
        body = {"name": "s", "cron": FAR, "starts": JOBS}
        tokens = {
            "nobody": None,
            "reader": await self.token("reader", "--scope", "read"),
            "canceller": await self.token("canceller", "--scope", "cancel"),
            "of-a-project": await self.token(
                "of-a-project", "--scope", "submit", "--project", "https://g.example/a"
            ),
        }
        submitter = await self.token("submitter", "--scope", "submit")
        codes = {"nobody": 401, "reader": 403, "canceller": 403, "of-a-project": 403}
        for who, token in tokens.items():
            status, told = await self.post("/api/v1/schedules", body, token)
            self.assertEqual((who, status), (who, codes[who]), told)
        self.assertEqual(self.sql("SELECT name FROM schedule"), [])
        status, told = await self.post("/api/v1/schedules", body, submitter)
        self.assertEqual((status, told["name"]), (201, "s"), told)
        for word in ("pause", "resume", "remove"):
            for who, token in tokens.items():
                status, told = await self.post(f"/api/v1/schedules/s/{word}", {}, token)
                self.assertEqual((who, word, status), (who, word, codes[who]), told)
        self.assertEqual(self.sql("SELECT paused FROM schedule"), [(False,)])
        # Before others goes only who may put others back.
        urgent = {"jobs": {"jobs": [{"performs": "tidy", "score": 900_000}]}}
        status, told = await self.post(
            "/api/v1/schedules", body | {"name": "u", "starts": urgent}, submitter
        )
        self.assertEqual((status, told["code"]), (403, "not_allowed"), told)
        status, told = await self.post("/api/v1/schedules/s/pause", {}, submitter)
        self.assertEqual((status, told["paused"]), (200, True))
        status, told = await self.post("/api/v1/schedules/s/remove", {}, submitter)
        self.assertEqual(status, 200, told)
        acts = self.sql("SELECT DISTINCT act FROM act WHERE act LIKE 'schedule.%%'")
        self.assertEqual(
            sorted(act for (act,) in acts),
            ["schedule.add", "schedule.pause", "schedule.remove", "schedule.resume"],
        )

    async def test_what_makes_no_sense_is_refused_and_harms_nobody(self) -> None:
        token = self.farm_token()
        good = {"name": "s", "cron": FAR, "starts": JOBS}
        many = ",".join(["1"] * 1_000_000)
        deep: Any = "x"
        for _ in range(200):
            deep = {"a": deep}
        changes: list[dict[str, Any]] = [
            {"cron": f"{many} * * * *"},
            {"cron": " ".join(["*"] * 1_000_000)},
            {"cron": "99999999999999999999 * * * *"},
            {"cron": "60 * * * *"},
            {"cron": "*/0 * * * *"},
            {"cron": "5-1 * * * *"},
            {"cron": "* * * *"},
            {"cron": "@reboot"},
            {"cron": "٣ * * * *"},
            {"cron": "0 0 30 2 *"},
            {"cron": ""},
            {"cron": "0 0 1 1 *\n"},
            {"zone": "Nowhere/Atlantis"},
            {"zone": "../../../etc/passwd"},
            {"zone": "/etc/passwd"},
            {"zone": "Europe"},
            {"zone": "Europe/Berlin\0"},
            {"zone": "E" * 100_000},
            {"name": "a\nb"},
            {"name": "a\n"},
            {"name": ""},
            {"name": "a" * 101},
            {"name": "../s"},
            {"name": "\u202es"},
            {"starts": {}},
            {"starts": {**JOBS, "workflow": {"class": "BuildHandler"}}},
            {"starts": {"workflow": {"class": "Nobody"}}},
            {"starts": {"workflow": {"class": "BuildHandler", "arguments": [1]}}},
            {"starts": {"shell": "rm -rf /"}},
            {"starts": deep},
            {"overlap": "pile up"},
            {"catch_up_limit": 10**9},
            {"catch_up_limit": -1},
            {"owner": "a\nb"},
            {"more": True},
        ]
        for change in changes:
            status, told = await self.post("/api/v1/schedules", good | change, token)
            said = str(change)[:80]
            self.assertIn(status, (400, 413, 422), (said, told))
            self.assertLess(len(json.dumps(told)), 5000, said)
        for body in (b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"name": "s"'):
            status, told = await self.post("/api/v1/schedules", body, token)
            self.assertIn(status, (400, 422), body)
        for name in ("nobody", "%0A", "a%2Fb", "x" * 3000, "%00", "%ff"):
            for word in ("pause", "resume", "remove"):
                path = f"/api/v1/schedules/{name}/{word}"
                status, told = await self.post(path, {}, token)
                self.assertIn(status, (400, 404, 414), (path[:60], told))
        self.assertEqual(self.sql("SELECT name FROM schedule"), [])
        self.assertTrue(await self.home.is_healthy())
        status, told = await self.post("/api/v1/schedules", good, token)
        self.assertEqual(status, 201, told)
        self.assertNotIn("Traceback", self.home.log)

    async def test_a_time_that_was_due_while_no_master_ran_is_made_up_for_once(
        self,
    ) -> None:
        status, told = await self.post(
            "/api/v1/schedules",
            {"name": "s", "cron": "@hourly", "starts": JOBS, "catch_up": "last"},
            self.farm_token(),
        )
        self.assertEqual(status, 201, told)
        await self.home.daemons[-1].kill()
        self.sql(
            """UPDATE schedule SET next_at = date_trunc('hour', farm_now())
                                             - interval '5 hours'"""
        )
        await self.home.start()
        while not (found := await self.listed("s"))["times"] or (
            found["times"][0]["state"] == "waiting"
        ):
            await deferLater(reactor, 0.1)
        self.assertEqual([each["state"] for each in found["times"]], ["started"])
        [(jobs,)] = self.sql("SELECT count(*) FROM job")
        self.assertEqual(jobs, 1)
