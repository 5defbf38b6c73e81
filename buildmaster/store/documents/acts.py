"""The audit as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from buildmaster.database import Database
from buildmaster.status.problems import bad_parameter
from buildmaster.status.questions import Audit
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page, tests_of

_ACT: Mapping[str, str] = {
    "id": "t.id",
    "kind": "'act'",
    "act": "t.act",
    "at": at("t.at"),
    "who": "t.who",
    "address": "t.address",
    "outcome": "t.outcome",
    "status": "t.status",
    "run": "t.run",
    "job": "t.job",
    "worker": "t.worker",
    "facts": "t.facts",
}


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_parameter("since", f"is no time: {error}") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


async def act_list(database: Database, asked: Audit) -> Listing:
    """The acts that are ``asked`` for."""
    tests, parameters = tests_of(asked, ("who", "act", "job", "run"), {})
    if asked.since is not None:
        # Ids and times come in the same order, but for those of the same moment. So the
        # list ends where the time does, instead of looking through all that is older.
        tests.append(
            "id >= coalesce((SELECT f.id FROM act f WHERE f.at >= %s::timestamptz"
            " ORDER BY f.at LIMIT 1), 0) - 1000 AND s.at >= %s::timestamptz"
        )
        moment = _moment(asked.since)
        parameters += [moment, moment]
    page = Page(
        "act s", "s.id", "JOIN act t ON t.id = shown.key", pairs(_ACT, asked.fields)
    )
    return await page.read(database, asked, [f"s.{test}" for test in tests], parameters)
