"""Documents of masters of other releases can be read."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.client.documents import JobDocument, RunDocument, WorkerDocument
from buildmaster.status import documents

NEWER = {"state": "pondering", "result": "splendid", "colour": "red"}
OLDEST: dict[type[Any], dict[str, Any]] = {
    JobDocument: {"id": 1, "kind": "build", "name": "a", "state": "done", "attempt": 1},
    RunDocument: {"id": 1, "state": "done"},
    WorkerDocument: {"name": "ant", "state": "offline"},
}


class OtherReleasesTests(SynchronousTestCase):
    def test_what_is_missing_or_new_is_no_obstacle(self) -> None:
        for kind, oldest in OLDEST.items():
            for document in (oldest, {**oldest, **NEWER}):
                json = msgspec.json.encode(document)
                read = msgspec.json.decode(json, type=kind)
                self.assertEqual(read.state, document["state"])

    def test_the_types_of_this_release_are_for_its_own_masters(self) -> None:
        """Else there would be no need for others."""
        for document in OLDEST[JobDocument], {**OLDEST[JobDocument], **NEWER}:
            with self.assertRaises(msgspec.ValidationError):
                msgspec.convert(document, documents.Job)
