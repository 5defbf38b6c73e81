"""One daemon's line to a supervisor: whole lines in, the newest number of reports out."""

from __future__ import annotations

import contextlib
import socket

from worker.supervisor.control import (
    LINE_LIMIT,
    BadLine,
    FromDaemon,
    Reports,
    decode_from_daemon,
    encode_line,
)


class LineLost(Exception):
    """The daemon went away, or talks nonsense."""


class Line:
    """The supervisor's end of one connection; never blocks."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._received = b""
        self._to_send = b""
        self._told: Reports | None = None

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._connection.fileno()

    @property
    def is_waiting(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._to_send)

    def receive(self) -> list[FromDaemon]:
        """What the daemon said since the last time, or `LineLost`."""
        try:
            data = self._connection.recv(LINE_LIMIT)
        except BlockingIOError:
            return []
        except OSError as error:
            raise LineLost(str(error)) from error
        if not data:
            raise LineLost("the daemon closed it")
        *lines, self._received = (self._received + data).split(b"\n")
        if len(self._received) > LINE_LIMIT:
            raise LineLost("a line without end")
        try:
            return [decode_from_daemon(line) for line in lines]
        except BadLine as error:
            raise LineLost(str(error)) from error

    def tell(self, reports: Reports) -> None:
        """Let the daemon know, or `LineLost`.

        While it does not take what was said before, only the newest is kept for it.
        """
        if not self._to_send and reports != self._told:
            self._to_send = encode_line(reports)
            self._told = reports
        with contextlib.suppress(BlockingIOError):
            try:
                sent = self._connection.send(self._to_send)
            except (BrokenPipeError, ConnectionError) as error:
                raise LineLost(str(error)) from error
            self._to_send = self._to_send[sent:]

    def close(self) -> None:
        """End it."""
        self._connection.close()
