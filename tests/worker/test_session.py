"""`worker.session`: the machine of one connection, without any network."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import Cancel, Forget, Goodbye, Recorded, Start, Welcome
from tests.worker.supervisor.attempts import order
from worker.session import Ending, Outputs, Session, new_session

WELCOME = Welcome(version=1, session="s", master="m", heartbeat=5.0)
GOODBYE = Goodbye(reason="no", retry=False)
MESSAGES: dict[str, tuple[Any, ...]] = {
    "opened": (),
    "heard_welcome": (WELCOME,),
    "heard_goodbye": (GOODBYE,),
    "heard_start": (Start(order=order(None, [])),),
    "heard_recorded": (Recorded(job=1, attempt=1, number=1),),
    "heard_forget": (Forget(job=1, attempt=1),),
    "heard_cancel": (Cancel(job=1, attempt=1, why="x"),),
    "heard_alive": (),
    "beat": (),
    "leave": ("enough",),
    "lost": ("cut",),
}


class SessionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.caused: list[Any] = []

    def session(self, *inputs: str) -> Session:
        """A session that heard ``inputs``; what it caused then is forgotten."""
        note = self.caused.append
        session = new_session(
            Outputs(
                greet=lambda: note("greet"),
                resume=lambda welcome: note("resume"),
                take=lambda start: note("take"),
                settle=lambda recorded: note("settle"),
                forget=lambda forget: note("forget"),
                cancel=lambda cancel: note("cancel"),
                renew=lambda: note("renew"),
                say_alive=lambda: note("alive"),
                hang_up=lambda: note("hang up"),
                over=note,
            )
        )
        self.hear(session, *inputs)
        self.caused.clear()
        return session

    def hear(self, session: Session, *inputs: str) -> None:
        for name in inputs:
            getattr(session, name)(*MESSAGES[name])

    def test_greets_first(self) -> None:
        self.hear(self.session(), "opened")
        self.assertEqual(self.caused, ["greet"])

    def test_a_welcome_lets_attempts_go_on_and_renews_their_leases(self) -> None:
        self.hear(self.session("opened"), "heard_welcome")
        self.assertEqual(self.caused, ["resume", "renew"])

    def test_each_message_causes_one_thing_in_a_session(self) -> None:
        session = self.session("opened", "heard_welcome")
        self.hear(
            session,
            "heard_start",
            "heard_recorded",
            "heard_forget",
            "heard_cancel",
            "heard_alive",
            "beat",
        )
        self.assertEqual(
            self.caused, ["take", "settle", "forget", "cancel", "renew", "alive"]
        )

    def test_a_goodbye_instead_of_a_welcome_is_why_it_ended(self) -> None:
        self.hear(self.session("opened"), "heard_goodbye", "lost")
        self.assertEqual(self.caused, ["hang up", Ending("no", retry=False)])

    def test_a_goodbye_later_is_why_it_ended_too(self) -> None:
        self.hear(self.session("opened", "heard_welcome"), "heard_goodbye", "lost")
        ending = Ending("no", welcomed=True, retry=False)
        self.assertEqual(self.caused, ["hang up", ending])

    def test_a_line_that_breaks_is_tried_again(self) -> None:
        self.hear(self.session("opened", "heard_welcome"), "lost")
        self.assertEqual(self.caused, [Ending("cut", welcomed=True)])

    def test_our_own_reason_to_leave_is_kept(self) -> None:
        self.hear(self.session("opened", "heard_welcome"), "leave", "lost")
        self.assertEqual(self.caused, ["hang up", Ending("enough", welcomed=True)])

    def test_what_arrives_while_it_leaves_causes_nothing(self) -> None:
        session = self.session("opened", "heard_welcome", "leave")
        self.hear(session, *(set(MESSAGES) - {"opened", "lost"}))
        self.assertEqual(self.caused, [])

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.sampled_from(sorted(set(MESSAGES) - {"opened", "lost"})), max_size=20)
    )
    def test_it_ends_once_whatever_the_table_of_the_conversation_lets_through(
        self, inputs: list[str]
    ) -> None:
        session = self.session("opened")
        greeted = True
        for name in inputs:
            # `protocol.conversation` keeps these apart; see its tests.
            allowed = {"heard_welcome", "heard_goodbye", "leave"}
            if greeted and name not in allowed:
                continue
            if not greeted and name == "heard_welcome":
                continue
            self.hear(session, name)
            greeted = False
        self.hear(session, "lost")
        endings = [each for each in self.caused if isinstance(each, Ending)]
        self.assertEqual(len(endings), 1)
        self.assertIs(self.caused[-1], endings[0])
