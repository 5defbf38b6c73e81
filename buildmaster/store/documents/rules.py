"""Rules that classify failures, as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.database import Database
from buildmaster.status.questions import Rules
from buildmaster.store.documents.fragments import at, pairs
from buildmaster.store.documents.pages import Listing, Page

_RULE: Mapping[str, str] = {
    "id": "r.id",
    "kind": "'rule'",
    "pattern": "r.pattern",
    "classification": "r.classification",
    "note": "r.note",
    "link": "r.link",
    "project": "r.project",
    "name": "r.name",
    "by": "r.made_by",
    "created_at": at("r.made_at"),
    "failures": """(SELECT count(*) FROM (SELECT FROM classified c WHERE c.rule = r.id
                                           LIMIT 1000) AS found)""",
}


async def rule_list(database: Database, asked: Rules) -> Listing:
    """The rules that are ``asked`` for."""
    page = Page(
        "failure_rule s",
        "s.id",
        "JOIN failure_rule r ON r.id = shown.key",
        pairs(_RULE, asked.fields),
    )
    return await page.read(database, asked, (), ())
