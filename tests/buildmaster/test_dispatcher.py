"""The master's round, on real books: what a busy one learns, and what it survives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from buildmaster import dispatcher as dispatcher_module
from buildmaster.database import OutcomeUnknown
from buildmaster.dispatcher import Dispatcher
from buildmaster.ending import RetryPolicy
from buildmaster.matching import Amounts, Capability, Leased, Needs
from buildmaster.session import Told
from buildmaster.store.step import Acceptance, AttemptEnd
from protocol.messages import Offer
from protocol.results import Result
from tests.direct import Direct, NewJob, Row, now
from tests.paper_sessions import DirectDatabase, PaperOrders, PaperSession
from tests.postgres import fresh_dsn


class _Database(DirectDatabase):
    """Something may happen between what the database has done and that we hear of it."""

    meanwhile: Callable[[], None] | None = None
    held: Deferred[None] | None = None  #: the answer to the next step comes when it fires
    asked: list[list[str]]  #: for which workers each step was to claim
    is_late = False  #: what was claimed by a statement that was lost is not there yet

    async def rows(self, sql: str, parameters: Any = ()) -> list[Row]:
        found = await super().rows(sql, parameters)
        if "accepted_at IS NULL" in sql and self.is_late:
            return []
        if "FROM step(" in sql and self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()
        if "FROM step(" in sql:
            self.asked.append([worker["name"] for worker in json.loads(parameters[4])])
            if self.held is not None:
                held, self.held = self.held, None
                await held
        return found


class RoundTests(SynchronousTestCase):
    """Two workers end each job at once and in turn, so that a round has no end."""

    def setUp(self) -> None:
        self.books = books = Direct(fresh_dsn(self))
        self.addCleanup(books.close)
        books.set_clock(datetime(2026, 1, 1, tzinfo=UTC))
        self.line = books.job_class()
        self.database = _Database(books)
        self.database.asked = []
        self.seconds = 0.0
        self.begun: list[int] = []
        self.after: dict[int, Callable[[], None]] = {1: lambda: self.join("bee")}
        self.sessions: dict[str, Any] = {}
        self.dispatcher = Dispatcher(
            self.database,  # type: ignore[arg-type]
            PaperOrders(),  # type: ignore[arg-type]
            RetryPolicy(),
            lambda: self.seconds,
            wake=lambda: None,
            session_of=lambda name: self.sessions.get(name),
            sent=lambda seconds: self.sent.append(seconds),
        )
        self.sent: list[float] = []
        self.join("ant")

    def join(self, name: str, slots: int = 1) -> None:
        self.books.add_worker(name, slots)
        offer = Offer(isolation="native", architecture="amd64", series=("*",))
        capability = Capability(name, (offer,), (), (), ("noop",), Amounts(slots))
        changed = self.dispatcher.room_changed
        self.sessions[name] = PaperSession(f"s-{name}", capability, self.begin, changed)
        changed(self.sessions[name])

    def begin(self, session: PaperSession, job: int, attempt: int) -> None:
        self.begun.append(job)
        end = AttemptEnd(job, attempt, Result.SUCCESS, worker=session.capability.worker)
        told = self.dispatcher.tell(session.capability.worker, (), [end])
        told.addCallback(lambda _: session.drop(job, attempt))
        self.after.get(len(self.begun), lambda: None)()  # so many were begun

    def add(self, count: int, line: int | None = None, **more: Any) -> list[int]:
        jobs = [NewJob(virtual_start=1000 + n, **more) for n in range(count)]
        return self.books.add_graph(line or self.line, jobs)[1]

    def test_how_late_an_order_was_is_told_from_when_it_could_have_been(self) -> None:
        now(self.dispatcher.round())  # there is room since 0.0, and nothing to do
        self.seconds = 5.0
        self.add(1)
        self.dispatcher.queued(f"{self.line}:0")
        self.seconds = 5.25  # the reactor was busy

        def slow() -> None:
            self.seconds = 5.75

        self.database.meanwhile = slow
        now(self.dispatcher.round())
        self.assertEqual(self.sent, [0.75])

    def test_a_busy_master_learns_of_a_new_class(self) -> None:
        self.add(20)
        new: list[int] = []

        def submit() -> None:
            other = self.books.job_class(memory=1)
            new.extend(self.add(1, other, score=900_000))
            self.dispatcher.queued(f"{other}:0")

        self.after[5] = submit
        now(self.dispatcher.round())
        self.assertEqual(len(self.begun), 21)
        self.assertLess(self.begun.index(new[0]), 8)

    def test_a_busy_master_looks_back_each_second(self) -> None:
        self.add(20)
        new: list[int] = []

        def submit() -> None:  # and the notification is lost
            new.extend(self.add(1, score=900_000))

        def wait() -> None:
            self.seconds += 1.0

        self.after |= {5: submit, 10: wait}
        now(self.dispatcher.round())
        # A step gives to both workers, one of which may have been the tenth.
        self.assertIn(self.begun.index(new[0]), (10, 11, 12))

    def test_what_is_queued_while_a_step_is_under_way_is_seen_by_the_next(self) -> None:
        self.add(20)
        new: list[int] = []

        def submit() -> None:
            new.extend(self.add(1, score=900_000))
            [(position,)] = self.books.rows(
                "SELECT position FROM ready WHERE job = %s", (new[0],)
            )
            self.dispatcher.queued(f"{self.line}:{position}")

        def listen() -> None:
            self.database.meanwhile = submit

        self.after[5] = listen
        now(self.dispatcher.round())
        self.assertIn(self.begun.index(new[0]), (6, 7, 8))

    def test_a_reply_that_is_lost_is_found_again_and_nothing_begins_twice(self) -> None:
        jobs = self.add(5)

        def lose() -> None:
            raise OutcomeUnknown("the line broke")

        def break_line() -> None:
            self.database.meanwhile = lose

        self.after[2] = break_line
        with self.assertRaises(OutcomeUnknown):
            now(self.dispatcher.round())
        self.assertLess(len(self.begun), 5)
        for _ in range(5):  # each was asked for by what was told
            now(self.dispatcher.round())
        self.assertEqual(sorted(self.begun), jobs)
        [(done,)] = self.books.rows("SELECT count(*) FROM event WHERE kind = 'job.done'")
        self.assertEqual(done, 5)

    def test_a_lease_of_which_nothing_was_heard_takes_its_room_all_the_same(self) -> None:
        self.after.clear()
        self.books.run("UPDATE worker SET slots = 2")
        ant = self.sessions["ant"]
        ant.capability = replace(ant.capability, amounts=Amounts(2))
        ant._begun = lambda *_: None  # and never ends
        ant.attempts[0, 0] = Leased(Needs(), is_native=True)
        ant.drop(0, 0)  # which counts what is left anew

        def lose() -> None:
            raise OutcomeUnknown("the line broke")

        self.database.meanwhile, self.database.is_late = lose, True
        self.add(1)
        self.dispatcher.queued("")
        with self.assertRaises(OutcomeUnknown):
            now(self.dispatcher.round())
        for _ in range(3):
            self.add(1)
            self.dispatcher.queued("")
            now(self.dispatcher.round())
        self.assertEqual(len(ant.attempts), 1)
        self.assertEqual(self.books.value("SELECT count(*) FROM running"), 2)

    def test_what_cannot_be_written_spoils_only_its_own_session(self) -> None:
        jobs = self.add(3)
        self.sessions.clear()
        self.books.run("UPDATE worker SET slots = 3")
        self.books.claim("ant", [self.line], 3)
        outcomes: list[object] = []
        for worker, job, status in (
            ("ant", jobs[0], 0),
            ("bad", jobs[1], 2**40),
            ("ant", jobs[2], 0),
        ):
            end = AttemptEnd(job, 1, Result.SUCCESS, exit_status=status)
            told = self.dispatcher.tell(worker, (), [end])
            told.addCallbacks(
                lambda told: outcomes.append(set(told.ended)),
                lambda failure: outcomes.append(failure.type.__name__),
            )
        with self.assertRaises(psycopg2.errors.NumericValueOutOfRange):
            now(self.dispatcher.round())
        self.assertEqual(
            outcomes, [{(jobs[0], 1)}, "NumericValueOutOfRange", {(jobs[2], 1)}]
        )
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_where_much_is_told_a_second_step_does_not_wait_for_the_first(self) -> None:
        self.after.clear()
        self.patch(dispatcher_module, "ENOUGH", 2)
        self.join("bee", slots=2)
        for session in self.sessions.values():
            session._begun = lambda *_: None  # nothing ends by itself
        jobs = self.add(6)
        self.dispatcher.queued("")
        now(self.dispatcher.round())
        held = self.database.held = Deferred()
        ant, bee = self.sessions["ant"], self.sessions["bee"]
        first = self.tell_ends("ant", list(ant.attempts))
        round_ = Deferred.fromCoroutine(self.dispatcher.round())
        second = self.tell_ends("bee", list(bee.attempts))
        self.assertEqual(len(self.successResultOf(second).ended), 2)
        self.assertEqual(len(bee.attempts), 2, "it has new ones")
        self.assertNoResult(first)
        self.assertEqual(self.database.asked[-2:], [["ant"], ["bee"]])
        held.callback(None)
        self.assertEqual(len(self.successResultOf(first).ended), 1)
        self.successResultOf(round_)
        leased = {job for one in (ant, bee) for job, _ in one.attempts}
        self.assertEqual(leased, set(jobs[3:]))

    def tell_ends(self, worker: str, attempts: Sequence[tuple[int, int]]) -> Deferred[Told]:
        ends = [AttemptEnd(*key, Result.SUCCESS, worker=worker) for key in attempts]
        told = self.dispatcher.tell(worker, (), ends)
        session = self.sessions[worker]

        def recorded(told: Told) -> Told:
            for key in attempts:
                session.drop(*key)
            return told

        return told.addCallback(recorded)

    def test_an_end_that_comes_with_its_acceptance_is_not_to_be_forgotten(self) -> None:
        [job] = self.add(1)
        self.books.claim("ant", [self.line])
        told = self.dispatcher.tell(
            "ant",
            [Acceptance(job, 1, "ant")],
            [AttemptEnd(job, 1, Result.SUCCESS, worker="ant")],
        )
        now(self.dispatcher.round())
        said = self.successResultOf(told)
        self.assertEqual((said.ended, said.forget), (frozenset({(job, 1)}), frozenset()))
