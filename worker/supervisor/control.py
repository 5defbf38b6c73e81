"""The lines between a worker daemon and a supervisor: JSON, one message each.

    daemon              supervisor
                        -> reports   last, ended    at once, and whenever there are new ones
    -> renew                                        the lease is renewed
    -> cancel    why                                end it, and say so
    -> kill                                         end it, say nothing

Any number of daemons may come and go, one after the other or together.
"""

from __future__ import annotations

import msgspec

#: Bytes of a line, its end included.
LINE_LIMIT = 32 * 1024


class Renew(msgspec.Struct, frozen=True, tag="renew", tag_field="type"):
    """Daemon: the master renewed the lease just now."""


class CancelAttempt(
    msgspec.Struct, frozen=True, kw_only=True, tag="cancel", tag_field="type"
):
    """Daemon: end the attempt and report its end with the result ``cancelled``."""

    why: str


class Kill(msgspec.Struct, frozen=True, tag="kill", tag_field="type"):
    """Daemon: the attempt no longer counts; end it without another report."""


class Reports(msgspec.Struct, frozen=True, kw_only=True, tag="reports", tag_field="type"):
    """Supervisor: reports up to ``last`` are in the spool; ``ended``: it is the last."""

    last: int
    ended: bool


FromDaemon = Renew | CancelAttempt | Kill
FromSupervisor = Reports


class BadLine(Exception):
    """The other end of the control socket sent a line that is no message."""


_encoder = msgspec.json.Encoder()
_from_daemon: msgspec.json.Decoder[FromDaemon] = msgspec.json.Decoder(FromDaemon)
_from_supervisor: msgspec.json.Decoder[FromSupervisor] = msgspec.json.Decoder(
    FromSupervisor
)


def encode_line(message: FromDaemon | FromSupervisor) -> bytes:
    """The line for ``message``, ending in a newline."""
    return _encoder.encode(message) + b"\n"


def decode_from_daemon(line: bytes) -> FromDaemon:
    """What a daemon says in ``line`` (with or without its newline), or `BadLine`."""
    try:
        return _from_daemon.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLine(f"not a control line: {error}") from error


def decode_from_supervisor(line: bytes) -> FromSupervisor:
    """What a supervisor says in ``line``, or `BadLine`."""
    try:
        return _from_supervisor.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLine(f"not a control line: {error}") from error
