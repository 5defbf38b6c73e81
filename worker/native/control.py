"""What the daemon and a runner say to each other, over a socket between the two.

    daemon                          runner
                                    -> up        its process id, once
    -> perform   one attempt
    -> stop      result, reason     end it so; too late, if it has ended
                                    -> said      a report of the attempt, encoded for the
                                                 master; the last one is its end

Each message is msgpack, behind its length as four bytes.
"""

from __future__ import annotations

import socket
from typing import Any

import msgspec

from protocol.messages import FRAME_LIMIT
from protocol.results import Result

#: Bytes of a message.
MESSAGE_LIMIT = FRAME_LIMIT + 1024


class Storing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job may put files, and whom to trust there."""

    url: str
    token: str
    ca_file: str | None = None
    master_fingerprint: str | None = None


class Perform(msgspec.Struct, frozen=True, kw_only=True, tag="perform"):
    """Daemon: do this, and report."""

    job: int
    attempt: int
    performs: str
    arguments: dict[str, Any]
    argv: tuple[str, ...] | None = None  #: of a command; None: a callable
    run: float | None = None  #: seconds that it may take
    idle: float | None = None  #: seconds that it may be silent
    storing: Storing | None = None  #: None: it may store nothing


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Daemon: kill it, and report this end."""

    result: Result
    reason: str


class Up(msgspec.Struct, frozen=True, tag="up"):
    """Runner: it waits for work."""

    pid: int


class Said(msgspec.Struct, frozen=True, tag="said"):
    """Runner: the next report of the attempt."""

    report: bytes
    is_last: bool


class LineLost(Exception):
    """The daemon is gone."""


_encoder = msgspec.msgpack.Encoder()
_from_daemon: msgspec.msgpack.Decoder[Perform | Stop] = msgspec.msgpack.Decoder(
    Perform | Stop
)
_from_runner: msgspec.msgpack.Decoder[Up | Said] = msgspec.msgpack.Decoder(Up | Said)


def encode(message: Perform | Stop | Up | Said) -> bytes:
    """The message without its length."""
    return _encoder.encode(message)


def decode_from_runner(message: bytes) -> Up | Said:
    """What a runner said; msgspec's DecodeError if it is nothing."""
    return _from_runner.decode(message)


class Line:
    """The runner's end; it blocks."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """Readable when there is something to `receive`."""
        return self._connection.fileno()

    def say(self, message: Up | Said) -> None:
        """Tell the daemon; raises `LineLost`."""
        encoded = _encoder.encode(message)
        try:
            self._connection.sendall(len(encoded).to_bytes(4, "big") + encoded)
        except OSError as error:
            raise LineLost from error

    def receive(self) -> Perform | Stop:
        """The next message, however long that takes; raises `LineLost`."""
        length = int.from_bytes(self._take(4), "big")
        return _from_daemon.decode(self._take(length))

    def _take(self, length: int) -> bytes:
        taken = bytearray()
        while len(taken) < length:
            try:
                data = self._connection.recv(length - len(taken))
            except OSError as error:
                raise LineLost from error
            if not data:
                raise LineLost
            taken += data
        return bytes(taken)
