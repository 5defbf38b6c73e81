"""Reads server-sent events, as a sans-IO parser: bytes in, events out."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

#: Characters of one event. What is longer is no event of a farm.
EVENT_LIMIT = 4 * 1024 * 1024


class BadEventStream(Exception):
    """The other end sends something that is no event stream; its fault."""


@dataclass(frozen=True)
class ServerSentEvent:
    """One event, as the stream tells it."""

    id: str  #: of the newest event that had one; "" before that
    kind: str
    data: str


class EventStreamParser:
    """Cuts a stream into events; comments (keep-alives) are passed over."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._id = ""
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that ``data`` completes; `BadEventStream` if one grows too large."""
        events = []
        text = self._line + self._decoder.decode(data)
        # A return at the end may be half of a line's end.
        held = "\r" if text.endswith("\r") else ""
        lines = (
            text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        )
        self._line = lines.pop() + held
        for line in lines:
            self._size += len(line)
            if line:
                self._field(line)
            elif self._data:
                events.append(self._event())
            else:
                self._kind, self._size = "", 0
        if self._size + len(self._line) > EVENT_LIMIT:
            raise BadEventStream(f"an event of more than {EVENT_LIMIT} characters")
        return events

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _event(self) -> ServerSentEvent:
        event = ServerSentEvent(self._id, self._kind or "message", "\n".join(self._data))
        self._kind, self._data, self._size = "", [], 0
        return event
