"""Files that another master of the farm keeps, fetched by their hash when they are wanted.

Each master has a blob folder of its own. What was stored with one of them is known to all
through the database; who is asked for a file that it lacks gets it from a neighbour, looks
whether it is what its name says, and keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from buildmaster.blobs import BlobStore, TooLarge, WrongHash
from buildmaster.client.http import Client, ClientError, FarmRefused
from buildmaster.database import Database
from buildmaster.store import artifacts as artifact_store
from buildmaster.store import masters as master_store
from buildmaster.store.masters import Neighbour
from protocol.trust import Trust


class NeighbourAway(Exception):
    """A master that may have the file does not answer; the sentence names it."""


class Elsewhere(Protocol):
    """Where a file may be that is not here."""

    async def fetch(self, sha256: str) -> Path | None:
        """Bring the file here, None if nobody has it; `NeighbourAway`, `DiskFull`."""


class Neighbours:
    """The other masters, as far as files go."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        database: Database,
        blobs: BlobStore,
        name: str,
        file_token: Callable[[str], str],
    ) -> None:
        """``name`` is this master's; ``file_token`` opens one file at any of them."""
        self._reactor = reactor
        self._database = database
        self._blobs = blobs
        self._name = name
        self._file_token = file_token
        self._fetching: dict[str, list[Deferred[Path | None]]] = {}

    async def fetch(self, sha256: str) -> Path | None:
        """As `Elsewhere` says. Who asks for what is on its way waits for it."""
        here = self._blobs.path(sha256)
        if here is not None:
            return here
        if not await artifact_store.is_blob(self._database, sha256):
            return None
        waiting: Deferred[Path | None] = Deferred()
        if sha256 in self._fetching:
            self._fetching[sha256].append(waiting)
        else:
            self._fetching[sha256] = [waiting]
            # On its own: whoever asked may go away, and come back for it.
            found = Deferred.fromCoroutine(self._ask_all(sha256))
            found.addBoth(self._told, sha256)
        return await waiting

    def _told(self, result: Any, sha256: str) -> None:
        for waiting in self._fetching.pop(sha256):
            waiting.callback(result)  # a failure, too, goes to all who wait

    async def _ask_all(self, sha256: str) -> Path | None:
        away: list[str] = []
        for neighbour in await master_store.neighbours(self._database, self._name):
            try:
                if await self._ask(neighbour, sha256):
                    self.log.info(
                        "file {sha256} came from master {master}",
                        sha256=sha256,
                        master=neighbour.name,
                    )
                    return self._blobs.path(sha256)
            except (ClientError, WrongHash, TooLarge) as error:
                self.log.warn(
                    "file {sha256} did not come from master {master}: {error}",
                    sha256=sha256,
                    master=neighbour.name,
                    error=error,
                )
                away.append(neighbour.name)
        if away:
            raise NeighbourAway(
                f"this file may lie at master {', '.join(away)}, which does not give it"
                " just now: ask again when it is back"
            )
        return None

    async def _ask(self, neighbour: Neighbour, sha256: str) -> bool:
        """Whether it had the file, which is here now."""
        trust = Trust(fingerprint=neighbour.fingerprint)
        token = self._file_token(sha256)
        client = Client(self._reactor, neighbour.url, token, trust)
        upload = self._blobs.open_upload(sha256)
        try:
            await client.artifact(sha256, upload.write)
            await upload.commit()
        except FarmRefused as error:
            if error.status == 404:
                return False
            raise
        finally:
            upload.abort()
        return True
