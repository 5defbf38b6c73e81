"""The tokens of clients as JSON documents, without anything that opens a door."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.store.documents.fragments import LARGEST_LIMIT, Listing, at
from buildmaster.store.events import CURSOR

_TOKEN_PAIRS = f"""
    'id', t.name, 'kind', 'token', 'name', t.name, 'scopes', t.scopes,
    'project', t.project, 'state',
    CASE WHEN t.revoked_at IS NULL THEN 'good' ELSE 'revoked' END,
    'created_by', t.created_by, 'created_at', {at("t.created_at")},
    'last_used_at', {at("t.last_used_at")}, 'revoked_at', {at("t.revoked_at")}
"""


async def token_list(
    database: Database, *, after: str = "", limit: int = LARGEST_LIMIT
) -> Listing:
    """Tokens in the order of their names, of those after ``after``; at most ``limit``."""
    items, last, is_more, cursor = await database.one(
        f"""
        WITH page AS MATERIALIZED (
            SELECT * FROM api_token WHERE name > %s ORDER BY name LIMIT %s),
        shown AS (SELECT * FROM page ORDER BY name LIMIT %s)
        SELECT (SELECT coalesce(json_agg(json_build_object({_TOKEN_PAIRS})
                                         ORDER BY t.name), '[]') FROM shown t)::text,
               (SELECT max(name) FROM shown), (SELECT count(*) > %s FROM page), {CURSOR}
        """,
        (after, limit + 1, limit, limit),
    )
    return Listing(items, last if is_more else None, cursor)
