"""Takes the master's step again and again: what ended, what was accepted, new work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from buildmaster.database import Database, DatabaseAway, OutcomeUnknown
from buildmaster.ending import RetryPolicy
from buildmaster.hungry import HungrySessions, Picked
from buildmaster.matching import Leased, Needs
from buildmaster.orders import NoOrder, OrderMaker
from buildmaster.session import Session, Told
from buildmaster.store import queue
from buildmaster.store.step import (
    Acceptance,
    AttemptEnd,
    Claim,
    Stepped,
    step,
    unaccepted_claims,
)
from protocol.order import Limits, NativeOrder, Order
from protocol.results import Result

#: Seconds after which the lines of all classes are read from their beginnings again.
LOOK_BACK = 1.0


@dataclass
class _Telling:
    """What a session had to tell, and who waits for the answer."""

    worker: str
    accepted: Sequence[Acceptance]
    ends: Sequence[AttemptEnd]
    told: Deferred[Told] = field(default_factory=Deferred)


class Dispatcher:
    """One round is a step, and another one as long as there is more to claim.

    While a step is under way what sessions tell is gathered for the next one: an idle farm
    claims at once, a busy one in batches.
    """

    log = Logger()

    def __init__(
        self,
        database: Database,
        orders: OrderMaker,
        policy: RetryPolicy,
        seconds: Callable[[], float],
        wake: Callable[[], None],
        session_of: Callable[[str], Session | None],
    ) -> None:
        """``seconds``: a clock that never jumps. ``wake`` asks for a round."""
        self._database = database
        self._orders = orders
        self._policy = policy
        self._seconds = seconds
        self._wake = wake
        self._session_of = session_of
        self._hungry = HungrySessions()
        self._tellings: list[_Telling] = []
        self._failed_orders: list[AttemptEnd] = []
        self._marks: dict[int, int] = {}
        self._looked_back_at = seconds()
        self._must_learn = True
        self._must_reread = False
        self._making: set[Deferred[None]] = set()
        #: The furthest position of each class that was claimed, for the fair shares.
        self.begun: dict[int, int] = {}

    # What others tell.

    def tell(
        self, worker: str, accepted: Sequence[Acceptance], ends: Sequence[AttemptEnd]
    ) -> Deferred[Told]:
        """Write what a worker told with the next step; fires with what became of it."""
        telling = _Telling(worker, accepted, ends)
        self._tellings.append(telling)
        self._wake()
        return telling.told

    def room_changed(self, session: Session) -> None:
        """A session can take more, or less."""
        self._hungry.changed(session)
        if session.is_open and session.left.slots > 0:
            self._wake()

    def queued(self, payload: str) -> None:
        """A notification: something stands in the line; where, as CLASS:POSITION."""
        if not payload:
            self._marks.clear()
            self._must_learn = True
        for place in payload.split():
            class_id, _, position = place.partition(":")
            number = int(class_id)
            if self._hungry.needs_of(number) is None:
                self._must_learn = True
            if number in self._marks:
                self._marks[number] = min(self._marks[number], int(position))
        self._wake()

    async def orders_made(self) -> None:
        """Returns when the orders for the builds that were claimed are sent."""
        while self._making:
            await next(iter(self._making))

    # The round.

    async def round(self) -> None:
        """Step until the sessions are full or the queue has nothing for them."""
        if self._seconds() - self._looked_back_at >= LOOK_BACK:
            self._looked_back_at = self._seconds()
            self._marks.clear()
            self._must_learn = True
        if self._must_reread:
            await self._reread()
        if self._must_learn:
            known = self._hungry.known_classes
            self._hungry.learn(
                await self._database.transaction(
                    lambda cursor: queue.classes_but(cursor, known)
                )
            )
            self._must_learn = False
        while await self._step():
            pass

    async def _step(self) -> bool:
        """One step; whether another one would find more."""
        tellings, self._tellings = self._tellings, []
        failed, self._failed_orders = self._failed_orders, []
        picked = self._hungry.pick()
        if not tellings and not failed and not picked.slots:
            return False
        marks = {each: self._marks.get(each, 0) for _, each in picked.classes}
        try:
            stepped = await step(
                self._database,
                [*failed, *(end for telling in tellings for end in telling.ends)],
                [one for telling in tellings for one in telling.accepted],
                picked.workers,
                [(bunch, each, marks[each]) for bunch, each in picked.classes],
                delays=self._policy.delays,
                refused_for=self._policy.refusal,
            )
        except DatabaseAway as error:
            # Ends and acceptances may be written twice; claims may stand unnoticed.
            self._tellings = tellings + self._tellings
            self._failed_orders = failed + self._failed_orders
            self._must_reread = self._must_reread or isinstance(error, OutcomeUnknown)
            raise
        except Exception:
            # Their sessions end, and the workers tell it again in the next ones.
            for telling in tellings:
                telling.told.errback()
            raise
        for class_id, position in stepped.marks.items():
            self._marks[class_id] = position
        for telling in tellings:
            telling.told.callback(_told(telling, stepped))
        for worker in stepped.gone:
            session = self._session_of(worker)
            if session is not None and session.id in {w.session for w in picked.workers}:
                # The worker is elsewhere, or counts as gone; if it hears this, it returns.
                session.close()
        self._hand_out(stepped.claims)
        return self._found_less_than_there_may_be(picked, stepped, marks)

    def _found_less_than_there_may_be(
        self, picked: Picked, stepped: Stepped, marks: dict[int, int]
    ) -> bool:
        if not picked.slots:
            return False
        if stepped.aside:
            return True
        taken = sum(self._needs(claim).slots for claim in stepped.claims)
        if taken >= picked.slots:
            return any(session.left.slots > 0 for session in self._hungry)
        # Marks are hints: something may stand before one.
        if any(marks.values()):
            for class_id in marks:
                self._marks.pop(class_id, None)
            return True
        return False

    async def _reread(self) -> None:
        """Find claims whose answer was lost on the way here."""
        workers = [s.capability.worker for s in self._hungry]
        claims = await unaccepted_claims(self._database, workers)
        self._must_reread = False
        self._hand_out(
            [
                claim
                for claim in claims
                if (session := self._session_of(claim.worker)) is not None
                and (claim.job, claim.attempt) not in session.attempts
            ]
        )

    # What was claimed.

    def _hand_out(self, claims: Sequence[Claim]) -> None:
        builds: dict[str, list[Claim]] = {}
        for claim in claims:
            self.begun[claim.class_id] = max(
                claim.position, self.begun.get(claim.class_id, 0)
            )
            session = self._session_of(claim.worker)
            if session is None:
                continue  # Its next session finds the lease, which it has not accepted.
            leased = Leased(self._needs(claim), is_native=claim.payload is not None)
            session.lease(claim.job, claim.attempt, leased)
            if claim.payload is None:
                builds.setdefault(claim.worker, []).append(claim)
            else:
                session.start(_native_order(claim))
        for worker, of_worker in builds.items():
            making = Deferred.fromCoroutine(self._order_builds(worker, of_worker))
            making.addErrback(self._no_orders, worker)
            self._making.add(making)
            making.addBoth(self._made, making)

    def _made(self, _: object, making: Deferred[None]) -> None:
        self._making.discard(making)

    def _needs(self, claim: Claim) -> Needs:
        known = self._hungry.needs_of(claim.class_id)
        assert known is not None, "only learnt classes are asked for"
        return known.needs

    async def _order_builds(self, worker: str, claims: Sequence[Claim]) -> None:
        made = await self._database.transaction(
            lambda cursor: self._make_orders(cursor, claims)
        )
        session = self._session_of(worker)
        for claim, order in zip(claims, made, strict=True):
            key = (claim.job, claim.attempt)
            if session is None or key not in session.attempts:
                continue
            if isinstance(order, str):
                session.drop(*key)
                self._failed_orders.append(
                    AttemptEnd(*key, Result.ERROR, order, worker, final=True)
                )
                self._wake()
                continue
            session.start(order)
            self.log.info(
                "job {job} attempt {attempt} goes to worker {worker}",
                job=claim.job,
                attempt=claim.attempt,
                worker=worker,
            )

    async def _make_orders(self, cursor: Any, claims: Sequence[Claim]) -> list[Order | str]:
        """The order of each, or why there is none."""
        made: list[Order | str] = []
        for claim in claims:
            try:
                made.append(await self._orders.make(cursor, claim.job, claim.attempt))
            except NoOrder as error:
                made.append(str(error))
        return made

    def _no_orders(self, failure: Any, worker: str) -> None:
        """What was not sent is given back when the worker joins anew."""
        if failure.check(DatabaseAway) is None:
            self.log.failure("worker {worker} gets no orders", failure, worker=worker)
        session = self._session_of(worker)
        if session is not None:
            session.close()


class _Payload(msgspec.Struct):
    """What a claim tells of a job that runs natively."""

    performs: str
    arguments: dict[str, Any]
    run: float | None


_payload = msgspec.json.Decoder(_Payload)


def _native_order(claim: Claim) -> NativeOrder:
    payload = _payload.decode(claim.payload or "")
    return NativeOrder(
        job=claim.job,
        attempt=claim.attempt,
        performs=payload.performs,
        arguments=payload.arguments,
        limits=Limits(run=payload.run),
    )


def _told(telling: _Telling, stepped: Stepped) -> Told:
    ends = [(end.job, end.attempt) for end in telling.ends]
    taken = [(one.job, one.attempt) for one in telling.accepted]
    return Told(
        ended=frozenset(key for key in ends if stepped.ended.get(key) != "stale"),
        forget=frozenset(
            [key for key in ends if stepped.ended.get(key) == "stale"]
            + [key for key in taken if key in stepped.forget]
        ),
    )
