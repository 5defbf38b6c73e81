"""People who are logged in as JSON documents, without anything of their cookies."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database
from buildmaster.status.questions import Stays
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page

_STAY: Mapping[str, str] = {
    "id": "t.id",
    "kind": "'stay'",
    "who": "t.who",
    "by": "t.way",
    "display": "t.display",
    "groups": "t.groups",
    "address": "t.address",
    "created_at": at("t.created_at"),
    "last_used_at": at("t.last_used_at"),
    "expires_at": at("t.expires_at"),
}


async def stay_list(database: Database, asked: Stays) -> Listing:
    """The stays that are ``asked`` for and last."""
    tests, parameters = ["s.expires_at > farm_now()"], []
    if asked.who is not None:
        tests.append("s.who = %s")
        parameters.append(asked.who)
    page = Page(
        "stay s", "s.id", "JOIN stay t ON t.id = shown.key", pairs(_STAY, asked.fields)
    )
    return await page.read(database, asked, tests, parameters)
