"""Everything of a master that gives work to workers and keeps the books in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort

from buildmaster.addresses import endpoint
from buildmaster.auditing import Auditor
from buildmaster.blaming import Blaming
from buildmaster.classifying import Reader
from buildmaster.config import MasterConfig
from buildmaster.database import Database
from buildmaster.desk import Desk
from buildmaster.dispatcher import Dispatcher
from buildmaster.ending import RetryPolicy
from buildmaster.forecasting import Forecaster
from buildmaster.joining import Door
from buildmaster.kinds.ends import Enqueue, KindEnds
from buildmaster.kinds.registry import Kinds
from buildmaster.leases import LeaseKeeper, LeaseRules
from buildmaster.masters import Masters
from buildmaster.orders import OrderMaker
from buildmaster.revocations import Revocations
from buildmaster.roster import Roster
from buildmaster.rounds import Rounds
from buildmaster.session import Session
from buildmaster.store.kinds import ENDS_CHANNEL
from buildmaster.store.queue import READY_CHANNEL
from buildmaster.store.step import fold
from buildmaster.store.tokens import CHANNEL as TOKEN_CHANNEL
from buildmaster.tidying import INTERVAL, Tidying
from buildmaster.tokens import Tokens
from buildmaster.upkeep import Upkeep
from protocol import pb

#: Seconds before the end of the grace at which a supervisor kills what nobody renews.
FENCE_BEFORE = 30.0


@dataclass(frozen=True)
class Place:
    """Where a master stands: what its parts share."""

    config: MasterConfig
    clock: Any
    books: Database
    readers: Database
    tokens: Tokens
    kinds: Kinds


class Dispatching:
    """Workers' sessions, the dispatcher, and the rounds that keep the books.

    Masters share one set of books, and each of those that dispatch does all of this; what
    only one of them may do at a time the books themselves see to.
    """

    def __init__(
        self,
        place: Place,
        http: str,
        forecaster: Forecaster,
        enqueue: Enqueue,
        sent: Callable[[float], None],
    ) -> None:
        """``http`` is how workers reach this master's files; ``sent`` hears of each order,
        how many seconds after it could have been sent."""
        config, clock, books = place.config, place.clock, place.books
        self._place = place
        policy = RetryPolicy(delays=config.retry_delays)
        files = f"{http}/api/v1/artifacts"
        orders = OrderMaker(
            artifacts_url=files,
            attempt_token=place.tokens.attempt_token,
            fence_after=config.resume_grace - FENCE_BEFORE,
        )
        self._dispatcher = Dispatcher(
            books,
            orders,
            policy,
            time.monotonic,
            wake=lambda: dispatching.wake(),
            session_of=lambda worker: self.roster.get(worker),
            sent=sent,
        )
        self.roster = Roster(self._dispatcher.room_changed, self._dispatcher.tell)
        dispatching = Rounds("dispatcher", self._dispatcher.round, clock)
        self._desk = Desk(
            books, Door(config.name, config.heartbeat, policy, files), policy, clock
        )
        keeper = LeaseKeeper(
            books,
            self._desk,
            self.roster,
            time.monotonic,
            lambda seconds: clock.callLater(seconds, self._keeping.wake),
            LeaseRules(resume_grace=config.resume_grace),
            policy,
        )
        self._keeping = Rounds("leases", keeper.round, clock)
        counting = Rounds("counts", self._fold, clock)
        revocations = Revocations(books, self.roster, config.name)
        revoking = Rounds("revocations", revocations.round, clock, interval=5.0)
        learning = Rounds(
            "forecasts", lambda: forecaster.round(books), clock, interval=10.0
        )
        ends = KindEnds(books, place.kinds, enqueue, clock, lambda: ending.wake())
        ending = Rounds("kinds", ends.round, clock)
        auditor = Auditor(books, place.readers)
        auditing = Rounds("audit", auditor.round, clock, interval=60.0)
        masters = Masters(books, time.monotonic)
        minding = Rounds("masters", masters.round, clock, interval=5.0)
        upkeep = Upkeep(books, lambda: self._upkeeping.wake())
        self._upkeeping = Rounds("upkeep", upkeep.round, clock)
        blaming = Rounds("blame", Blaming(books, policy).round, clock, interval=2.0)
        classifying = Rounds("classifying", Reader(books).round, clock, interval=2.0)
        tidy = Tidying(books, config.workflow_history_age)
        tidying = Rounds("tidying", tidy.round, clock, interval=INTERVAL)
        self._rounds: tuple[Service, ...] = (
            self._keeping,
            dispatching,
            counting,
            revoking,
            learning,
            ending,
            auditing,
            minding,
            self._upkeeping,
            blaming,
            classifying,
            tidying,
        )
        books.listen(TOKEN_CHANNEL, revoking.woken)
        books.listen(ENDS_CHANNEL, ending.woken)
        books.listen(READY_CHANNEL, self._dispatcher.queued)

    def new_session(self) -> Session:
        """For a worker that comes."""
        return Session(self._desk, self.roster, self._place.clock)

    def cancelled(self) -> None:
        """Somebody asked for jobs to be cancelled: look now."""
        self._keeping.wake()

    def operated(self) -> None:
        """An operator did something: look now."""
        self._keeping.wake()
        self._upkeeping.wake()

    async def start(
        self, address: str, tls: Any, undo: list[Callable[[], object]]
    ) -> IListeningPort:
        """Begin, and listen for workers; ``undo`` gets what ends it, the last first."""
        undo.append(lambda: Deferred.fromCoroutine(self._dispatcher.orders_made()))
        for rounds in self._rounds:
            rounds.startService()
            undo.append(rounds.stopService)
        clock = self._place.clock
        port = await pb.listen(clock, endpoint(clock, address, tls), self.new_session)
        undo += [self.roster.close_all, port.stopListening]
        return port

    async def _fold(self) -> None:
        """Add up what changed since the last time: counts, and the turns of owners."""
        begun = self._dispatcher.take_begun()
        try:
            await self._place.books.transaction(lambda cursor: fold(cursor, begun))
        except Exception:
            self._dispatcher.note_begun(begun)
            raise
