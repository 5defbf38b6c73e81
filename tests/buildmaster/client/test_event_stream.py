from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.client import event_stream
from buildmaster.client.event_stream import (
    BadEventStream,
    EventStreamParser,
    ServerSentEvent,
)

STREAM = (
    ": hello\n\n"
    'id: 12-3\nevent: job.done\ndata: {"id":\n'
    "data: 1}\n\n"
    "retry: 5\r\n\r\n"
    "data:no kind\r\n\r\n"
    "id:13-1\revent: \u00fc\rdata: last\r\r"
).encode()
EVENTS = [
    ServerSentEvent("12-3", "job.done", '{"id":\n1}'),
    ServerSentEvent("12-3", "message", "no kind"),
    ServerSentEvent("13-1", "\u00fc", "last"),
]


class EventStreamParserTests(SynchronousTestCase):
    @given(st.lists(st.integers(0, len(STREAM)), max_size=20))
    def test_events_do_not_depend_on_how_the_stream_is_cut(self, places: list[int]) -> None:
        parser = EventStreamParser()
        cuts = [0, *sorted(places), len(STREAM)]
        events = []
        for start, end in pairwise(cuts):
            events += parser.feed(STREAM[start:end])
        # A return at the very end may be the first half of a line's end.
        events += parser.feed(b": more\n")
        self.assertEqual(events, EVENTS)

    @given(st.binary(max_size=300))
    def test_no_bytes_crash_it(self, data: bytes) -> None:
        for event in EventStreamParser().feed(data):
            self.assertNotIn("\0", event.id)

    def test_an_unfinished_event_is_not_told(self) -> None:
        self.assertEqual(EventStreamParser().feed(b"id: 1\ndata: half"), [])

    def test_an_event_that_never_ends_is_refused(self) -> None:
        self.patch(event_stream, "EVENT_LIMIT", 1000)
        parser = EventStreamParser()
        parser.feed(b"data: " + b"x" * 500)
        with self.assertRaises(BadEventStream):
            parser.feed(b"x" * 500)

    def test_many_lines_of_one_event_count_together(self) -> None:
        self.patch(event_stream, "EVENT_LIMIT", 1000)
        parser = EventStreamParser()
        with self.assertRaises(BadEventStream):
            for _ in range(200):
                parser.feed(b"data: xxxxx\n")
