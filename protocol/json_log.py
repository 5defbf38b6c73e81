"""A daemon's log as lines of JSON: ``twistd --logger protocol.json_log.observer ...``."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from zope.interface import implementer

#: Characters of a text; what is longer is cut.
LONGEST = 20_000


@implementer(ILogObserver)
class JsonLines:
    """Writes each event into ``file`` as one line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(),
            "level": level.name,
            "from": str(event.get("log_namespace") or event.get("log_system") or ""),
            "text": formatEvent(event)[:LONGEST],
        }
        failure = event.get("log_failure")
        if failure is not None:
            told["traceback"] = failure.getTraceback()[:LONGEST]
        # ASCII only: no character of a foreign text begins a line or colours a terminal.
        self._file.write(json.dumps(told) + "\n")
        self._file.flush()


def observer() -> ILogObserver:
    """What twistd asks for: events from ``info`` on, to standard output."""
    wanted = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    # Twisted takes standard output for what is printed; this is the real one.
    return FilteringLogObserver(JsonLines(sys.__stdout__ or sys.stdout), [wanted])
