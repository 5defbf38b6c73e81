"""`protocol.conversation`: what is legal, and that nothing else gets through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.conversation import (
    ATTEMPT,
    SESSION,
    AttemptState,
    Conversation,
    OutOfTurn,
    Role,
    SessionState,
)
from protocol.messages import (
    Accepted,
    Alive,
    Attempt,
    Cancel,
    Ended,
    Forget,
    FromMaster,
    FromWorker,
    Goodbye,
    Hello,
    Holding,
    LogChunk,
    Message,
    Recorded,
    Refused,
    Report,
    Start,
    Welcome,
)
from protocol.order import Artifacts, Order, TreeSource
from protocol.results import Result
from tests.laws import law

W, M = Role.WORKER, Role.MASTER


def hello(*holding: int) -> Hello:
    return Hello(
        oldest_version=1,
        newest_version=1,
        worker="ant",
        token="secret",
        boot="b",
        software="test",
        offers=(),
        slots=1,
        holding=tuple(Holding(job=job, attempt=1, lives=True) for job in holding),
    )


def welcome(
    recorded: dict[int, int] | None = None, forget: tuple[int, ...] = ()
) -> Welcome:
    return Welcome(
        version=1,
        session="s",
        master="m",
        heartbeat=5.0,
        recorded=tuple(
            Recorded(job=job, attempt=1, number=n) for job, n in (recorded or {}).items()
        ),
        forget=tuple(Attempt(job, 1) for job in forget),
    )


def start(job: int) -> Start:
    order = Order(
        job=job,
        attempt=1,
        isolation="native",
        architecture="amd64",
        series="jammy",
        source=TreeSource(url="http://x/", sha256="0" * 64, size=1),
        project="p",
        stages=((("a", 0),),),
        stage_numbers=(0,),
        jobs={},
        artifacts=Artifacts(url="http://x/", token="t"),
        fence_after=270.0,
    )
    return Start(order=order)


def log(job: int, number: int) -> Report:
    return Report(
        job=job, attempt=1, number=number, body=LogChunk(start=0, length=1, data=b"x")
    )


def end(job: int, number: int) -> Report:
    body = Ended(at=0.0, result=Result.SUCCESS)
    return Report(job=job, attempt=1, number=number, body=body)


def accepted(job: int) -> Accepted:
    return Accepted(job=job, attempt=1)


def recorded(job: int, number: int) -> Recorded:
    return Recorded(job=job, attempt=1, number=number)


def opened(*holding: int, recorded: dict[int, int] | None = None) -> Conversation:
    conversation = Conversation()
    conversation.take(W, hello(*holding))
    conversation.take(M, welcome(recorded))
    return conversation


jobs = st.integers(1, 3)
numbers = st.integers(1, 4)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(lambda held: hello(*held), st.sets(jobs)),
    st.builds(
        lambda numbers, forget: welcome(numbers, tuple(forget)),
        st.dictionaries(jobs, numbers),
        st.sets(jobs),
    ),
    st.builds(Goodbye, reason=st.just("no"), retry=st.booleans()),
    st.builds(start, jobs),
    st.builds(accepted, jobs),
    st.builds(lambda job: Refused(job=job, attempt=1, reason="full"), jobs),
    st.builds(log, jobs, numbers),
    st.builds(end, jobs, numbers),
    st.builds(recorded, jobs, st.integers(0, 4)),
    st.builds(lambda job: Forget(job=job, attempt=1), jobs),
    st.builds(lambda job: Cancel(job=job, attempt=1, why="x"), jobs),
    st.builds(
        lambda held: Alive(
            holding=tuple(Holding(job=j, attempt=1, lives=True) for j in held)
        ),
        st.sets(jobs),
    ),
)


class ConversationTests(SynchronousTestCase):
    def assert_out_of_turn(
        self, conversation: Conversation, speaker: Role, message: Message
    ) -> str:
        before = picture(conversation)
        with self.assertRaises(OutOfTurn) as caught:
            conversation.take(speaker, message)
        self.assertEqual(picture(conversation), before)
        return str(caught.exception)

    def test_an_attempt_goes_from_start_to_its_last_recorded(self) -> None:
        conversation = opened()
        steps: list[tuple[Role, Message, AttemptState]] = [
            (M, start(7), AttemptState.OFFERED),
            (W, accepted(7), AttemptState.HELD),
            (W, log(7, 1), AttemptState.HELD),
            (W, end(7, 2), AttemptState.ENDED),
            (M, recorded(7, 1), AttemptState.ENDED),
            (M, recorded(7, 2), AttemptState.UNKNOWN),
        ]
        for speaker, message, state in steps:
            conversation.take(speaker, message)
            self.assertIs(conversation.attempt(7, 1), state)

    def test_a_worker_must_greet_first(self) -> None:
        for message in (accepted(1), log(1, 1), Alive()):
            self.assert_out_of_turn(Conversation(), W, message)

    def test_a_worker_waits_for_the_welcome(self) -> None:
        conversation = Conversation()
        conversation.take(W, hello())
        reason = self.assert_out_of_turn(conversation, W, Alive())
        self.assertEqual(reason, "a worker must not say alive in a session that is greeted")

    def test_a_second_hello_is_out_of_turn(self) -> None:
        self.assert_out_of_turn(opened(), W, hello())

    def test_nobody_may_speak_for_the_other(self) -> None:
        conversation = opened()
        conversation.take(M, start(1))
        self.assert_out_of_turn(conversation, W, start(2))
        self.assert_out_of_turn(conversation, M, accepted(1))
        self.assert_out_of_turn(conversation, W, recorded(1, 0))

    def test_reports_before_accepted_are_out_of_turn(self) -> None:
        conversation = opened()
        conversation.take(M, start(1))
        self.assert_out_of_turn(conversation, W, log(1, 1))

    def test_an_end_that_is_the_first_report_stands_for_accepted(self) -> None:
        conversation = opened()
        conversation.take(M, start(1))
        self.assert_out_of_turn(conversation, W, end(1, 2))
        conversation.take(W, end(1, 1))
        self.assertIs(conversation.attempt(1, 1), AttemptState.ENDED)
        self.assert_out_of_turn(conversation, W, accepted(1))
        conversation.take(M, recorded(1, 1))
        self.assertIs(conversation.attempt(1, 1), AttemptState.UNKNOWN)

    def test_the_same_holds_for_one_who_has_it_only_as_a_frame(self) -> None:
        conversation = opened()
        conversation.take(M, start(1))
        before = picture(conversation)
        for number, is_last in ((1, False), (2, True)):
            with self.assertRaises(OutOfTurn):
                conversation.reported(1, 1, number, is_last)
            self.assertEqual(picture(conversation), before)
        conversation.reported(1, 1, 1, is_last=True)
        self.assertIs(conversation.attempt(1, 1), AttemptState.ENDED)

    def test_reports_have_no_gaps_and_no_repeats(self) -> None:
        conversation = opened(1, recorded={1: 3})
        self.assert_out_of_turn(conversation, W, log(1, 3))
        self.assert_out_of_turn(conversation, W, log(1, 5))
        conversation.take(W, log(1, 4))
        reason = self.assert_out_of_turn(conversation, W, log(1, 4))
        self.assertEqual(reason, "report said of attempt 1 of job 1: number 4 after 4")

    def test_nothing_is_reported_after_the_end(self) -> None:
        conversation = opened(1)
        conversation.take(W, end(1, 1))
        self.assert_out_of_turn(conversation, W, log(1, 2))

    def test_a_master_cannot_have_recorded_what_was_not_reported(self) -> None:
        conversation = opened(1)
        conversation.take(W, log(1, 1))
        self.assert_out_of_turn(conversation, M, recorded(1, 2))
        conversation.take(M, recorded(1, 1))
        self.assert_out_of_turn(conversation, M, recorded(1, 0))

    def test_an_attempt_is_started_once(self) -> None:
        conversation = opened()
        conversation.take(M, start(1))
        self.assert_out_of_turn(conversation, M, start(1))
        conversation.take(W, accepted(1))
        self.assert_out_of_turn(conversation, M, start(1))

    def test_what_crosses_with_a_forget_is_legal(self) -> None:
        conversation = opened(1)
        conversation.take(M, start(2))
        for job in (1, 2):
            conversation.take(M, Forget(job=job, attempt=1))
        for message in (accepted(2), log(2, 1), log(1, 1), end(1, 2)):
            conversation.take(W, message)
        self.assertIs(conversation.attempt(1, 1), AttemptState.UNKNOWN)

    def test_a_cancel_that_crosses_with_the_end_is_legal(self) -> None:
        conversation = opened(1)
        conversation.take(W, end(1, 1))
        conversation.take(M, Cancel(job=1, attempt=1, why="x"))
        conversation.take(M, recorded(1, 1))
        conversation.take(M, Cancel(job=1, attempt=1, why="x"))

    def test_what_a_worker_no_longer_names_is_done_with(self) -> None:
        conversation = opened(1, 2)
        conversation.take(M, start(3))
        conversation.take(W, Alive(holding=(Holding(job=2, attempt=1, lives=True),)))
        self.assertIs(conversation.attempt(1, 1), AttemptState.UNKNOWN)
        self.assertIs(conversation.attempt(2, 1), AttemptState.HELD)
        self.assertIs(conversation.attempt(3, 1), AttemptState.OFFERED)

    def test_after_goodbye_a_worker_may_finish_its_sentence_and_a_master_not(self) -> None:
        conversation = opened(1)
        conversation.take(M, Goodbye(reason="stopping", retry=True))
        conversation.take(W, log(1, 1))
        self.assert_out_of_turn(conversation, M, start(2))

    def test_every_message_has_a_place_in_the_tables(self) -> None:
        said = {(who, what) for _, who, what in SESSION}
        self.assertEqual(
            said,
            {(W, each) for each in FromWorker.__args__}
            | {(M, each) for each in FromMaster.__args__},
        )
        self.assertEqual({state for state, _ in ATTEMPT}, set(AttemptState))
        self.assertEqual({state for state, *_ in SESSION}, set(SessionState))

    @law
    @given(st.lists(st.tuples(st.sampled_from(Role), messages), max_size=40))
    def test_no_sequence_crashes_it_and_what_is_illegal_changes_nothing(
        self, said: list[tuple[Role, Message]]
    ) -> None:
        conversation = Conversation()
        for speaker, message in said:
            before = picture(conversation)
            try:
                conversation.take(speaker, message)
            except OutOfTurn as error:
                self.assertTrue(str(error))
                self.assertEqual(picture(conversation), before)

    @law
    @given(st.data())
    def test_two_honest_sides_never_accuse_each_other_however_messages_cross(
        self, data: st.DataObject
    ) -> None:
        sides = {W: Conversation(), M: Conversation()}
        wires: dict[Role, list[Message]] = {W: [], M: []}

        def say(speaker: Role, message: Message) -> None:
            try:
                sides[speaker].take(speaker, message)
            except OutOfTurn:
                return  # an honest side asks its own table first
            wires[speaker].append(message)

        say(W, hello(1))
        unstarted = {2, 3}
        for _ in range(data.draw(st.integers(0, 60))):
            speaker = data.draw(st.sampled_from(Role))
            if data.draw(st.booleans()) and wires[speaker]:
                hearer = M if speaker is W else W
                sides[hearer].take(speaker, wires[speaker].pop(0))
            else:
                message = data.draw(messages)
                if honest(sides[speaker], speaker, message, unstarted):
                    say(speaker, message)


def honest(
    side: Conversation, speaker: Role, message: Message, unstarted: set[int]
) -> bool:
    """Whether one who keeps to the facts would say it, legal or not.

    What the tables cannot know: a worker names all it holds, and speaks of nothing else;
    a master tries no attempt twice and has recorded only what it heard.
    """
    known = {a.job for a in side._attempts}
    match message:
        case Hello():
            return False
        case Welcome():
            return {r.job for r in message.recorded} <= {1}
        case Alive() if speaker is W:
            return {held.job for held in message.holding} == known
        case Start() if speaker is M and side.state is SessionState.OPEN:
            fresh = message.order.job in unstarted
            unstarted.discard(message.order.job)
            return fresh
        case Accepted() | Refused() | Report() | Recorded():
            return message.job in known
    return True


def picture(conversation: Conversation) -> object:
    """All that a conversation remembers."""
    return (
        conversation.state,
        conversation._holding,
        {
            attempt: (standing.state, standing.reported, standing.recorded)
            for attempt, standing in conversation._attempts.items()
        },
    )
