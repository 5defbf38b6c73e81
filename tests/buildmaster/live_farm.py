"""The write path on a database, for tests: a `LiveFarm` without any daemon around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from buildmaster.blobs import BlobStore
from buildmaster.database import Database
from buildmaster.farm import LiveFarm
from buildmaster.requests import Enqueued, GraphRequest
from buildmaster.series import DEFAULT_SERIES
from buildmaster.source.reader import GitReader
from buildmaster.submission import SubmissionRules


def live_farm(test: TestCase, database: Database, **more: Any) -> LiveFarm:
    """A farm whose files lie in a folder of the test's own."""
    folder = Path(test.mktemp())
    folder.mkdir(parents=True)
    return LiveFarm(
        database,
        GitReader(reactor, folder / "git", True),
        BlobStore(folder / "blobs", 2**20),
        SubmissionRules(DEFAULT_SERIES),
        lambda: None,
        **more,
    )


async def enqueue(farm: LiveFarm, *jobs: dict[str, Any], **graph: Any) -> Enqueued:
    """Queue jobs that perform ``noop`` unless they say otherwise."""
    document = {"jobs": [{"performs": "noop", **job} for job in jobs], **graph}
    return await farm.enqueue(msgspec.convert(document, GraphRequest), "ann")
