"""The status of a farm over HTTP, with the methods of `IStatus`."""

from __future__ import annotations

from buildmaster.client.http import Client, FarmRefused
from buildmaster.status.asking import address
from buildmaster.status.methods import METHODS
from buildmaster.status.problems import StatusProblem
from buildmaster.status.proxy import StatusProxy
from buildmaster.status.questions import Question


class HttpStatus(StatusProxy):
    """`IStatus`, asked by a `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, name: str, asked: Question) -> bytes:
        """The document that answers ``asked``, as the farm sent it."""
        try:
            return await self._client.document(address(METHODS[name], asked))
        except FarmRefused as error:
            raise StatusProblem(error.status, error.code, str(error)) from error
