"""Takes the master's step again and again: what ended, what was accepted, new work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from buildmaster.settling import Settled
from buildmaster.store import queue
from buildmaster.store.step import (
    TURN_BITS,
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
#: Ends that are told while a step is under way, and are worth another one beside it: the
#: database has more than one processor.
ENOUGH = 64
#: Seconds for which claims are looked for whose answer was lost: the database may still be
#: at them.
LOST_FOR = 10.0


@dataclass
class _Telling:
    """What a session had to tell, and who waits for the answer."""

    worker: str
    accepted: Sequence[Acceptance]
    ends: Sequence[AttemptEnd]
    told: Deferred[Told] = field(default_factory=Deferred)


@dataclass(eq=False)
class _UnderWay:
    """A step whose answer is to come."""

    workers: frozenset[str]  #: for which it claims
    #: Where something may stand that it did not see: class -> position
    unseen: dict[int, int] = field(default_factory=dict)
    unseen_anywhere: bool = False

    def miss(self, class_id: int, position: int) -> None:
        """Something may stand there that it did not see."""
        self.unseen[class_id] = min(self.unseen.get(class_id, position), position)


class Dispatcher:
    """One round is a step, and another one as long as there is more to claim.

    While a step is under way what sessions tell is gathered for the next one: an idle farm
    claims at once, a busy one in batches. Where much is told, a second step does not wait
    for the first; no worker is in both.
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
        sent: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """``seconds``: a clock that never jumps. ``wake`` asks for a round.

        ``sent`` hears of each order, how many seconds after it could have been sent.
        """
        self._database = database
        self._orders = orders
        self._policy = policy
        self._seconds = seconds
        self._ask_for_round = wake
        self._sent = sent
        self._heard_at: float | None = None  # what no step has seen yet
        self._session_of = session_of
        self._hungry = HungrySessions()
        self._tellings: list[_Telling] = []
        self._failed_orders: list[AttemptEnd] = []
        self._marks: dict[int, int] = {}
        self._looked_back_at = seconds()
        self._must_learn = True
        self._under_way: set[_UnderWay] = set()
        self._told = 0  # ends in the tellings
        self._is_beside = False
        self._beside: Deferred[None] | None = None
        self._must_reread = False
        self._lost_until = 0.0
        self._making: set[Deferred[None]] = set()
        #: By class and score, the furthest position that was claimed, for the fair shares.
        self._begun: dict[tuple[int, int], int] = {}

    # What others tell.

    def _wake(self) -> None:
        if self._heard_at is None:
            self._heard_at = self._seconds()
        self._ask_for_round()

    def tell(
        self, worker: str, accepted: Sequence[Acceptance], ends: Sequence[AttemptEnd]
    ) -> Deferred[Told]:
        """Write what a worker told with the next step; fires with what became of it."""
        telling = _Telling(worker, accepted, ends)
        self._tellings.append(telling)
        self._told += len(ends)
        session = self._session_of(worker)
        if session is not None and ends:
            # One step for a job, and one frame for its worker, instead of two.
            session.give_room([(end.job, end.attempt) for end in ends])
        if self._told >= ENOUGH and self._under_way and not self._is_beside:
            self._is_beside = True
            self._beside = Deferred.fromCoroutine(self._step_beside())
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
            for each in self._under_way:
                each.unseen_anywhere = True
        for place in payload.split():
            class_id, _, position = place.partition(":")
            number = int(class_id)
            if self._hungry.needs_of(number) is None:
                self._must_learn = True
            place_ = int(position)
            if number in self._marks:
                self._marks[number] = min(self._marks[number], place_)
            for each in self._under_way:
                each.miss(number, place_)
        self._wake()

    def take_begun(self) -> list[tuple[int, int]]:
        """Classes, and the furthest positions claimed in them since the last time."""
        begun, self._begun = self._begun, {}
        return [(class_id, position) for (class_id, _), position in begun.items()]

    def note_begun(self, begun: Iterable[tuple[int, int]]) -> None:
        """Those were claimed."""
        for class_id, position in begun:
            key = (class_id, position >> TURN_BITS)
            self._begun[key] = max(position, self._begun.get(key, 0))

    async def orders_made(self) -> None:
        """Returns when no step is under way beside the round, and all orders are sent."""
        if self._is_beside and self._beside is not None:
            await self._beside
        while self._making:
            await next(iter(self._making))

    # The round.

    async def round(self) -> None:
        """Step until the sessions are full or the queue has nothing for them."""
        if self._must_reread:
            await self._reread()
        more = True
        while more:
            await self._look_back()
            more = await self._step()

    async def _look_back(self) -> None:
        """See what hints and earlier steps have missed. A busy farm's round has no end."""
        if self._seconds() - self._looked_back_at >= LOOK_BACK:
            self._looked_back_at = self._seconds()
            self._marks.clear()
            self._must_learn = True
            if self._seconds() < self._lost_until:
                await self._reread()
        if self._must_learn:
            self._must_learn = False
            known = self._hungry.known_classes
            self._hungry.learn(
                await self._database.transaction(
                    lambda cursor: queue.classes_but(cursor, known)
                )
            )

    async def _step_beside(self) -> None:
        """Steps of which the round knows nothing, as long as there is enough for them."""
        try:
            while self._told >= ENOUGH:
                await self._step()
        except DatabaseAway as error:
            self.log.warn("a step beside another one: {error}", error=error)
        except Exception:
            self.log.failure("a step beside another one failed")
        self._is_beside = False
        self._wake()

    async def _step(self) -> bool:
        """One step; whether another one would find more."""
        since, self._heard_at = self._heard_at, None
        since = self._seconds() if since is None else since
        tellings, self._tellings, self._told = self._tellings, [], 0
        failed, self._failed_orders = self._failed_orders, []
        busy = {worker for each in self._under_way for worker in each.workers}
        picked = self._hungry.pick(busy)
        if not tellings and not failed and not picked.slots:
            return False
        marks = {each: self._marks.get(each, 0) for _, each in picked.classes}
        here = _UnderWay(frozenset(worker.name for worker in picked.workers))
        self._under_way.add(here)
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
            self._let_go(here)
            # Ends and acceptances may be written twice; claims may stand unnoticed.
            self._tellings = tellings + self._tellings
            self._told = sum(len(telling.ends) for telling in self._tellings)
            self._failed_orders = failed + self._failed_orders
            if isinstance(error, OutcomeUnknown):
                self._must_reread = True
                self._doubt(picked)
                self._lost_until = self._seconds() + LOST_FOR
            raise
        except Exception:
            self._let_go(here)
            await self._write_each(tellings, failed)
            raise
        self._note_marks(stepped, here)
        for telling in tellings:
            telling.told.callback(_told(telling, stepped))
        for worker in stepped.gone:
            session = self._session_of(worker)
            if session is not None and session.id in {w.session for w in picked.workers}:
                # The worker is elsewhere, or counts as gone; if it hears this, it returns.
                session.close()
        self._hand_out(stepped.claims, since)
        return self._found_less_than_there_may_be(picked, stepped, marks)

    def _let_go(self, here: _UnderWay) -> None:
        """A step came to nothing: what it had locked, and others did not see, is back."""
        self._under_way.discard(here)
        self._marks.clear()
        for other in self._under_way:
            other.unseen_anywhere = True

    def _doubt(self, picked: Picked) -> None:
        for worker in picked.workers:
            session = self._session_of(worker.name)
            if session is not None:
                session.doubt()

    async def _write_each(
        self, tellings: Sequence[_Telling], failed: Sequence[AttemptEnd]
    ) -> None:
        """Write one by one what could not be written together.

        One of them cannot be written at all. Its session ends, and its worker tells it
        again in the next one; no other worker has to suffer for it.
        """
        for end in failed:
            tellings = [*tellings, _Telling("", (), [end])]
        for place, telling in enumerate(tellings):
            try:
                stepped = await step(
                    self._database,
                    telling.ends,
                    telling.accepted,
                    delays=self._policy.delays,
                    refused_for=self._policy.refusal,
                )
            except DatabaseAway:
                self._tellings = [*tellings[place:], *self._tellings]
                return
            except Exception:
                self.log.failure(
                    "what {worker} told cannot be written", worker=telling.worker
                )
                if telling.worker:
                    telling.told.errback()
            else:
                telling.told.callback(_told(telling, stepped))

    def _note_marks(self, stepped: Stepped, here: _UnderWay) -> None:
        self._under_way.discard(here)
        for class_id, position in stepped.marks.items():
            for other in self._under_way:
                # It did not see what this one had locked, and has perhaps left there.
                other.miss(class_id, position)
            if not here.unseen_anywhere:
                known = here.unseen.get(class_id, position)
                self._marks[class_id] = min(position, known)

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
            ],
            self._seconds(),
        )

    # What was claimed.

    def _hand_out(self, claims: Sequence[Claim], since: float) -> None:
        builds: dict[str, list[Claim]] = {}
        self.note_begun((claim.class_id, claim.position) for claim in claims)
        for claim in claims:
            session = self._session_of(claim.worker)
            if session is None:
                continue  # Its next session finds the lease, which it has not accepted.
            is_native = claim.payload is not None
            leased = Leased(self._needs(claim), is_native, claim.lease)
            session.lease(claim.job, claim.attempt, leased)
            if claim.payload is None:
                builds.setdefault(claim.worker, []).append(claim)
            else:
                session.start(self._native_order(claim))
                self._sent(self._seconds() - since)
        for worker, of_worker in builds.items():
            making = Deferred.fromCoroutine(self._order_builds(worker, of_worker, since))
            making.addErrback(self._no_orders, worker)
            self._making.add(making)
            making.addBoth(self._made, making)

    def _made(self, _: object, making: Deferred[None]) -> None:
        self._making.discard(making)

    def _needs(self, claim: Claim) -> Needs:
        known = self._hungry.needs_of(claim.class_id)
        assert known is not None, "only learnt classes are asked for"
        return known.needs

    def _native_order(self, claim: Claim) -> NativeOrder:
        payload = _payload.decode(claim.payload or "")
        return NativeOrder(
            job=claim.job,
            attempt=claim.attempt,
            performs=payload.performs,
            arguments=payload.arguments,
            limits=Limits(run=payload.run),
            artifacts=(
                self._orders.artifacts(claim.job, claim.attempt) if payload.stores else None
            ),
        )

    async def _order_builds(
        self, worker: str, claims: Sequence[Claim], since: float
    ) -> None:
        made = await self._database.transaction(
            lambda cursor: self._make_orders(cursor, claims)
        )
        session = self._session_of(worker)
        for claim, order in zip(claims, made, strict=True):
            key = (claim.job, claim.attempt)
            if session is None or key not in session.attempts:
                continue
            if not isinstance(order, Order):
                session.drop(*key)
                end = AttemptEnd(*key, Result.ERROR, str(order), worker, final=True)
                if isinstance(order, Settled):
                    end = AttemptEnd(*key, order.result, str(order), worker)
                self._failed_orders.append(end)
                self._wake()
                continue
            session.start(order)
            self._sent(self._seconds() - since)
            self.log.info(
                "job {job} attempt {attempt} goes to worker {worker}",
                job=claim.job,
                attempt=claim.attempt,
                worker=worker,
            )

    async def _make_orders(
        self, cursor: Any, claims: Sequence[Claim]
    ) -> list[Order | NoOrder | Settled]:
        """The order of each, or why there is none."""
        made: list[Order | NoOrder | Settled] = []
        for claim in claims:
            try:
                order = await self._orders.make(
                    cursor, claim.job, claim.attempt, settling=True
                )
                made.append(order)
            except (NoOrder, Settled) as error:
                made.append(error)
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
    stores: bool


_payload = msgspec.json.Decoder(_Payload)


def _told(telling: _Telling, stepped: Stepped) -> Told:
    ends = [(end.job, end.attempt) for end in telling.ends]
    taken = [(one.job, one.attempt) for one in telling.accepted]
    ended = frozenset(key for key in ends if stepped.ended.get(key) != "stale")
    stale = [key for key in ends if stepped.ended.get(key) == "stale"]
    # What is told at once with its end has no lease any more, and nothing to forget.
    not_theirs = [key for key in taken if key in stepped.forget and key not in ended]
    return Told(ended, frozenset([*stale, *not_theirs]))
