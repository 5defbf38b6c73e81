"""The dispatched form of a stage list, which other farms' tools read."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import Start, decode_from_master, encode
from protocol.order import Artifacts, GitSource, Order
from protocol.stages import Stages, dispatched, title

GOLDEN = Path(__file__).with_name("stages.golden.json")
STAGES: Stages = (
    (("build-snap", 0),),
    (("test-snap", 0), ("test-snap", 1), ("test-snap", 2)),
)


def order(stages: Stages) -> Order:
    """An order with these stages."""
    return Order(
        job=1,
        attempt=1,
        isolation="native",
        architecture="amd64",
        series="jammy",
        source=GitSource(repository="https://git.example/p", commit="a" * 40),
        project="p",
        stages=stages,
        stage_numbers=tuple(range(len(stages))),
        jobs={},
        artifacts=Artifacts(url="http://master/artifacts", token="t"),
        fence_after=270.0,
    )


class DispatchedFormTests(SynchronousTestCase):
    def test_it_is_byte_for_byte_what_others_read(self) -> None:
        self.assertEqual(json.dumps(dispatched(STAGES)) + "\n", GOLDEN.read_text())

    def test_an_order_and_a_start_message_hold_the_same_form(self) -> None:
        golden = json.loads(GOLDEN.read_text())
        written = json.loads(msgspec.json.encode(order(STAGES)))
        self.assertEqual(written["stages"], golden)
        sent = msgspec.msgpack.decode(encode(Start(order=order(STAGES))))
        self.assertEqual(sent["order"]["stages"], golden)

    @given(
        st.lists(
            st.lists(st.tuples(st.text(), st.integers(0, 99)), max_size=4).map(tuple),
            max_size=4,
        ).map(tuple)
    )
    def test_what_was_dispatched_comes_back(self, stages: Stages) -> None:
        [message] = decode_from_master(encode(Start(order=order(stages))))
        assert isinstance(message, Start) and isinstance(message.order, Order)
        self.assertEqual(message.order.stages, stages)

    def test_a_pipeline_job_is_called_by_name_and_index(self) -> None:
        self.assertEqual(title("unit", 2), "unit:2")
