"""`worker.dialogue`: one line, with a clock and a line of the test's own."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import (
    Accepted,
    Alive,
    Cancel,
    Forget,
    FromWorker,
    Goodbye,
    Hello,
    Holding,
    Message,
    Recorded,
    Refused,
    Start,
    Welcome,
    bundle,
    decode_from_worker,
    encode,
    encode_all,
)
from protocol.order import GitSource, NativeOrder
from tests.worker.supervisor.attempts import order
from worker.delivery import Parcel
from worker.dialogue import LINE_WINDOW, SILENCE_LIMIT, Dialogue, Mouth
from worker.session import Ending


class ListLine:
    """Keeps what is sent; keeps the promises of `protocol.carrier.Line`."""

    peer = "test"

    def __init__(self) -> None:
        self.waiting = 0
        self.frames: list[bytes] = []
        self.closed = False

    def send(self, frame: bytes) -> None:
        if not self.closed:
            self.frames.append(frame)

    def close(self) -> None:
        self.closed = True


class ListAttempts:
    """Keeps what it is asked; a `worker.dialogue.Attempts`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.mouth: Mouth | None = None
        self.held: tuple[Holding, ...] = ()

    def holding(self) -> tuple[Holding, ...]:
        return self.held

    def resume(self, mouth: Mouth, welcome: Welcome) -> None:
        self.mouth = mouth
        self.asked.append("resume")

    def suspend(self) -> None:
        self.mouth = None
        self.asked.append("suspend")

    def take(self, start: Start) -> None:
        self.asked.append("take")

    def settle(self, recorded: Recorded) -> None:
        self.asked.append("settle")

    def forget(self, forget: Forget) -> None:
        self.asked.append("forget")

    def cancel(self, cancel: Cancel) -> None:
        self.asked.append("cancel")

    def renew(self) -> None:
        self.asked.append("renew")


def hello(holding: tuple[Holding, ...]) -> Hello:
    return Hello(
        oldest_version=1,
        newest_version=2,
        worker="ant",
        token="a-secret-token",
        boot="b",
        software="test",
        offers=(),
        slots=1,
        holding=holding,
    )


def welcome(version: int = 1, heartbeat: float = 5.0) -> Welcome:
    return Welcome(version=version, session="s", master="m", heartbeat=heartbeat)


SOURCE = GitSource(repository="/some/where", commit="0" * 40)
NATIVE = NativeOrder(job=9, attempt=1, performs="noop")
HELD = Holding(job=7, attempt=2, lives=True)


class DialogueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begin()

    def begin(self, *heard: Message) -> None:
        """A new dialogue that has heard these messages."""
        self.clock = Clock()
        self.attempts = ListAttempts()
        self.attempts.held = (HELD,)
        self.line = ListLine()
        self.dialogue = Dialogue(self.clock, self.attempts, hello)
        self.dialogue.opened(self.line)
        self.hear(*heard)

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.dialogue.received(encode(message))

    def said(self) -> list[FromWorker]:
        """What it has said since it was last asked."""
        return [message for frame in self.said_together() for message in frame]

    def said_together(self) -> list[tuple[FromWorker, ...]]:
        """The same, frame by frame."""
        self.clock.advance(0)
        frames = [decode_from_worker(frame) for frame in self.line.frames]
        self.line.frames.clear()
        return frames

    def ending(self) -> Ending:
        """How it ends, when the line it closed is gone."""
        self.assertTrue(self.line.closed)
        self.dialogue.closed("closed")
        return self.successResultOf(self.dialogue.over)

    def test_says_hello_with_what_it_holds(self) -> None:
        [greeting] = self.said()
        assert isinstance(greeting, Hello)
        self.assertEqual(greeting.holding, (HELD,))

    def test_gives_signs_of_life_as_often_as_the_master_wants(self) -> None:
        self.hear(welcome(heartbeat=2.0))
        self.said()
        self.clock.advance(1.9)
        self.assertEqual(self.said(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.said(), [Alive(holding=(HELD,))])

    def test_an_answer_renews_the_leases_and_its_absence_does_not(self) -> None:
        self.hear(welcome())
        self.attempts.asked.clear()
        self.clock.advance(5)
        self.assertEqual(self.attempts.asked, [])
        self.hear(Alive())
        self.assertEqual(self.attempts.asked, ["renew"])

    def test_leaves_a_master_that_says_nothing(self) -> None:
        self.hear(welcome(heartbeat=1.0))
        self.clock.pump([1.0] * int(SILENCE_LIMIT))
        self.assertFalse(self.line.closed)
        self.clock.advance(1.0)
        ending = self.ending()
        self.assertIn("said nothing", ending.reason)
        self.assertTrue(ending.retry)

    def test_leaves_a_master_that_never_answers_the_hello(self) -> None:
        self.clock.pump([SILENCE_LIMIT / 3] * 4)
        self.assertIn("said nothing", self.ending().reason)

    def test_a_slow_heartbeat_makes_patient(self) -> None:
        self.hear(welcome(heartbeat=60.0))
        self.clock.pump([60.0] * 3)
        self.assertFalse(self.line.closed)
        self.clock.advance(60.0)
        self.assertTrue(self.line.closed)

    def test_leaves_a_master_that_breaks_the_rules_and_does_not_obey_it(self) -> None:
        start = Start(order=order(SOURCE, [], job=8))
        for heard, wrong in (
            ((), start),
            ((), Alive()),
            ((welcome(),), welcome()),
            ((welcome(),), Recorded(job=7, attempt=2, number=1)),
            ((welcome(), start), start),
        ):
            self.begin(*heard)
            asked = list(self.attempts.asked)
            self.hear(wrong)
            self.assertEqual(self.attempts.asked, [*asked, "suspend"])
            self.assertIn("broke the rules of the protocol", self.ending().reason)

    def test_leaves_a_master_that_talks_nonsense(self) -> None:
        for frame in (b"", b"\xc1", os.urandom(100), encode(hello(())), b"\x91" * 5000):
            self.begin(welcome())
            self.dialogue.received(frame)
            self.assertIn("broke the rules of the protocol", self.ending().reason)

    def test_leaves_a_master_that_chooses_a_version_nobody_offered(self) -> None:
        self.hear(welcome(version=3))
        self.assertNotIn("resume", self.attempts.asked)
        self.assertIn("version 3", self.ending().reason)

    def test_what_is_said_in_one_turn_goes_out_as_one_frame(self) -> None:
        self.hear(welcome(version=2), Start(order=order(SOURCE, [], job=8)))
        self.said()
        mouth = self.attempts.mouth
        assert mouth is not None
        mouth.accepted(8, 2)
        mouth.refused(9, 1, "full")
        self.assertEqual(self.line.frames, [])
        self.assertEqual(
            self.said_together(),
            [
                (
                    Accepted(job=8, attempt=2),
                    Refused(job=9, attempt=1, reason="full"),
                )
            ],
        )

    def test_a_master_of_version_1_gets_each_message_by_itself_and_at_once(self) -> None:
        self.hear(welcome(version=1), Start(order=order(SOURCE, [], job=8)))
        self.said()
        mouth = self.attempts.mouth
        assert mouth is not None
        mouth.accepted(8, 2)
        mouth.refused(9, 1, "full")
        self.assertEqual(
            self.line.frames,
            [
                encode(Accepted(job=8, attempt=2)),
                encode(Refused(job=9, attempt=1, reason="full")),
            ],
        )

    def test_the_hello_goes_alone_and_at_once(self) -> None:
        self.assertEqual(self.line.frames, [encode(hello((HELD,)))])

    def test_the_messages_of_a_frame_are_obeyed_in_their_order(self) -> None:
        forget = Forget(job=7, attempt=2)
        [frame] = encode_all((welcome(version=2), Start(order=NATIVE), forget, Alive()))
        self.dialogue.received(frame)
        self.assertEqual(
            self.attempts.asked, ["resume", "renew", "take", "forget", "renew"]
        )

    def test_one_bad_message_spoils_its_frame(self) -> None:
        good = [encode(Forget(job=7, attempt=2)), encode(Start(order=NATIVE))]
        for bad in (b"\x80", b"\xc0", encode(welcome()), encode(hello(())), good[1]):
            self.begin(welcome(version=2))
            self.attempts.asked.clear()
            [frame] = bundle([*good, bad])
            self.dialogue.received(frame)
            self.assertEqual(self.attempts.asked, ["suspend"])
            self.assertIn("broke the rules of the protocol", self.ending().reason)

    def test_what_was_said_just_before_it_left_is_still_sent(self) -> None:
        self.hear(welcome(version=2))
        self.said()
        mouth = self.attempts.mouth
        assert mouth is not None
        mouth.refused(9, 1, "full")
        self.dialogue.leave("enough")
        self.assertEqual(
            self.line.frames, [encode(Refused(job=9, attempt=1, reason="full"))]
        )
        self.ending()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_goodbye_for_good_is_passed_on(self) -> None:
        self.hear(Goodbye(reason="unknown", retry=False))
        self.assertEqual(self.ending(), Ending("unknown", retry=False))

    def test_nothing_is_said_or_obeyed_after_it_left(self) -> None:
        self.hear(welcome())
        self.dialogue.leave("enough")
        self.attempts.asked.clear()
        self.said()
        self.hear(Forget(job=7, attempt=2), Alive())
        self.clock.advance(30)
        self.assertEqual((self.attempts.asked, self.said()), ([], []))
        self.assertEqual(self.ending(), Ending("enough", welcomed=True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_line_that_takes_nothing_has_no_room(self) -> None:
        self.hear(welcome(version=2))
        mouth = self.attempts.mouth
        assert mouth is not None
        self.assertTrue(mouth.has_room)
        self.line.waiting = LINE_WINDOW
        self.assertFalse(mouth.has_room)
        self.line.waiting = LINE_WINDOW - 9
        self.assertTrue(mouth.has_room)
        mouth.refused(9, 1, "a reason of more than ten characters")
        self.assertFalse(mouth.has_room)

    def test_reports_go_out_as_they_lie_on_the_disk(self) -> None:
        self.hear(welcome())
        self.said()
        mouth = self.attempts.mouth
        assert mouth is not None
        mouth.report(7, 2, Parcel(1, b"the frame", is_last=True))
        self.clock.advance(0)
        self.assertEqual(self.line.frames, [b"the frame"])
        self.hear(Recorded(job=7, attempt=2, number=1))
        self.assertFalse(self.line.closed)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.binary(max_size=60)
            | st.sampled_from(
                [
                    encode(welcome()),
                    encode(welcome(version=2)),
                    encode(Start(order=NATIVE)),
                    *encode_all([welcome(version=2), Start(order=NATIVE), Alive()]),
                    encode(Alive()),
                    encode(Goodbye(reason="", retry=True)),
                    encode(Start(order=order(SOURCE, [], job=8))),
                    encode(Forget(job=7, attempt=2)),
                    encode(Cancel(job=7, attempt=2, why="")),
                    encode(Recorded(job=7, attempt=2, number=0)),
                    encode(hello(())),
                ]
            ),
            max_size=12,
        )
    )
    def test_whatever_a_master_sends_it_ends_once(self, frames: list[bytes]) -> None:
        self.begin()
        for frame in frames:
            self.dialogue.received(frame)
            self.clock.advance(0.5)
        self.dialogue.closed("cut")
        self.successResultOf(self.dialogue.over)
        self.assertEqual(self.attempts.asked[-1], "suspend")
        self.assertEqual(self.clock.getDelayedCalls(), [])
