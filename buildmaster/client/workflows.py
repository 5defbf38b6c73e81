"""Workflows of a farm, over HTTP.

::

    workflows = Workflows(client)
    started = await workflows.start("BuildHandler", ["project", "abc123"], name="build-1")
    await workflows.signal("build-1", "build_ended", ["srpm", True], id="message 17")
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from buildmaster.client.http import Client
from buildmaster.workflow.history import History

Arguments = list[Any] | dict[str, Any]


class Workflows:
    """What can be done to workflows. Every method raises `ClientError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(
        self,
        class_: str,
        arguments: Arguments = [],  # noqa: B006
        *,
        name: str | None = None,
        execution_timeout: float | None = None,
        on_duplicate: str = "join",
        owner: str | None = None,
    ) -> dict[str, Any]:
        """Start one, unless there is one of that name: ``joined`` says so."""
        body = {
            "class": class_,
            "arguments": arguments,
            "name": name,
            "execution_timeout": execution_timeout,
            "on_duplicate": on_duplicate,
            "owner": owner,
        }
        return await self._client.change("/api/v1/workflows", body)

    async def signal(
        self,
        workflow: str,
        signal: str,
        arguments: Arguments = [],  # noqa: B006
        *,
        id: str | None = None,
    ) -> dict[str, Any]:
        """Send a signal; one with the same ``id`` is dealt with once."""
        body = {"signal": signal, "arguments": arguments, "id": id}
        return await self._client.change(_path(workflow, "signal"), body)

    async def query(
        self,
        workflow: str,
        query: str,
        arguments: Arguments = [],  # noqa: B006
    ) -> Any:
        """What the workflow answers."""
        body = {"query": query, "arguments": arguments}
        return (await self._client.change(_path(workflow, "query"), body))["answer"]

    async def cancel(self, workflow: str, why: str = "") -> dict[str, Any]:
        """Ask it to end."""
        return await self._client.change(_path(workflow, "cancel"), {"why": why})

    async def document(self, workflow: str) -> dict[str, Any]:
        """All about one but its history."""
        return await self._get(f"/api/v1/workflows/{quote(workflow, safe='')}")

    async def export(self, workflow: str, generation: int | None = None) -> bytes:
        """The history of one, as the test kit replays it."""
        query = "" if generation is None else f"?generation={generation}"
        return await self._client.document(_path(workflow, "export") + query)

    async def timeline(
        self, workflow: str, *, generation: int | None = None, after: int | None = None
    ) -> dict[str, Any]:
        """A page of its history, for people."""
        given = {"generation": generation, "after": after, "limit": 1000}
        query = urlencode({k: v for k, v in given.items() if v is not None})
        return await self._get(f"{_path(workflow, 'history')}?{query}")

    async def history(self, workflow: str) -> History:
        """The same, as a type."""
        return msgspec.json.decode(await self.export(workflow), type=History)

    async def _get(self, path: str) -> dict[str, Any]:
        text = await self._client.document(path)
        return msgspec.json.decode(text, type=dict[str, Any])


def _path(workflow: str, act: str) -> str:
    return f"/api/v1/workflows/{quote(workflow, safe='')}/{act}"
