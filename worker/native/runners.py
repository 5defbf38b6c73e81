"""The daemon's lines to its runners: who works for whom, and who is idle."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from protocol.results import Result
from worker.native.control import (
    MESSAGE_LIMIT,
    Perform,
    Said,
    Stop,
    Up,
    decode_from_runner,
    encode,
)
from worker.native.hatchery import Hatchery

#: Seconds that a new runner may take to come.
START_LIMIT = 60.0
#: Seconds that a runner may take to stop a job, or to notice that it takes too long.
STOP_LIMIT = 5.0
#: Idle runners that are kept.
IDLE_LIMIT = 16


class Client(Protocol):
    """Who wants a job performed."""

    def said(self, report: bytes, is_last: bool) -> None:
        """The next report; after the last one nothing follows."""

    def lost(self, result: Result, reason: str) -> None:
        """The runner is gone; there will be no last report."""


class Runners:
    """All runners of this daemon."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._hatchery = Hatchery()
        self._idle: list[Runner] = []
        self._all: set[Runner] = set()
        self._waiting: list[Deferred[None]] = []

    def perform(self, asked: Perform, client: Client) -> Runner:
        """Have a runner do it; OSError if there is none and can be none."""
        runner = self._idle.pop() if self._idle else self._new()
        runner.perform(asked, client)
        return runner

    def until_idle(self) -> Deferred[None]:
        """Fires when no runner works any more."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        self.look()
        return waiting

    def close(self) -> None:
        """End all runners, whatever they do."""
        for runner in list(self._all):
            runner.end()
        self._hatchery.close()

    def _new(self) -> Runner:
        near = self._hatchery.hatch()
        runner = Runner(self._reactor, self)
        self._all.add(runner)
        factory = Factory.forProtocol(lambda: runner)
        factory.noisy = False
        with near:
            self._reactor.adoptStreamConnection(near.fileno(), socket.AF_UNIX, factory)
        return runner

    # What runners tell.

    def freed(self, runner: Runner) -> None:
        """It has nothing to do."""
        if len(self._idle) < IDLE_LIMIT:
            self._idle.append(runner)
        else:
            runner.end()

    def gone(self, runner: Runner) -> None:
        """It is no more."""
        self._all.discard(runner)
        with suppress(ValueError):
            self._idle.remove(runner)

    def look(self) -> None:
        """Something has ended, and its client knows: are all idle now?"""
        if all(runner.is_idle for runner in self._all):
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)


class Runner(Int32StringReceiver):
    """The line to one runner."""

    MAX_LENGTH = MESSAGE_LIMIT
    transport: Any
    log = Logger()

    def __init__(self, reactor: Any, owner: Runners) -> None:
        self._reactor = reactor
        self._owner = owner
        self._client: Client | None = None
        self._pid: int | None = None
        self._asked_to_stop: Stop | None = None
        self._watchdog: IDelayedCall | None = None
        self._starting: IDelayedCall | None
        self._starting = reactor.callLater(START_LIMIT, self.kill)

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return self._client is None

    def perform(self, asked: Perform, client: Client) -> None:
        """Do it now, or as soon as it is up."""
        self._client = client
        self.sendString(encode(asked))
        if asked.run is not None:
            # Should its own clock fail, or somebody stop it: never for ever.
            self._bite_after(asked.run + START_LIMIT)

    def stop(self, result: Result, reason: str) -> None:
        """Have it kill its job, and report that end."""
        if self._client is None or self._asked_to_stop is not None:
            return
        self._asked_to_stop = Stop(result, reason)
        self.sendString(encode(self._asked_to_stop))
        self._bite_after(STOP_LIMIT)

    def let_go(self) -> None:
        """As `stop`, but nobody wants to hear more."""
        if self._client is not None:
            self.stop(Result.CANCELLED, "")
            self._client = _Nobody()

    def end(self) -> None:
        """Let it end: it sees that the line is closed."""
        self.transport.loseConnection()

    def kill(self) -> None:
        """It does not obey, or does not come; the hatchery sees off what it leaves."""
        self._calm_down()
        if self._pid is not None:
            self.log.error("runner {pid} does not obey; it is killed", pid=self._pid)
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.transport.abortConnection()

    def _bite_after(self, seconds: float) -> None:
        if self._watchdog is not None and self._watchdog.active():
            self._watchdog.cancel()
        self._watchdog = self._reactor.callLater(seconds, self.kill)

    def _calm_down(self) -> None:
        for call in (self._watchdog, self._starting):
            if call is not None and call.active():
                call.cancel()
        self._watchdog = self._starting = None

    # What the socket tells.

    def stringReceived(self, string: bytes) -> None:
        try:
            message = decode_from_runner(string)
        except msgspec.DecodeError:
            self.log.error("runner {pid} talks nonsense", pid=self._pid)
            self.kill()
            return
        if isinstance(message, Up):
            self._pid = message.pid
            if self._starting is not None:
                self._starting.cancel()
                self._starting = None
        else:
            self._hear(message)

    def _hear(self, said: Said) -> None:
        client = self._client
        if client is None:
            return
        if said.is_last:
            self._calm_down()
            self._client = self._asked_to_stop = None
            self._owner.freed(self)
        client.said(said.report, said.is_last)
        if said.is_last:
            self._owner.look()

    def lengthLimitExceeded(self, length: int) -> None:
        self.kill()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._calm_down()
        client, self._client = self._client, None
        self._owner.gone(self)
        if client is not None:
            client.lost(*self._loss())
        self._owner.look()

    def _loss(self) -> tuple[Result, str]:
        """How a job ended whose runner is gone."""
        asked = self._asked_to_stop
        if asked is not None:
            return asked.result, asked.reason
        if self._pid is None:
            return (
                Result.ERROR,
                "its worker could not start a process for it; the worker's log may tell "
                "more",
            )
        return Result.ERROR, "the process that watched over it on its worker was killed"


class _Nobody:
    """Hears what nobody wants to hear."""

    def said(self, report: bytes, is_last: bool) -> None:
        pass

    def lost(self, result: Result, reason: str) -> None:
        pass
