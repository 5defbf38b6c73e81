"""`protocol.messages`: frames, their limits, and what the first version said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from protocol.carrier import FrameTooLong
from protocol.messages import (
    FRAME_LIMIT,
    FRAME_MESSAGES,
    Alive,
    BadMessage,
    Cancel,
    Ended,
    Forget,
    FromMaster,
    FromWorker,
    Hello,
    LogChunk,
    Refused,
    Report,
    Start,
    bundle,
    decode_from_master,
    decode_from_worker,
    encode,
    encode_all,
)
from protocol.order import (
    OBJECT_LIMIT,
    Artifacts,
    GitSource,
    Limits,
    NativeOrder,
    Order,
    check_object,
)
from protocol.outbox import Outbox
from protocol.results import Result
from tests.laws import law

HELLO = Hello(
    oldest_version=1,
    newest_version=2,
    worker="ant",
    token="secret",
    boot="b",
    software="test",
    offers=(),
    slots=1,
)
BUILD = Order(
    job=1,
    attempt=1,
    isolation="native",
    architecture="amd64",
    series="jammy",
    source=GitSource(repository="/some/where", commit="0" * 40),
    project="p",
    stages=(),
    stage_numbers=(),
    jobs={},
    artifacts=Artifacts(url="http://x/", token="t"),
    fence_after=270.0,
)
NATIVE = NativeOrder(
    job=1, attempt=1, performs="noop", arguments={"a": [1, {}]}, limits=Limits(run=2.5)
)
SINCE_VERSION_2 = ("performs", "restricted_tags", "cpu", "memory", "disk")

json_objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=9,
    ),
    max_size=4,
)
from_worker: st.SearchStrategy[FromWorker] = st.one_of(
    st.just(HELLO),
    st.just(Alive()),
    st.builds(Refused, job=st.just(1), attempt=st.just(1), reason=st.text(max_size=3000)),
    st.builds(
        lambda size: Report(
            job=1,
            attempt=1,
            number=1,
            body=LogChunk(start=0, length=1, data=bytes(size)),
        ),
        st.integers(0, 400 * 1024),
    ),
    st.builds(
        lambda output: Report(
            job=1,
            attempt=1,
            number=1,
            body=Ended(at=0.0, result=Result.SUCCESS, output=output, seconds=0.5),
        ),
        st.none() | json_objects,
    ),
)
from_master: st.SearchStrategy[FromMaster] = st.one_of(
    st.just(Start(order=BUILD)),
    st.builds(
        lambda arguments: Start(
            order=NativeOrder(job=1, attempt=1, performs="noop", arguments=arguments)
        ),
        json_objects,
    ),
    st.just(Forget(job=1, attempt=1)),
    st.builds(Cancel, job=st.just(1), attempt=st.just(1), why=st.text(max_size=99)),
)


class FrameTests(SynchronousTestCase):
    @law
    @given(st.lists(from_worker, max_size=20))
    def test_what_workers_put_into_frames_comes_out_in_order(
        self, messages: list[FromWorker]
    ) -> None:
        frames = encode_all(messages)
        self.assertTrue(all(len(frame) <= FRAME_LIMIT for frame in frames))
        found = [m for frame in frames for m in decode_from_worker(frame)]
        self.assertEqual(found, messages)

    @law
    @given(st.lists(from_master, max_size=20))
    def test_what_masters_put_into_frames_comes_out_in_order(
        self, messages: list[FromMaster]
    ) -> None:
        found = [m for f in encode_all(messages) for m in decode_from_master(f)]
        self.assertEqual(found, messages)

    def test_frames_are_as_full_as_they_may_be(self) -> None:
        pieces = [bytes(FRAME_LIMIT - 3), b"x", bytes(FRAME_LIMIT), b"y"]
        frames = bundle(pieces)
        self.assertEqual([len(f) for f in frames], [FRAME_LIMIT - 3, 1, FRAME_LIMIT, 1])
        whole = bundle([bytes(FRAME_LIMIT - 4), b"x", b"y"])
        self.assertEqual([len(f) for f in whole], [FRAME_LIMIT, 1])
        many = bundle([encode(Alive())] * (FRAME_MESSAGES + 1))
        self.assertEqual(
            [len(decode_from_worker(frame)) for frame in many], [FRAME_MESSAGES, 1]
        )

    def test_a_message_alone_is_written_without_an_array(self) -> None:
        self.assertEqual(encode_all([Alive()]), [encode(Alive())])
        self.assertEqual(encode_all([]), [])

    def test_a_file_that_was_made_lies_below_its_job(self) -> None:
        """A worker that says otherwise would write where others put files."""

        def told(path: str) -> bytes:
            file = {"path": path, "sha256": "0" * 64, "size": 1}
            ended = {"name": "a", "index": 0, "at": 1.0, "result": "success"}
            body = {"type": "pipeline-job-ended", **ended, "files": [file]}
            report = {"type": "report", "job": 1, "attempt": 1, "number": 1, "body": body}
            return msgspec.msgpack.encode(report)

        for path in ("/x", "../x", "a/../../x", "a/..", ".", "a//b", "a/", "a/./b", "a\0b"):
            with self.assertRaises(BadMessage, msg=path):
                decode_from_worker(told(path))
        for path in ("x", "a/b", "...", ".a/..b", "two\nlines", "-rf", " ", "ü"):
            self.assertEqual(len(decode_from_worker(told(path))), 1)

    def test_frames_that_hold_anything_else_are_refused(self) -> None:
        alive = encode(Alive())
        wrong = {
            "nothing": b"",
            "an empty array": b"\x90",
            "an array in an array": b"\x91\x91" + alive,
            "an array with a gap": b"\x92" + alive + b"\xc0",
            "an array that ends early": b"\x92" + alive,
            "an array with something behind it": b"\x91" + alive + alive,
            "two messages without an array": alive + alive,
            "too many messages": b"\xdc"
            + (FRAME_MESSAGES + 1).to_bytes(2, "big")
            + alive * (FRAME_MESSAGES + 1),
            "too many bytes": encode(
                Start(order=msgspec.structs.replace(BUILD, project="x" * FRAME_LIMIT))
            ),
            "an array that claims to be huge": b"\xdd\xff\xff\xff\xff" + alive,
            "arrays without end": b"\x91" * 100_000,
        }
        for what, frame in wrong.items():
            for decode in (decode_from_worker, decode_from_master):
                with self.assertRaises(BadMessage, msg=what):
                    decode(frame)

    def test_an_outbox_takes_no_message_that_fits_into_no_frame(self) -> None:
        outbox = Outbox(Clock())
        outbox.say(bytes(FRAME_LIMIT + 1))  # without a line nothing is said
        outbox.line = _Line()
        with self.assertRaises(FrameTooLong):
            outbox.say(bytes(FRAME_LIMIT + 1))


class ObjectTests(SynchronousTestCase):
    """JSON objects for and from native jobs."""

    wrong: dict[str, dict[Any, Any]] = {
        "not a number": {"x": float("nan")},
        "without end": {"x": [float("inf")]},
        "bytes": {"x": b"bytes"},
        "a key that is no text": {"x": {1: 2}},
        "a time": {"x": datetime(2026, 1, 1, tzinfo=UTC)},
        "something of msgpack's": {"x": msgspec.msgpack.Ext(5, b"x")},
        "too large": {"x": "y" * OBJECT_LIMIT},
    }

    @law
    @given(json_objects)
    def test_json_passes(self, value: dict[str, Any]) -> None:
        check_object(value)

    def test_what_is_no_json_does_not_pass(self) -> None:
        for what, value in self.wrong.items():
            start = {"type": "start", "order": {**_plain(NATIVE), "arguments": value}}
            ended = {"type": "ended", "at": 0.0, "result": "success", "output": value}
            report = {"type": "report", "job": 1, "attempt": 1, "number": 1, "body": ended}
            with self.assertRaises(BadMessage, msg=what):
                decode_from_master(msgspec.msgpack.encode(start))
            with self.assertRaises(BadMessage, msg=what):
                decode_from_worker(msgspec.msgpack.encode(report))

    def test_what_is_no_object_does_not_pass(self) -> None:
        values: list[object] = [[], "x", 1, True]
        for value in values:
            start = {"type": "start", "order": {**_plain(NATIVE), "arguments": value}}
            with self.assertRaises(BadMessage):
                decode_from_master(msgspec.msgpack.encode(start))

    def test_the_limit_is_of_bytes_as_json(self) -> None:
        check_object({"x": "y" * (OBJECT_LIMIT - 8)})
        with self.assertRaises(ValueError):
            check_object({"x": "y" * (OBJECT_LIMIT - 7)})


class _Order1(msgspec.Struct, frozen=True, kw_only=True):
    """As workers of version 1 know it, as far as that matters here."""

    job: int
    attempt: int
    project: str
    limits: Limits


class _Start1(msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="type"):
    order: _Order1


class _Hello1(msgspec.Struct, frozen=True, kw_only=True, tag="hello", tag_field="type"):
    worker: str
    slots: int
    oldest_version: int


class VersionOneTests(SynchronousTestCase):
    """What the two versions say, the other understands."""

    def test_the_orders_of_an_old_master_are_builds(self) -> None:
        order = _plain(BUILD)
        self.assertEqual(order.pop("kind"), "build")
        said = msgspec.msgpack.encode({"type": "start", "order": order})
        [start] = decode_from_master(said)
        self.assertEqual(start, Start(order=BUILD))

    def test_an_old_order_on_the_disk_is_a_build(self) -> None:
        written = _plain(BUILD)
        del written["kind"]
        self.assertEqual(
            msgspec.json.decode(msgspec.json.encode(written), type=Order), BUILD
        )

    def test_an_old_worker_understands_the_order_of_a_build(self) -> None:
        start = msgspec.msgpack.decode(encode(Start(order=BUILD)), type=_Start1)
        self.assertEqual((start.order.job, start.order.project), (1, "p"))

    def test_an_old_hello_performs_nothing_and_tells_no_sizes(self) -> None:
        said = {**_plain(HELLO), "newest_version": 1}
        for name in SINCE_VERSION_2:
            said.pop(name)
        [hello] = decode_from_worker(msgspec.msgpack.encode(said))
        self.assertEqual(hello, msgspec.structs.replace(HELLO, newest_version=1))
        assert isinstance(hello, Hello)
        self.assertEqual((hello.performs, hello.restricted_tags), ((), ()))
        self.assertEqual((hello.cpu, hello.memory, hello.disk), (None, None, None))

    def test_an_old_master_understands_the_hello(self) -> None:
        hello = msgspec.structs.replace(
            HELLO, performs=("noop",), restricted_tags=("gpu",), cpu=4, memory=9, disk=9
        )
        old = msgspec.msgpack.decode(encode(hello), type=_Hello1)
        self.assertEqual((old.worker, old.slots, old.oldest_version), ("ant", 1, 1))


class _Line:
    peer = "test"
    waiting = 0

    def send(self, frame: bytes) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def _plain(message: msgspec.Struct) -> dict[str, Any]:
    """``message`` as plain maps and lists."""
    plain: dict[str, Any] = msgspec.to_builtins(message)
    return plain
