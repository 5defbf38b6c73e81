"""Answers what the farm knows of the keys of nodes that somebody plans."""

from __future__ import annotations

from typing import Protocol

from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.writing import Writing
from buildmaster.status.keys import AskedKeys, KnownKeys
from buildmaster.status.told import Told

PATH = "/api/v1/keys"


class KnowsKeys(Protocol):
    """A status that can be narrowed, and asked about keys."""

    def within(self, projects: tuple[str, ...] | None) -> KnowsKeys: ...
    async def keys(self, asked: AskedKeys) -> Told[KnownKeys]: ...


class KeyQuestions:
    """POST that changes nothing: a question is too long for an address."""

    def __init__(self, status: KnowsKeys) -> None:
        self._status = status

    async def ask(self, call: Call) -> Answer:
        """POST /api/v1/keys"""
        call.query.allow()
        asked = call.json(AskedKeys)
        call.facts["nodes"] = len(asked.nodes)
        told = await self._status.within(call.within).keys(asked)
        return Answer(body=told.json)


WRITINGS = (
    Writing(
        PATH,
        "ask_keys",
        "What the farm knows of the keys of nodes: whose results would stand for theirs.",
        AskedKeys,
        {200: KnownKeys},
    ),
)
