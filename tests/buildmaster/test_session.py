"""Sessions, dispatch and leases: a master's conversation with workers that are made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from buildmaster import intervention
from buildmaster.desk import Desk
from buildmaster.dispatcher import Dispatcher
from buildmaster.joining import Door
from buildmaster.leases import LeaseKeeper, LeaseRules
from buildmaster.matching import Needs
from buildmaster.orders import OrderMaker
from buildmaster.roster import Roster
from buildmaster.session import SILENCE_LIMIT, Session, Told
from protocol.messages import (
    Accepted,
    Alive,
    Cancel,
    FileMade,
    Forget,
    FromMaster,
    FromWorker,
    Goodbye,
    Holding,
    Message,
    Recorded,
    Refused,
    Report,
    ReportBody,
    Start,
    Welcome,
    bundle,
    decode_from_master,
    encode,
    encode_all,
)
from protocol.order import Order
from protocol.results import Result
from protocol.stages import Stages
from tests.buildmaster.books import (
    NO_DELAY,
    PASSED,
    TOKEN,
    Books,
    ended,
    fresh_books,
    hello,
    log,
    over,
)
from tests.buildmaster.lines import Lines

ANT = hello("ant", slots=2)


def held(job: int) -> Holding:
    """A worker's word that it has the first attempt of ``job``."""
    return Holding(job=job, attempt=1, lives=True)


class MadeUpLine:
    """A line whose other end is the test."""

    peer = "test"
    waiting = 0

    def __init__(self) -> None:
        self.sent: list[FromMaster] = []
        self.frames: list[tuple[FromMaster, ...]] = []
        self.is_closed = False
        self._expected: list[tuple[type, Deferred[Any]]] = []

    def send(self, frame: bytes) -> None:
        messages = decode_from_master(frame)
        self.frames.append(messages)
        for message in messages:
            self._take(message)

    def _take(self, message: FromMaster) -> None:
        self.sent.append(message)
        for kind, waiting in list(self._expected):
            if isinstance(message, kind):
                self._expected.remove((kind, waiting))
                # Not before the master has done what it does after sending.
                reactor.callLater(0, waiting.callback, message)

    def close(self) -> None:
        self.is_closed = True

    def next(self, kind: type) -> Deferred[Any]:
        """The next message of ``kind`` that the master sends."""
        waiting: Deferred[Any] = Deferred()
        self._expected.append((kind, waiting))
        return waiting


