"""The status of a real master, as its OpenAPI document and its PB port promise it."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import yaml
from twisted.internet import reactor, utils
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, TestCase

from buildmaster.client import connect
from buildmaster.database import Database
from buildmaster.requests import GraphRequest, JobRequest
from buildmaster.status import questions as q
from tests.buildmaster.http.rows import Rows
from tests.buildmaster.status.test_reading import full_farm
from tests.masters import MasterHome, free_port
from tests.postgres import fresh_dsn

#: Examples for each operation; a developer who changes questions tries more.
EXAMPLES = 15
#: A server error, an undocumented answer, a document that is not as described, a question
#: that the document forbids and the master answers.
CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
    )
)


class StatusOfAMasterTests(TestCase):
    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        dsn = fresh_dsn(self)
        self.home = MasterHome(self, dsn)
        self.status_port = free_port()
        settings = yaml.safe_load(self.home.settings.read_text())
        settings["listen"]["status"] = f"127.0.0.1:{self.status_port}"
        self.home.settings.write_text(yaml.safe_dump(settings))
        await self.home.start()
        self.database = Database(dsn, reactor, size=2)
        await self.database.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.stop()))

    async def fill(self) -> None:
        """One of everything that can be read."""
        self.run_id, self.job = await full_farm(Rows(self.database))

    @property
    def token(self) -> str:
        return (self.home.folder / "token").read_text().strip()

    async def test_pb_and_http_of_a_master_answer_the_same(self) -> None:
        await self.fill()
        status = await connect(reactor, f"pb://127.0.0.1:{self.status_port}", self.token)
        self.addCleanup(status.close)
        page = await status.jobs(q.Jobs(run=self.run_id))
        self.assertEqual(len(page.read().jobs), 2)
        document = await self.home.client.document(f"/api/v1/jobs?run={self.run_id}")
        self.assertEqual(page.plain()["jobs"], json.loads(document)["jobs"])

    async def schemathesis(self, *options: str) -> None:
        if importlib.util.find_spec("schemathesis") is None:
            raise SkipTest("schemathesis is not installed")
        # It is read where the program runs. A body may also be refused for its size.
        (self.home.folder / "schemathesis.toml").write_text(
            "[checks.negative_data_rejection]\n"
            "expected-statuses = [400, 401, 403, 404, 409, 413, 415, 422]\n"
        )
        found: Any = await utils.getProcessOutputAndValue(
            sys.executable,
            (
                *("-m", "schemathesis.cli", "run", f"{self.home.url}/api/v1/openapi.json"),
                *("--header", f"Authorization: Bearer {self.token}"),
                *("--no-color", "--seed", "7", "--generation-database", "none"),
                *("--checks", CHECKS, "--request-timeout", "30", *options),
            ),
            path=str(self.home.folder),
        )
        out, err, status = found
        self.assertEqual(status, 0, (out + err).decode("utf-8", "replace")[-6000:])

    async def test_schemathesis_finds_nothing_in_reading(self) -> None:
        await self.fill()
        # A log that has not ended can be followed for ever.
        await self.database.run(
            "UPDATE attempt SET result = 'success', finished_at = farm_now()"
        )
        await self.schemathesis("--include-method", "GET", "--max-examples", str(EXAMPLES))

    async def test_schemathesis_finds_nothing_in_writing(self) -> None:
        """All but what would make the master fetch from wherever it is told to."""
        jobs = tuple(JobRequest(performs="noop", name=f"job-{n}") for n in range(5))
        await self.home.client.enqueue(GraphRequest(jobs=jobs))
        await self.schemathesis(
            *("--include-method", "POST", "--include-method", "PUT"),
            *("--exclude-operation-id", "submit", "--max-examples", str(EXAMPLES)),
        )
