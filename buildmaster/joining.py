"""What happens when a worker says hello: may it join, and where do its attempts stand?"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from buildmaster import ending
from buildmaster.database import Cursor
from buildmaster.ending import RetryPolicy
from buildmaster.knocks import Knocks
from buildmaster.matching import Leased
from buildmaster.store import crowds, operating, queue
from buildmaster.store import reports as report_store
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
class Knock:
    """A worker that wants in."""

    hello: Hello
    session: str  #: what its session is to be called
    peer: str  #: its address


Answer = Joined | Goodbye


@dataclass(frozen=True)
class Door:
    """Decides who joins a master."""

    master: str
    heartbeat: float  #: seconds between signs of life
    policy: RetryPolicy
    files: str = ""  #: the URL below which workers store and fetch files
    knocks: Knocks = field(default_factory=Knocks)

    def turn_away(self, peer: str) -> Goodbye | None:
        """What whoever is at ``peer`` is told who has failed too often, without a look."""
        if not self.knocks.are_too_many(peer):
            return None
        return Goodbye(reason="too many failed joins from your address: wait", retry=True)

    async def join(self, cursor: Cursor, knocks: Sequence[Knock]) -> list[Answer]:
        """Open a session for each, or say why not; no worker may be among them twice."""
        answers: dict[str, Answer] = {}
        for knock in knocks:
            if (goodbye := _wrong_version(knock.hello)) is not None:
                answers[knock.hello.worker] = goodbye
        asking = [each for each in knocks if each.hello.worker not in answers]
        known = await self._known(cursor, asking)
        retired = await operating.retired_of(cursor, list(known))
        for knock in asking:
            name = knock.hello.worker
            if name not in known:
                self.knocks.note_failure(knock.peer)
                answers[name] = _unknown(knock.hello)
            elif name in retired:
                reason = f"worker {name} is retired: {retired[name]}"
                answers[name] = Goodbye(reason=reason, retry=False)
        welcome = [each for each in asking if each.hello.worker not in answers]
        if welcome:
            opened = [(each.hello, each.session) for each in welcome]
            await worker_store.connect(cursor, opened, self.master)
            await self._tell(cursor, [each.hello for each in welcome])
            leased = await crowds.with_leases(cursor, known)
            for knock in welcome:
                has_leases = knock.hello.worker in leased
                answers[knock.hello.worker] = await self._open(cursor, knock, has_leases)
        return [answers[each.hello.worker] for each in knocks]

    async def _open(self, cursor: Cursor, knock: Knock, has_leases: bool) -> Joined:
        hello = knock.hello
        recorded = await self._settle_leases(cursor, hello) if has_leases else []
        return Joined(
            Welcome(
                version=min(PROTOCOL_VERSION, hello.newest_version),
                session=knock.session,
                master=self.master,
                heartbeat=self.heartbeat,
                files=self.files or None,
                recorded=tuple(recorded),
                forget=await self._to_forget(cursor, hello, recorded),
            ),
            await self._leased(cursor, hello.worker) if has_leases else {},
        )

    async def _known(self, cursor: Cursor, knocks: Sequence[Knock]) -> set[str]:
        """The workers whose token is one of theirs."""
        # With that character in it the database could not even be asked.
        knocks = [each for each in knocks if "\0" not in each.hello.worker]
        names = {each.hello.worker for each in knocks}
        await crowds.lock(cursor, names)
        good = await crowds.tokens(cursor, names)
        known, first_used = set(), []
        for knock in knocks:
            name, digest = knock.hello.worker, token_hash(knock.hello.token)
            # Unknown names get the same answer as wrong tokens, in about the same time.
            for token in good.get(name, ()):
                if hmac.compare_digest(digest, token.sha256):
                    known.add(name)
                    first_used += [] if token.is_used else [(name, digest)]
        if first_used:
            await crowds.note_uses(cursor, first_used)
        return known

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
            (lease.job, lease.attempt): Leased(
                needs[lease.class_id], lease.is_native, lease.number
            )
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

    async def _tell(self, cursor: Cursor, hellos: Sequence[Hello]) -> None:
        payload = {"state": "connected", "master": self.master}
        await write_events(
            cursor,
            [
                Event(
                    "worker.connected",
                    worker=hello.worker,
                    payload={**payload, "slots": hello.slots},
                )
                for hello in hellos
            ],
        )


def _wrong_version(hello: Hello) -> Goodbye | None:
    version = min(PROTOCOL_VERSION, hello.newest_version)
    if version >= max(OLDEST_PROTOCOL_VERSION, hello.oldest_version):
        return None
    return Goodbye(
        reason=f"this master speaks versions {OLDEST_PROTOCOL_VERSION} to "
        f"{PROTOCOL_VERSION} of the protocol, the worker {hello.oldest_version} to "
        f"{hello.newest_version}: upgrade the older one",
        retry=False,
    )


def _unknown(hello: Hello) -> Goodbye:
    return Goodbye(
        reason=f"this master knows no worker {hello.worker!r} with that token: "
        f"compare the worker's name and token_file with what it was added as",
        retry=False,
    )