class TurningClock(Clock):
    """A clock of the test's own, but what is due in the next turn is called in it."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        if delay == 0:
            return reactor.callLater(0, callable, *args, **kw)
        return super().callLater(delay, callable, *args, **kw)


class MasterTestCase(TestCase):
    """A master without sockets, on real books."""

    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]
        self.books: Books = await fresh_books(self)
        self.clock = TurningClock()
        self.woken = 0
        self.looks: list[float] = []  #: rounds of the keeper that were asked for
        self.desk = Desk(self.books.database, Door("m", 5.0, NO_DELAY), NO_DELAY)
        orders = OrderMaker("http://m/artifacts", lambda job, attempt: "token", 270.0)
        self.dispatcher = Dispatcher(
            self.books.database,
            orders,
            NO_DELAY,
            self.clock.seconds,
            self._wake,
            lambda worker: self.roster.get(worker),
        )
        self.roster = Roster(self.dispatcher.room_changed, self._tell)
        self.keeper = LeaseKeeper(
            self.books.database,
            self.desk,
            self.roster,
            self.clock.seconds,
            self.looks.append,
            LeaseRules(),
            NO_DELAY,
        )

    def _wake(self) -> None:
        self.woken += 1

    def _tell(self, *told: Any) -> Deferred[Told]:
        answer = self.dispatcher.tell(*told)
        Deferred.fromCoroutine(self.dispatcher.round())
        return answer

    def connect(self) -> tuple[Session, MadeUpLine]:
        session = Session(self.desk, self.roster, self.clock)
        line = MadeUpLine()
        session.opened(line)
        self.addCleanup(session.close)
        return session, line

    async def join(self, word: Message = ANT) -> tuple[Session, MadeUpLine, Any]:
        session, line = self.connect()
        answer = await self.ask(session, line, word, Welcome)
        return session, line, answer

    async def ask(
        self, session: Session, line: MadeUpLine, word: Message, kind: type
    ) -> Any:
        answer = line.next(kind)
        session.received(encode(word))
        return await answer

    async def started(self) -> tuple[Session, MadeUpLine, int]:
        """A session whose worker has accepted a build."""
        _, [job] = await self.books.run()
        session, line, _ = await self.join()
        await self.dispatch()
        session.received(encode(Accepted(job=job, attempt=1)))
        await self.ask(session, line, Alive(), Alive)
        self.assertEqual(await self.books.state(job), ("running", None, 1))
        return session, line, job

    async def dispatch(self) -> None:
        """A round of the dispatcher, and the turn after it, in which its orders leave."""
        self.dispatcher.queued("")
        await self.dispatcher.round()
        await self.dispatcher.orders_made()
        await deferLater(reactor, 0)

    async def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.keeper.round()


class JoiningTests(MasterTestCase):
    async def test_the_right_token_is_welcomed(self) -> None:
        session, _, welcome = await self.join()
        self.assertEqual((welcome.version, welcome.master), (2, "m"))
        self.assertEqual((session.left.slots, self.woken), (2, 1))

    async def test_a_wrong_token_and_an_unknown_name_get_the_same_answer(self) -> None:
        answers = []
        for word in (hello("ant", token="no"), hello("who"), hello("who", token="")):
            session, line = self.connect()
            if not word.token:
                continue
            answers.append(await self.ask(session, line, word, Goodbye))
            self.assertTrue(line.is_closed)
        self.assertEqual(
            {(a.reason.replace("'who'", "'ant'"), a.retry) for a in answers},
            {(answers[0].reason, False)},
        )
        self.assertNotIn(TOKEN, answers[0].reason)

    async def test_a_worker_of_another_version_is_told_to_upgrade(self) -> None:
        session, line = self.connect()
        word = hello("ant", oldest_version=7, newest_version=9)
        goodbye = await self.ask(session, line, word, Goodbye)
        self.assertIn("upgrade", goodbye.reason)

    async def test_hello_comes_first_and_once(self) -> None:
        session, line = self.connect()
        session.received(encode(Alive()))
        self.assertTrue(line.is_closed)
        session, line, _ = await self.join()
        session.received(encode(ANT))
        self.assertTrue(line.is_closed)

    async def test_garbage_closes_the_line(self) -> None:
        for frame in (b"", b"\xff" * 50, b"\x81\xa4type\xa3nix", encode(ANT) + b"x"):
            session, line = self.connect()
            session.received(frame)
            self.assertTrue(line.is_closed, frame)

    async def test_one_bad_message_spoils_its_frame(self) -> None:
        session, line, job = await self.started()
        report = encode(Report(job=job, attempt=1, number=1, body=over(Result.FAILURE)))
        for bad in (b"\xc0", encode(ANT), report):
            session, line, _ = await self.join(hello("ant", holding=(held(job),)))
            [frame] = bundle([encode(Alive(holding=(held(job),))), report, bad])
            session.received(frame)
            self.assertTrue(line.is_closed, bad)
            self.assertIsInstance(line.sent[-1], Goodbye)
        await self.join(hello("ant", holding=(held(job),)))
        self.assertEqual(await self.books.state(job), ("running", None, 1))

    async def test_a_silent_worker_loses_its_session_and_is_unreachable(self) -> None:
        _, line, _ = await self.started()
        self.clock.advance(SILENCE_LIMIT - 1)
        self.assertFalse(line.is_closed)
        self.clock.advance(1)
        self.assertTrue(line.is_closed)
        self.assertIsNone(self.roster.get("ant"))

    async def test_a_worker_that_comes_back_replaces_its_old_session(self) -> None:
        _, old, _ = await self.join()
        session, _, _ = await self.join()
        self.assertTrue(old.is_closed)
        self.assertIs(self.roster.get("ant"), session)
        (state,) = await self.books.database.one("SELECT state::text FROM worker")
        self.assertEqual(state, "connected")


class DispatchTests(MasterTestCase):
    async def test_an_order_holds_all_that_the_worker_needs(self) -> None:
        _, [job] = await self.books.run()
        session, line, _ = await self.join()
        await self.dispatch()
        [start] = [m for m in line.sent if isinstance(m, Start)]
        assert isinstance(start.order, Order)
        self.assertEqual((start.order.job, start.order.attempt), (job, 1))
        self.assertEqual(start.order.stages, ((("unit", 0), ("lint", 0)), (("ship", 0),)))
        self.assertEqual(sorted(start.order.jobs), ["lint", "ship", "unit"])
        self.assertEqual(start.order.project, "p")
        self.assertEqual(session.left.slots, 1)

    async def test_no_worker_gets_more_than_its_slots(self) -> None:
        await self.books.run(builds=5)
        session, line, _ = await self.join()
        await self.dispatch()
        await self.dispatch()
        self.assertEqual(sum(isinstance(m, Start) for m in line.sent), 2)
        self.assertEqual(session.left.slots, 0)

    async def test_a_build_runs_to_its_end(self) -> None:
        session, line, job = await self.started()
        bodies: tuple[ReportBody, ...] = (log(0, b"hi"), *PASSED)
        for number, body in enumerate(bodies, 1):
            session.received(encode(Report(job=job, attempt=1, number=number, body=body)))
        while (await line.next(Recorded)).number < 5:
            pass
        self.assertEqual(await self.books.state(job), ("done", "success", 1))
        self.assertEqual(session.left.slots, 2)

    async def test_orders_of_one_round_go_out_as_one_frame(self) -> None:
        await self.books.run(builds=2)
        _, line, _ = await self.join()
        await self.dispatch()
        self.assertEqual([len(frame) for frame in line.frames], [1, 2])

    async def test_the_step_that_writes_an_end_gives_its_room_away(self) -> None:
        needs = Needs(performs="noop")
        first, second = await Lines(self.books.database).jobs(2, needs)
        session, line, _ = await self.join(hello("ant", slots=1, performs=("noop",)))
        await self.dispatch()
        [begun] = [m.order.job for m in line.sent if isinstance(m, Start)]
        self.assertEqual((begun, session.left.slots), (first, 0))
        report = Report(job=first, attempt=1, number=1, body=over(Result.SUCCESS))
        await self.ask(session, line, report, Recorded)
        [recorded, start] = line.frames[-1]
        self.assertEqual(recorded, Recorded(job=first, attempt=1, number=1))
        assert isinstance(start, Start)
        self.assertEqual((start.order.job, session.left.slots), (second, 0))
        report = Report(job=second, attempt=1, number=1, body=over(Result.SUCCESS))
        await self.ask(session, line, report, Recorded)
        self.assertEqual((session.left.slots, session.attempts), (1, {}))

    async def test_a_worker_of_version_1_gets_each_message_by_itself(self) -> None:
        await self.books.run(builds=2)
        _, line, welcome = await self.join(hello("ant", slots=2, newest_version=1))
        self.assertEqual(welcome.version, 1)
        await self.dispatch()
        self.assertEqual([len(frame) for frame in line.frames], [1, 1, 1])

    async def test_an_end_that_comes_first_stands_for_accepted_too(self) -> None:
        _, [job] = await self.books.run()
        session, line, _ = await self.join()
        await self.dispatch()
        body = over(Result.FAILURE, "it went wrong")
        [frame] = encode_all([Report(job=job, attempt=1, number=1, body=body), Alive()])
        session.received(frame)
        await line.next(Alive)
        self.assertEqual(await self.books.state(job), ("done", "failure", 1))
        self.assertEqual(session.left.slots, 2)
        events = await self.books.database.rows(
            "SELECT kind FROM event WHERE job = %s ORDER BY id", (job,)
        )
        self.assertEqual(
            [kind for (kind,) in events], ["job.ready", "job.assigned", "job.done"]
        )

    async def test_a_refused_order_goes_back_to_the_queue(self) -> None:
        await self.books.worker("bee")
        _, [job] = await self.books.run()
        session, line, _ = await self.join()
        await self.dispatch()
        word: FromWorker = Refused(job=job, attempt=1, reason="the disk is full")
        session.received(encode(word))
        await self.ask(session, line, Alive(), Alive)
        self.assertEqual(await self.books.state(job), ("ready", None, 1))
        self.assertEqual(session.left.slots, 2)

    async def test_an_impossible_report_closes_the_line_and_changes_nothing(self) -> None:
        session, line, job = await self.started()
        session.received(encode(Report(job=job, attempt=1, number=9, body=log(0))))
        goodbye = await line.next(Goodbye)
        self.assertIn("report 9", goodbye.reason)
        self.assertEqual(await self.books.state(job), ("running", None, 1))

    async def test_a_build_gets_what_others_made_that_it_waited_for(self) -> None:
        other: Stages = ((("wheel", 0),), (("docs", 0),))
        run, [up] = await self.books.run(stages=other)
        down = await self.books.add_to(run, (up, 0))
        await self.books.database.run(
            "INSERT INTO blob (sha256, size) VALUES (%s, 3)", (bytes.fromhex("ab" * 32),)
        )
        made = FileMade(path="a.whl", sha256="ab" * 32, size=3)
        await self.books.report(await self.books.begin(), ended("wheel", files=(made,)))
        _, line, _ = await self.join(
            hello("ant", holding=(Holding(job=up, attempt=1, lives=True),))
        )
        await self.dispatch()
        [start] = [m for m in line.sent if isinstance(m, Start)]
        assert isinstance(start.order, Order)
        self.assertEqual(start.order.job, down)
        [wheel] = start.order.upstream
        self.assertEqual((wheel.name, wheel.files[0].path), ("wheel", "a.whl"))


class ResumeTests(MasterTestCase):
    async def test_a_worker_goes_on_with_what_it_holds(self) -> None:
        session, line, job = await self.started()
        report = Report(job=job, attempt=1, number=1, body=log(0))
        await self.ask(session, line, report, Recorded)
        session.closed("cut")
        _, _, welcome = await self.join(hello("ant", holding=(held(job),)))
        self.assertEqual(welcome.recorded, (Recorded(job=job, attempt=1, number=1),))
        self.assertEqual(await self.books.state(job), ("running", None, 1))

    async def test_what_a_worker_no_longer_holds_is_tried_again_at_once(self) -> None:
        session, _, job = await self.started()
        session.closed("reboot")
        await self.join(hello("ant", boot="boot-2"))
        self.assertEqual(await self.books.state(job), ("ready", None, 2))
        (reason,) = await self.books.database.one(
            "SELECT reason FROM attempt WHERE number = 1"
        )
        self.assertIn("lost this build", reason)

    async def test_what_is_not_its_lease_is_to_be_forgotten(self) -> None:
        session, line, welcome = await self.join(hello("ant", holding=(held(77),)))
        self.assertEqual([(f.job, f.attempt) for f in welcome.forget], [(77, 1)])
        forget = await self.ask(session, line, Alive(holding=(held(77),)), Forget)
        self.assertEqual((forget.job, forget.attempt), (77, 1))

    async def test_an_order_that_never_arrived_is_given_again(self) -> None:
        _, [job] = await self.books.run()
        session, _, _ = await self.join()
        await self.dispatch()
        session.closed("cut")
        _, line, _ = await self.join()
        await self.dispatch()
        [start] = [m for m in line.sent if isinstance(m, Start)]
        self.assertEqual((start.order.job, start.order.attempt), (job, 1))


class LeaseTests(MasterTestCase):
    async def test_a_lease_that_nobody_renews_is_broken_after_the_grace(self) -> None:
        session, _, job = await self.started()
        session.closed("cut")
        await self.keeper.round()
        await self.tick(299)
        self.assertEqual(await self.books.state(job), ("running", None, 1))
        await self.tick(2)
        self.assertEqual((await self.books.state(job))[2], 2)

    async def test_a_renewed_lease_is_kept(self) -> None:
        session, line, job = await self.started()
        await self.keeper.round()
        for _ in range(40):
            self.clock.advance(10)
            await self.ask(session, line, Alive(holding=(held(job),)), Alive)
            await self.keeper.round()
        self.assertEqual(await self.books.state(job), ("running", None, 1))

    async def test_an_order_that_is_not_accepted_goes_back(self) -> None:
        await self.books.worker("bee")
        _, [job] = await self.books.run()
        session, line, _ = await self.join()
        await self.dispatch()
        await self.keeper.round()
        forget = line.next(Forget)
        for _ in range(4):
            await self.tick(8)
            await self.ask(session, line, Alive(), Alive)
        self.assertEqual((await forget).job, job)
        self.assertEqual(await self.books.state(job), ("ready", None, 1))

    async def test_a_cancel_is_told_and_ends_in_time_whatever_the_worker_does(self) -> None:
        _, line, job = await self.started()
        await self.books.database.transaction(
            lambda cursor: intervention.cancel_job(cursor, job, "ann", "enough")
        )
        told = line.next(Cancel)
        await self.keeper.round()
        self.assertEqual((await told).job, job)
        await self.tick(3)
        self.assertEqual(await self.books.state(job), ("running", None, 1))
        # No second is lost to the pace of the rounds: it is looked at just then.
        [after] = self.looks
        self.assertLess(after, 5)
        await self.tick(after - 3)
        self.assertEqual(await self.books.state(job), ("done", "cancelled", 1))
        self.assertTrue(any(isinstance(m, Forget) for m in line.sent))

    async def test_a_worker_that_obeys_ends_the_job_itself(self) -> None:
        session, line, job = await self.started()
        await self.books.database.transaction(
            lambda cursor: intervention.cancel_job(cursor, job, "ann", "enough")
        )
        body = over(Result.CANCELLED, "killed")
        report = Report(job=job, attempt=1, number=1, body=body)
        await self.ask(session, line, report, Recorded)
        self.assertEqual(await self.books.state(job), ("done", "cancelled", 1))
