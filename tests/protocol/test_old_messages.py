"""What the first release sends and takes, as maps: later ones must go on with both.

Nothing here may be changed, only added to: a worker of version 1 is out there.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import (
    Accepted,
    Alive,
    Cancel,
    Forget,
    Goodbye,
    Message,
    Recorded,
    Welcome,
    decode_from_master,
    decode_from_worker,
    encode,
)

ATTEMPT = {"job": 7, "attempt": 2}

FROM_WORKER: list[dict[str, Any]] = [
    {
        "type": "hello",
        "oldest_version": 1,
        "newest_version": 1,
        "worker": "ant",
        "token": "secret",
        "boot": "boot-1",
        "software": "headrace 0.1.0",
        "offers": [{"isolation": "native", "architecture": "amd64", "series": ["*"]}],
        "tags": [],
        "slots": 2,
        "holding": [{**ATTEMPT, "lives": True}],
    },
    {"type": "accepted", **ATTEMPT},
    {"type": "refused", **ATTEMPT, "reason": "full"},
    {
        "type": "report",
        **ATTEMPT,
        "number": 1,
        "body": {"type": "pipeline-job-started", "name": "lint", "index": 0, "at": 1.5},
    },
    {
        "type": "report",
        **ATTEMPT,
        "number": 2,
        "body": {
            "type": "log-chunk",
            "start": 0,
            "length": 3,
            "data": b"zzz",
            "name": "lint",
            "index": 0,
        },
    },
    {
        "type": "report",
        **ATTEMPT,
        "number": 3,
        "body": {
            "type": "pipeline-job-ended",
            "name": "lint",
            "index": 0,
            "at": 2.5,
            "result": "success",
            "reason": "",
            "exit_status": 0,
            "properties": {"a": "b"},
            "files": [{"path": "a/b", "sha256": "0" * 64, "size": 1}],
        },
    },
    {
        "type": "report",
        **ATTEMPT,
        "number": 4,
        "body": {
            "type": "ended",
            "at": 3.5,
            "result": "success",
            "reason": "",
            "final": False,
        },
    },
    {"type": "alive", "holding": [{**ATTEMPT, "lives": False}]},
]

FROM_MASTER: list[dict[str, Any]] = [
    {
        "type": "welcome",
        "version": 1,
        "session": "s",
        "master": "m",
        "heartbeat": 5.0,
        "recorded": [{"type": "recorded", **ATTEMPT, "number": 3}],
        "forget": [{"job": 8, "attempt": 1}],
    },
    {"type": "goodbye", "reason": "no", "retry": False},
    {"type": "recorded", **ATTEMPT, "number": 3},
    {"type": "forget", **ATTEMPT},
    {"type": "cancel", **ATTEMPT, "why": "because"},
    {"type": "alive", "holding": []},
]

#: What today's master says to a worker of the first release.
TODAY: list[Message] = [
    Welcome(
        version=1,
        session="s",
        master="m",
        heartbeat=5.0,
        recorded=(Recorded(job=7, attempt=2, number=3),),
    ),
    Goodbye(reason="no", retry=False),
    Recorded(job=7, attempt=2, number=3),
    Forget(job=7, attempt=2),
    Cancel(job=7, attempt=2, why="because"),
    Alive(),
    Accepted(job=7, attempt=2),
]


def shown(message: Any, like: Any) -> Any:
    """What ``message`` has of the keys of ``like``, as maps and lists."""
    if isinstance(like, dict) and not isinstance(message, dict):
        tag = message.__struct_config__.tag
        return {
            key: tag if key == "type" else shown(getattr(message, key), value)
            for key, value in like.items()
        }
    if isinstance(like, list):
        return [shown(*pair) for pair in zip(message, like, strict=True)]
    return message.value if isinstance(message, Enum) else message


class OldMessagesTests(SynchronousTestCase):
    def test_what_the_first_release_sends_is_understood_to_the_last_field(self) -> None:
        for decode, maps in (
            (decode_from_worker, FROM_WORKER),
            (decode_from_master, FROM_MASTER),
        ):
            for given in maps:
                [message] = decode(msgspec.msgpack.encode(given))
                self.assertEqual(shown(message, given), given, given["type"])

    def test_what_is_sent_today_has_all_that_the_first_release_needs(self) -> None:
        known = {each["type"]: set(each) for each in (*FROM_MASTER, *FROM_WORKER)}
        for message in TODAY:
            told = msgspec.msgpack.decode(encode(message))
            self.assertLessEqual(known[told["type"]], set(told), told["type"])
