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
        database = Database(dsn, reactor, size=2)
        await database.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(database.stop()))
        self.run_id, self.job = await full_farm(Rows(database))

    @property
    def token(self) -> str:
        return (self.home.folder / "token").read_text().strip()

    async def test_pb_and_http_of_a_master_answer_the_same(self) -> None:
        status = await connect(reactor, f"pb://127.0.0.1:{self.status_port}", self.token)
        self.addCleanup(status.close)
        page = await status.jobs(q.Jobs(run=self.run_id))
        self.assertEqual(len(page.read().jobs), 2)
        document = await self.home.client.document(f"/api/v1/jobs?run={self.run_id}")
        self.assertEqual(page.plain()["jobs"], json.loads(document)["jobs"])

    async def test_schemathesis_finds_nothing_that_the_document_does_not_say(self) -> None:
        if importlib.util.find_spec("schemathesis") is None:
            raise SkipTest("schemathesis is not installed")
        found: Any = await utils.getProcessOutputAndValue(
            sys.executable,
            (
                *("-m", "schemathesis.cli", "run", f"{self.home.url}/api/v1/openapi.json"),
                *("--header", f"Authorization: Bearer {self.token}"),
                *("--max-examples", str(EXAMPLES), "--no-color", "--seed", "7"),
                *("--checks", CHECKS, "--generation-database", "none"),
            ),
            path=str(self.home.folder),
        )
        out, err, status = found
        self.assertEqual(status, 0, (out + err).decode("utf-8", "replace")[-6000:])
