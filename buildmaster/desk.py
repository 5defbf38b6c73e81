"""What a session asks of the database: each call is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from buildmaster import ending
from buildmaster.database import Cursor, Database
from buildmaster.ending import RetryPolicy
from buildmaster.joining import Answer, Door, Joined, Knock
from buildmaster.recording import Outcome, give_up, record
from buildmaster.store import crowds, queue
from buildmaster.store import workers as worker_store
from buildmaster.store.event_log import Event, write_events
from buildmaster.together import Together
from protocol.messages import Attempt, Goodbye, Hello, Holding, Report

#: Seconds between two transactions for signs of life: two thousand idle workers give four
#: hundred in a second. What a worker says behind one waits with it.
SIGNS_REST = 0.025


async def tell_workers(cursor: Cursor, workers: Sequence[str], state: str) -> None:
    """Write the event that workers are in another state now."""
    payload = {"state": state}
    await write_events(
        cursor, [Event(f"worker.{state}", worker=one, payload=payload) for one in workers]
    )


@dataclass
class Desk:
    """The master's books, as far as workers may write into them."""

    database: Database
    door: Door
    policy: RetryPolicy
    clock: IReactorTime | None = None  #: without one, signs of life do not wait for others
    _joins: Together[Knock, Answer] = field(init=False, repr=False)
    _signs: Together[tuple[str, Sequence[Holding]], list[Attempt]] = field(
        init=False, repr=False
    )

    def __post_init__(self) -> None:
        # After a restart all workers come at once, and each gives signs of life.
        self._joins = Together(self._join)
        self._signs = Together(self._renew, self._rest if self.clock else None)

    def _rest(self) -> Deferred[None]:
        assert self.clock is not None
        rest: Deferred[None] = deferLater(self.clock, SIGNS_REST)
        return rest

    async def join(self, hello: Hello, session: str, peer: str) -> Joined | Goodbye:
        """Open a session for the worker at ``peer``, or say why not."""
        refusal = self.door.turn_away(peer)
        if refusal is not None:
            return refusal
        answer: Joined | Goodbye = await self._joins.ask(Knock(hello, session, peer))
        return answer

    async def _join(self, knocks: list[Knock]) -> list[Answer]:
        """Let in who knocks; a worker that does so twice, one after the other."""
        answers: dict[str, Answer] = {}
        left = knocks
        while left:
            now = {each.hello.worker: each for each in reversed(left)}
            group = list(now.values())
            told = await self._let_in(group)
            answers |= {
                each.session: answer for each, answer in zip(group, told, strict=True)
            }
            left = [each for each in left if each.session not in answers]
        return [answers[each.session] for each in knocks]

    async def _let_in(self, knocks: list[Knock]) -> list[Answer]:
        return await self.database.transaction(
            lambda cursor: self.door.join(cursor, knocks)
        )

    async def leave(self, worker: str, session: str) -> None:
        """Note that a session is over."""

        async def work(cursor: Cursor) -> None:
            state = await worker_store.disconnect(cursor, worker, session)
            if state is not None:
                await tell_workers(cursor, [worker], state)

        await self.database.transaction(work)

    async def settle_workers(self) -> None:
        """Call workers offline that were unreachable and hold nothing any more."""

        async def work(cursor: Cursor) -> None:
            await tell_workers(cursor, await worker_store.settle(cursor), "offline")

        await self.database.transaction(work)

    async def refused(self, worker: str, job: int, attempt: int, reason: str) -> None:
        """Note that a worker would not take an attempt."""
        await self.database.transaction(
            lambda cursor: ending.refused(cursor, worker, job, attempt, reason, self.policy)
        )

    async def record(self, worker: str, reports: Sequence[Report]) -> Outcome:
        """Record reports of one attempt; raises `BadReport`."""
        return await self.database.transaction(
            lambda cursor: record(cursor, worker, reports, self.policy)
        )

    async def give_up(self, worker: str, job: int, attempt: int, reason: str) -> None:
        """End an attempt whose reports cannot be recorded."""
        await self.database.transaction(
            lambda cursor: give_up(cursor, worker, job, attempt, reason, self.policy)
        )

    async def renew(self, worker: str, holding: Sequence[Holding]) -> list[Attempt]:
        """Renew the worker's leases; the attempts that it should forget."""
        forgotten: list[Attempt] = await self._signs.ask((worker, holding))
        return forgotten

    async def _renew(
        self, signs: list[tuple[str, Sequence[Holding]]]
    ) -> list[list[Attempt]]:
        lost = await self.database.transaction(lambda cursor: crowds.renew(cursor, signs))
        return [
            [
                Attempt(held.job, held.attempt)
                for held in holding
                if (worker, held.job, held.attempt) in lost
            ]
            for worker, holding in signs
        ]

    async def promote_due(self) -> None:
        """Queue the jobs whose time to wait is over."""

        async def work(cursor: Cursor) -> None:
            while await queue.make_due_ready(cursor, 1000) == 1000:
                pass

        await self.database.transaction(work)
