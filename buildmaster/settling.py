"""Whether a node that is to run need not, now that all it waits for has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from buildmaster.database import Cursor
from buildmaster.references import keys
from buildmaster.store import reuse as store
from buildmaster.store.reuse import UpRow
from protocol.results import Result

#: Why a node ends without having run.
SAME_KEY = "unchanged: an earlier job with the same key passed"
UNCHANGED = "unchanged: all of it has been published as it is"


class Settled(Exception):
    """The node is over: it ends with this result."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


async def settle(
    cursor: Cursor, job: int, attempt: int, node: dict[str, Any], domains: Sequence[str]
) -> dict[str, Any]:
    """The node, as it is now known; raises `Settled` if it need not run.

    Only a first attempt can be that: another one was asked for.
    """
    if not node["is_late"] and node["scope"] != "component":
        return node
    ups = await store.ups_of(cursor, job)
    by_files = node["reuse"] == "outputs"
    key = keys.with_ups(
        _bytes(node["base"]),
        [
            (up.label, up.files if by_files else up.key)
            for up in ups
            if up.label is not None
        ],
    )
    may_reuse = attempt == 1 and node["reuse"] != "never"
    content = None
    if node["scope"] == "component":
        content = await _content(cursor, job, node, key, ups, may_reuse)
    await store.note_key(cursor, job, key, content)
    if content is not None and not content["changed"] and may_reuse:
        await store.end_pipeline_jobs(cursor, [job], "skipped", UNCHANGED)
        raise Settled(Result.SKIPPED, UNCHANGED)
    if may_reuse and node["is_late"] and content is None:
        earlier = await store.passed_with_key(cursor, key, node["environment"], domains)
        if earlier is not None:
            await store.note_reused(cursor, {job: earlier})
            await store.end_pipeline_jobs(cursor, [job], "reused", SAME_KEY)
            raise Settled(Result.REUSED, SAME_KEY)
    return {**node, "content": content}


async def _content(
    cursor: Cursor,
    job: int,
    node: dict[str, Any],
    key: bytes,
    ups: Sequence[UpRow],
    compare: bool,
) -> dict[str, Any]:
    """Which packages of a component are not as they were when it last passed.

    A package is what its jobs are that the component needs; without any, what the
    component is as a whole, whose ``key`` is given.
    """
    own = {}
    for name in node["covers"]:
        made_of = [up.key.hex() for up in ups if up.package == name] or [key.hex()]
        own[name] = keys.digest(sorted(made_of)).hex()
    last = (
        await store.last_content(cursor, job)
        if compare or node["reuse"] != "never"
        else None
    )
    changed = [
        name for name in node["covers"] if last is None or last.get(name) != own[name]
    ]
    # Somebody wants it again although nothing has changed: then all of it is meant.
    if not changed and not compare:
        changed = list(node["covers"])
    return {"keys": own, "changed": changed}


def _bytes(text: str) -> bytes:
    """Bytes as PostgreSQL writes them into JSON."""
    return bytes.fromhex(text.removeprefix("\\x"))
