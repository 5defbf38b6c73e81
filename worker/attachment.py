"""The daemon's end of the socket to one supervisor, kept up for as long as that lives."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from worker.supervisor import attach, control

#: Seconds until a supervisor that does not listen yet is tried again, at first and at most.
FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.25


class Attachment:
    """Tells one supervisor what it must know, and hears how many reports there are.

    ``attached`` is called whenever the socket is there; ``news`` with what the supervisor
    says; ``died`` once, when there is no supervisor any more.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        *,
        attached: Callable[[], None],
        news: Callable[[control.Reports], None],
        died: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._attached = attached
        self._news = news
        self._died = died
        self._pause = FIRST_PAUSE
        self._retry: IDelayedCall | None = None
        self._line: _ControlLine | None = None
        self._unsaid: list[control.FromDaemon] = []
        self._ended = False

    def begin(self) -> None:
        """Attach as soon as the supervisor listens."""
        self._retry = None
        if self._ended:
            return
        # In this order: one that dies between the two questions counts as alive once more.
        is_alive = attach.is_alive(self._folder)
        try:
            connected = attach.connect(self._folder)
        except attach.NotAttached:
            self._again(is_alive)
            return
        factory = Factory.forProtocol(lambda: _ControlLine(self))
        factory.noisy = False
        self._reactor.adoptStreamConnection(connected.fileno(), socket.AF_UNIX, factory)
        connected.close()  # the reactor has a descriptor of its own

    def say(self, message: control.FromDaemon) -> None:
        """Tell the supervisor, now or as soon as it listens."""
        if self._line is None:
            self._unsaid.append(message)
        else:
            self._line.sendLine(control.encode_line(message).rstrip(b"\n"))

    def renew(self) -> None:
        """Tell the supervisor that its lease was renewed, if it listens just now."""
        if self._line is not None:
            self.say(control.Renew())

    def end(self) -> None:
        """Let go of the supervisor, which lives on; nothing is called any more."""
        self._ended = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._line is not None:
            self._line.transport.loseConnection()

    def _again(self, is_alive: bool) -> None:
        if not is_alive:
            self._ended = True
            self._died()
            return
        self._retry = self._reactor.callLater(self._pause, self.begin)
        self._pause = min(self._pause * 1.5, LONGEST_PAUSE)

    # What the socket tells.

    def made(self, line: _ControlLine) -> None:
        """The socket is there."""
        if self._ended:
            line.transport.loseConnection()
            return
        self._line = line
        self._pause = FIRST_PAUSE
        unsaid, self._unsaid = self._unsaid, []
        for message in unsaid:
            self.say(message)
        self._attached()

    def heard(self, line: bytes) -> None:
        """The supervisor said ``line``."""
        if self._ended:
            return
        try:
            reports = control.decode_from_supervisor(line)
        except control.BadLine as error:
            self.log.error(
                "the supervisor in {folder}: {error}", folder=self._folder, error=error
            )
            return
        self._news(reports)

    def lost(self) -> None:
        """The socket is gone: the supervisor ended, or only the socket."""
        self._line = None
        if not self._ended:
            self._retry = self._reactor.callLater(self._pause, self.begin)


class _ControlLine(LineOnlyReceiver):
    """Cuts what arrives into lines."""

    delimiter = b"\n"
    MAX_LENGTH = control.LINE_LIMIT
    transport: Any

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment

    def connectionMade(self) -> None:
        self._attachment.made(self)

    def lineReceived(self, line: bytes) -> None:
        self._attachment.heard(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._attachment.lost()
