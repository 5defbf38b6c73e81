"""Calls local actions: after the commit that asked for them, at least once, in threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildmaster.database import Database
from buildmaster.orchestration.threads import Threads, TookTooLong
from buildmaster.store import workflows as store
from buildmaster.store.workflows import Chore
from buildmaster.workflow.actions import LocalCall, Retry, is_local
from buildmaster.workflow.payload import plain

#: Seconds for which others leave a call alone, unless it is renewed; renewed so often.
LEASE, RENEWAL = 30.0, 10.0


class NoAction(Exception):
    """There is no local action of that name here."""


class LocalCalls:
    """One round begins calls as far as there are threads; they go on by themselves."""

    log = Logger()

    def __init__(
        self,
        database: Database,
        threads: Threads,
        clock: Any,
        master: str,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """``wake`` is called when there is room again."""
        self._database = database
        self._threads = threads
        self._clock = clock
        self._master = master
        self._wake = wake
        self._under_way: dict[tuple[int, int, int], Chore] = {}
        self._calling: set[Deferred[None]] = set()
        self._renewed_at = clock.seconds()

    async def round(self) -> None:
        await self._renew()
        if not self._threads.room:
            return
        for chore in await store.take_chores(
            self._database, "local", self._master, self._threads.room, LEASE
        ):
            self._under_way[chore.place] = chore
            calling = Deferred.fromCoroutine(self._call(chore))
            self._calling.add(calling)
            calling.addBoth(self._called, calling, chore)

    async def drain(self) -> None:
        """Wait for the calls under way; for tests."""
        while self._calling:
            waiting: Deferred[None] = Deferred()
            calling: Any = next(iter(self._calling))
            calling.addBoth(lambda _, waiting=waiting: waiting.callback(None))
            await waiting

    async def _renew(self) -> None:
        now = self._clock.seconds()
        if self._under_way and now - self._renewed_at >= RENEWAL:
            self._renewed_at = now
            await store.renew_chores(self._database, list(self._under_way.values()), LEASE)

    def _called(self, result: object, calling: Deferred[None], chore: Chore) -> None:
        self._calling.discard(calling)
        if self._under_way.get(chore.place) is chore:
            del self._under_way[chore.place]
        if isinstance(result, Failure):
            # It stays in the outbox, and is called again with the same key.
            self.log.failure("the outcome of a call could not be written", result)
        self._wake()

    async def _call(self, chore: Chore) -> None:
        if chore.is_late:
            await self._failed(chore, "TimedOut", "its time was over", is_final=True)
            return
        timeout = float(chore.options.get("timeout") or 60.0)
        call = LocalCall(chore.key, chore.tries, chore.workflow_name, timeout)
        try:
            action = find_action(chore.name)
            value = await self._threads.run(
                lambda: plain(action(call, *chore.arguments), "what it returns"), timeout
            )
        except TookTooLong as error:
            await self._failed(chore, "TimedOut", str(error))
        except NoAction as error:
            self.log.error("{error}", error=error)
            await store.postpone_chore(self._database, chore, LEASE)
        except Exception as error:
            await self._failed(chore, type(error).__name__, str(error))
        else:
            await store.finish_chore(self._database, chore, "completed", value)

    async def _failed(
        self, chore: Chore, kind: str, message: str, *, is_final: bool = False
    ) -> None:
        policy = msgspec.convert(chore.options.get("retry") or {}, Retry)
        told = f"{chore.name}: {message or kind}".replace("\0", "")[:4000]
        if is_final or kind in policy.never or chore.tries >= policy.limit:
            payload = {"message": told, "kind": kind}
            await store.finish_chore(self._database, chore, "failed", payload)
            return
        self.log.warn(
            "workflow {name}: {told} (try {tries} of {limit})",
            name=chore.workflow_name,
            told=told,
            tries=chore.tries,
            limit=policy.limit,
        )
        await store.postpone_chore(self._database, chore, policy.pause(chore.tries))


def find_action(name: str) -> Callable[..., Any]:
    """The local action of that name; `NoAction`.

    Only what a workflow's package has imported, and has marked: a row of the database
    makes nothing be imported.
    """
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found) or not is_local(found):
        raise NoAction(f"there is no local action {name} here: was it renamed, or removed?")
    return found  # type: ignore[no-any-return]
