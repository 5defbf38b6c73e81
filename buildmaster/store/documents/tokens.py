"""The tokens of clients as JSON documents, without anything that opens a door."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database
from buildmaster.status.questions import Tokens
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page

_TOKEN: Mapping[str, str] = {
    "id": "t.name",
    "kind": "'token'",
    "name": "t.name",
    "scopes": "t.scopes",
    "project": "t.project",
    "state": "CASE WHEN t.revoked_at IS NULL THEN 'good' ELSE 'revoked' END",
    "created_by": "t.created_by",
    "created_at": at("t.created_at"),
    "last_used_at": at("t.last_used_at"),
    "revoked_at": at("t.revoked_at"),
}


async def token_list(database: Database, asked: Tokens) -> Listing:
    """The tokens that are ``asked`` for."""
    page = Page(
        "api_token s",
        "s.name",
        "JOIN api_token t ON t.name = shown.key",
        pairs(_TOKEN, asked.fields),
    )
    return await page.read(database, asked, (), ())
