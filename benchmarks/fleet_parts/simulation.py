"""A fleet in compressed time: the master's own dispatcher and SQL, workers of paper."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from benchmarks.fleet_parts.day import ERRORS, FAILURES, Submission, Worker
from buildmaster.dispatcher import Dispatcher
from buildmaster.ending import RetryPolicy
from buildmaster.matching import Amounts, Capability, Needs
from buildmaster.store import queue
from buildmaster.store.step import Acceptance, AttemptEnd, end_attempts, fold
from protocol.messages import Offer
from protocol.results import Result
from tests.direct import Direct, DirectCursor, NewEdge, NewJob, now
from tests.paper_sessions import DirectDatabase, PaperOrders, PaperSession

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
#: How often a worker breaks, and for how long.
BREAKS_EVERY, BROKEN_FOR = 5 * 86400.0, 1800.0
_POLICY = RetryPolicy()


class Fleet:
    """Workers, a master and its database, from one tick to the next."""

    def __init__(self, dsn: str, machines: Sequence[Worker], tick: float = 5.0) -> None:
        """``tick``: seconds of simulated time between two looks of the master."""
        self.tick_seconds = tick
        self.books = Direct(dsn)
        self.at = 0.0
        self.chance = Random(3)
        self.seconds: dict[int, float] = {}  # that a job takes
        self.sessions: dict[str, Any] = {}
        self._machines = {machine.name: machine for machine in machines}
        self._ends: list[tuple[float, int, int, str]] = []
        self._accepted: list[Acceptance] = []
        self._broken: list[tuple[float, str]] = []
        self._lines: dict[tuple[str, bool], int] = {}
        #: Slot-seconds, by architecture, while a job waited that fits: used, and there.
        self.used: defaultdict[str, float] = defaultdict(float)
        self.there: defaultdict[str, float] = defaultdict(float)
        self._idle: defaultdict[str, float] = defaultdict(float)  # from an end to the tick
        self.books.set_clock(BEGIN)
        self._dispatcher = Dispatcher(
            DirectDatabase(self.books),  # type: ignore[arg-type]
            PaperOrders(),  # type: ignore[arg-type]
            _POLICY,
            lambda: self.at,
            wake=lambda: None,
            session_of=lambda name: self.sessions.get(name),
        )
        for machine in machines:
            self.books.add_worker(
                machine.name, machine.slots, "noop", memory=machine.memory
            )
            self._join(machine)

    def _join(self, machine: Worker) -> None:
        session = f"s-{machine.name}-{self.at}"
        self.books.run(
            """
            UPDATE worker SET state = 'connected', session = %s, master = 'm', offers =
                jsonb_build_array(jsonb_build_object('isolation', 'native',
                    'architecture', %s, 'series', '["*"]'::jsonb))
            WHERE name = %s
            """,
            (session, machine.architecture, machine.name),
        )
        offer = Offer(isolation="native", architecture=machine.architecture, series=("*",))
        amounts = Amounts(machine.slots, memory=machine.memory)
        one = PaperSession(
            session,
            Capability(machine.name, (offer,), (), (), ("noop",), amounts),
            self._begin,
            self._dispatcher.room_changed,
        )
        self.sessions[machine.name] = one
        self._dispatcher.room_changed(one)  # type: ignore[arg-type]

    # -- what comes in

    def submit(self, one: Submission) -> None:
        """Write a run, with turns for its owner's jobs of each architecture."""
        counts = Counter((p.architecture, p.is_big) for p in one.pieces)
        turns = {
            kind: self._turns(one.owner, kind, count)
            for kind, count in sorted(counts.items())
        }
        given: Counter[tuple[str, bool]] = Counter()
        jobs = []
        for piece in one.pieces:
            kind = (piece.architecture, piece.is_big)
            jobs.append(
                NewJob(
                    one.owner,
                    self._line(*kind),
                    virtual_start=turns[kind].of(given[kind]),
                )
            )
            given[kind] += 1
        edges = [NewEdge(0, n) for n in range(1, len(jobs))] if one.prepares else []
        _, ids = self.books.add_graph(0, jobs, edges)
        self.seconds |= {
            job: piece.seconds for job, piece in zip(ids, one.pieces, strict=True)
        }

    def _turns(self, owner: str, kind: tuple[str, bool], count: int) -> queue.Turns:
        line = self._line(*kind)
        return self.books.act(
            lambda cursor: queue.take_turns(cursor, owner, kind[0], count, class_id=line)
        )

    def _line(self, architecture: str, is_big: bool) -> int:
        kind = (architecture, is_big)
        if kind not in self._lines:
            needs = Needs(
                architecture,
                performs="" if architecture else "noop",
                slots=4 if is_big else 1,
                memory=24576 if is_big else 2048,
            )
            self._lines[kind] = self.books.act(
                lambda cursor: queue.class_for(cursor, needs)
            )
            self._dispatcher.queued("")
        return self._lines[kind]

    # -- what workers do

    def _begin(self, session: PaperSession, job: int, attempt: int) -> None:
        worker = session.capability.worker
        self._accepted.append(Acceptance(job, attempt, worker))
        heapq.heappush(self._ends, (self.at + self.seconds[job], job, attempt, worker))

    def _end(self) -> None:
        """Tell the master what has ended since the last tick, and what was accepted."""
        ends: dict[str, list[AttemptEnd]] = {}
        while self._ends and self._ends[0][0] <= self.at:
            ended, job, attempt, worker = heapq.heappop(self._ends)
            session = self.sessions.get(worker)
            if session is None or (job, attempt) not in session.attempts:
                continue  # its worker broke
            slots = session.attempts[job, attempt].needs.slots
            self._idle[_architecture(session)] += slots * (self.at - ended)
            result = self.chance.choices(
                (Result.SUCCESS, Result.FAILURE, Result.ERROR),
                (1 - FAILURES - ERRORS, FAILURES, ERRORS),
            )[0]
            reason = "" if result is Result.SUCCESS else "it broke"
            ends.setdefault(worker, []).append(
                AttemptEnd(job, attempt, result, reason, worker)
            )
        accepted: dict[str, list[Acceptance]] = {}
        for one in self._accepted:
            accepted.setdefault(one.worker, []).append(one)
        self._accepted = []
        for worker in {**ends, **accepted}:
            told = self._dispatcher.tell(
                worker, accepted.get(worker, ()), ends.get(worker, ())
            )
            told.addCallback(self._told, worker)

    def _told(self, told: Any, worker: str) -> None:
        session = self.sessions.get(worker)
        if session is not None:
            for job, attempt in told.ended:
                session.drop(job, attempt)

    def _break(self) -> None:
        """Now and then a machine breaks, and what it had is lost when it is back."""
        for name in list(self.sessions):
            if self.chance.random() < self.tick_seconds / BREAKS_EVERY:
                session = self.sessions.pop(name)
                session.close()
                self.books.run(
                    """
                    UPDATE worker SET state = 'unreachable', session = NULL, master = NULL
                    WHERE name = %s
                    """,
                    (name,),
                )
                self._broken.append((self.at + BROKEN_FOR, name))
        for back in [each for each in self._broken if each[0] <= self.at]:
            self._broken.remove(back)
            lost = [
                AttemptEnd(job, attempt, Result.ERROR, "it was lost", back[1], lost=True)
                for job, attempt in self.books.rows(
                    "SELECT job, attempt FROM running WHERE worker = %s", (back[1],)
                )
            ]
            self.books.act(lambda cursor, lost=lost: _end_lost(cursor, lost))  # type: ignore[misc]
            self._join(self._machines[back[1]])

    # -- the time

    def tick(self) -> None:
        """The next few seconds."""
        self.at += self.tick_seconds
        self.books.set_clock(BEGIN + timedelta(seconds=self.at))
        self._break()
        self._end()
        now(self._dispatcher.round())
        self.books.act(self._chores)
        self._measure()

    async def _chores(self, cursor: DirectCursor) -> None:
        while await queue.make_due_ready(cursor, 1000) == 1000:
            pass
        await queue.fill_semaphores(cursor)
        await queue.forget_vain_refusals(cursor)
        await fold(cursor, self._dispatcher.take_begun())

    def _measure(self) -> None:
        waiting = {
            str(architecture)
            for (architecture,) in self.books.rows(
                """
                SELECT architecture FROM job_class AS c
                WHERE slots = 1 AND EXISTS (SELECT FROM ready WHERE ready.class = c.id)
                """
            )
        }
        used: Counter[str] = Counter()
        there: Counter[str] = Counter()
        for session in self.sessions.values():
            there[_architecture(session)] += session.capability.amounts.slots
            used[_architecture(session)] += (
                session.capability.amounts.slots - session.left.slots
            )
        for architecture, slots in there.items():
            # What ended within the last tick was idle for the rest of it.
            worked = used[architecture] * self.tick_seconds - self._idle.pop(
                architecture, 0
            )
            if waiting & {architecture, ""}:
                self.used[architecture] += worked
                self.there[architecture] += slots * self.tick_seconds

    def is_done(self) -> bool:
        """Whether nothing is left."""
        return not self.books.value("SELECT EXISTS (SELECT FROM run WHERE state <> 'done')")


def _architecture(session: PaperSession) -> str:
    return session.capability.offers[0].architecture


async def _end_lost(cursor: DirectCursor, lost: Sequence[AttemptEnd]) -> None:
    await end_attempts(cursor, lost, delays=_POLICY.delays, refused_for=_POLICY.refusal)
