"""What happens when a worker says hello: may it join, and where do its attempts stand?"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from buildmaster import ending
from buildmaster.database import Cursor
from buildmaster.ending import RetryPolicy
from buildmaster.knocks import Knocks
from buildmaster.matching import Leased
from buildmaster.store import operating, queue
from buildmaster.store import reports as report_store
from buildmaster.store import tokens as token_store
from buildmaster.store import workers as worker_store
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.queue import OwnLease
from buildmaster.store.step import AttemptEnd
from buildmaster.tokens import token_hash
from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION
from protocol.messages import Attempt, Goodbye, Hello, Recorded, Welcome
from protocol.results import Result


@dataclass(frozen=True)
class Joined:
    """An open session: what to answer, and the attempts that the worker goes on with."""

    welcome: Welcome
    attempts: Mapping[tuple[int, int], Leased]


@dataclass(frozen=True)
class Door:
    """Decides who joins a master."""

    master: str
    heartbeat: float  #: seconds between signs of life
    policy: RetryPolicy
    knocks: Knocks = field(default_factory=Knocks)

    def turn_away(self, peer: str) -> Goodbye | None:
        """What whoever is at ``peer`` is told who has failed too often, without a look."""
        if not self.knocks.are_too_many(peer):
            return None
        return Goodbye(reason="too many failed joins from your address: wait", retry=True)

    async def join(
        self, cursor: Cursor, hello: Hello, session: str, peer: str
    ) -> Joined | Goodbye:
        """Open ``session`` for the worker at ``peer``, or say why not."""
        version = min(PROTOCOL_VERSION, hello.newest_version)
        if version < max(OLDEST_PROTOCOL_VERSION, hello.oldest_version):
            return Goodbye(
                reason=f"this master speaks versions {OLDEST_PROTOCOL_VERSION} to "
                f"{PROTOCOL_VERSION} of the protocol, the worker {hello.oldest_version} to "
                f"{hello.newest_version}: upgrade the older one",
                retry=False,
            )
        if not await self._is_known(cursor, hello):
            self.knocks.note_failure(peer)
            return Goodbye(
                reason=f"this master knows no worker {hello.worker!r} with that token: "
                f"compare the worker's name and token_file with what it was added as",
                retry=False,
            )
        retired = await operating.is_retired(cursor, hello.worker)
        if retired is not None:
            return Goodbye(
                reason=f"worker {hello.worker} is retired: {retired}", retry=False
            )
        await worker_store.connect(cursor, hello, session, self.master)
        await self._tell(cursor, hello)
        recorded = await self._settle_leases(cursor, hello)
        return Joined(
            Welcome(
                version=version,
                session=session,
                master=self.master,
                heartbeat=self.heartbeat,
                recorded=tuple(recorded),
                forget=await self._to_forget(cursor, hello, recorded),
            ),
            await self._leased(cursor, hello.worker),
        )

    async def _is_known(self, cursor: Cursor, hello: Hello) -> bool:
        """Whether the token is one of the worker's."""
        await worker_store.lock(cursor, hello.worker)
        good = await token_store.worker_tokens(cursor, hello.worker)
        digest = token_hash(hello.token)
        # Unknown names cost about the same time and get the same answer as wrong tokens.
        found = [t for t in good if hmac.compare_digest(digest, t.sha256)]
        if found and not found[0].is_used:
            await token_store.note_use(cursor, hello.worker, digest)
        return bool(found)

    async def _settle_leases(self, cursor: Cursor, hello: Hello) -> list[Recorded]:
        held = {(holding.job, holding.attempt) for holding in hello.holding}
        recorded = []
        # Locked: another master may be about to break one of them.
        leases = await queue.leases_of(cursor, hello.worker, locked=True)
        for lease in leases:
            job, attempt = lease.job, lease.attempt
            if (job, attempt) in held:
                progress = await report_store.progress(cursor, hello.worker, job, attempt)
                assert progress is not None
                # Its acceptance may have been lost on the way.
                await queue.accept(cursor, hello.worker, job, attempt)
                recorded.append(Recorded(job=job, attempt=attempt, number=progress.reports))
            elif lease.accepted:
                await self._lost(cursor, hello.worker, lease)
            else:
                await queue.give_back(cursor, hello.worker, job, attempt)
        return recorded

    async def _leased(self, cursor: Cursor, worker: str) -> dict[tuple[int, int], Leased]:
        leases = await queue.leases_of(cursor, worker)
        needs = await queue.needs_of(cursor, [lease.class_id for lease in leases])
        return {
            (lease.job, lease.attempt): Leased(needs[lease.class_id], lease.is_native)
            for lease in leases
        }

    async def _lost(self, cursor: Cursor, worker: str, lease: OwnLease) -> None:
        what = "build" if lease.kind == "build" else "job"
        reason = f"worker {worker} lost this {what}: its machine or its disk was reset"
        end = AttemptEnd(lease.job, lease.attempt, Result.ERROR, reason, worker, lost=True)
        await ending.end_attempt(cursor, end, self.policy)

    async def _to_forget(
        self, cursor: Cursor, hello: Hello, recorded: list[Recorded]
    ) -> tuple[Attempt, ...]:
        wanted = {(entry.job, entry.attempt) for entry in recorded}
        return tuple(
            Attempt(holding.job, holding.attempt)
            for holding in hello.holding
            if (holding.job, holding.attempt) not in wanted
        )

    async def _tell(self, cursor: Cursor, hello: Hello) -> None:
        payload = {"state": "connected", "master": self.master, "slots": hello.slots}
        await write_events(
            cursor, [Event("worker.connected", worker=hello.worker, payload=payload)]
        )
