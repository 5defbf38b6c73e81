"""Workers that only speak, in the test's own process, and keep to every rule.

They perform nothing, but count what they were told to perform; they keep a report until it
is recorded, and go from master to master.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IDelayedCall

from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, pb
from protocol.carrier import CannotConnect, Line
from protocol.messages import (
    Accepted,
    Alive,
    Ended,
    Forget,
    FromWorker,
    Goodbye,
    Hello,
    Holding,
    Offer,
    Recorded,
    Report,
    Start,
    Welcome,
    decode_from_master,
    encode,
)
from protocol.results import Result

Key = tuple[int, int]


class PaperWorker:
    """A `protocol.carrier.Peer` that comes back until it is stopped."""

    def __init__(
        self, name: str, token: str, ports: Sequence[int], slots: int, seed: int
    ) -> None:
        self.name = name
        self.performed: Counter[Key] = Counter()
        self.sessions = 0
        self._token, self._slots = token, slots
        self._ports = list(ports)
        self._random = Random(seed)
        self._line: Line | None = None
        self._held: dict[Key, Report | None] = {}  #: what is not recorded; None: not ended
        self._calls: set[IDelayedCall] = set()
        self._stopped = False

    def start(self) -> None:
        """Look for a master."""
        if not self._stopped:
            Deferred.fromCoroutine(self._connect())

    def stop(self) -> None:
        """Leave, and do not come back."""
        self._stopped = True
        for call in self._calls:
            if call.active():
                call.cancel()
        if self._line is not None:
            self._line.close()

    async def _connect(self) -> None:
        self._ports.append(self._ports.pop(0))
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._ports[0])
        try:
            await pb.connect(reactor, endpoint, self)
        except CannotConnect:
            self._later(0.05, self.start)

    def _later(self, seconds: float, act: Any, *arguments: Any) -> None:
        if not self._stopped:
            call = reactor.callLater(seconds, act, *arguments)
            self._calls = {c for c in self._calls if c.active()} | {call}

    # -- the line

    def opened(self, line: Line) -> None:
        self._line = line
        self._say(
            Hello(
                oldest_version=OLDEST_PROTOCOL_VERSION,
                newest_version=PROTOCOL_VERSION,
                worker=self.name,
                token=self._token,
                boot="paper",
                software="paper",
                offers=(Offer(isolation="native", architecture="amd64", series=("*",)),),
                slots=self._slots,
                performs=("noop",),
                holding=self._holding(),
            )
        )

    def closed(self, reason: str) -> None:
        self._line = None
        self._later(0.02, self.start)

    def received(self, frame: bytes) -> None:
        for message in decode_from_master(frame):
            match message:
                case Start(order=order):
                    self._begin((order.job, order.attempt))
                case Recorded(job=job, attempt=attempt, number=number) if number > 0:
                    self._held.pop((job, attempt), None)
                case Forget(job=job, attempt=attempt):
                    self._held.pop((job, attempt), None)
                case Welcome():
                    self._go_on(message)
                case Goodbye() if self._line is not None:
                    self._line.close()

    def _go_on(self, welcome: Welcome) -> None:
        self.sessions += 1
        for attempt in welcome.forget:
            self._held.pop((attempt.job, attempt.attempt), None)
        for entry in welcome.recorded:
            report = self._held.get((entry.job, entry.attempt))
            if entry.number > 0:
                self._held.pop((entry.job, entry.attempt), None)
            elif report is not None:
                self._say(report)
        self._beat(welcome.heartbeat, self.sessions)

    def _beat(self, interval: float, session: int) -> None:
        if session == self.sessions and self._line is not None:
            self._say(Alive(holding=self._holding()))
            self._later(interval, self._beat, interval, session)

    def _holding(self) -> tuple[Holding, ...]:
        return tuple(
            Holding(job=job, attempt=attempt, lives=report is None)
            for (job, attempt), report in self._held.items()
        )

    def _say(self, message: FromWorker) -> None:
        if self._line is not None:
            self._line.send(encode(message))

    # -- the work

    def _begin(self, key: Key) -> None:
        if key in self._held:
            return
        self.performed[key] += 1
        self._held[key] = None
        if self._random.random() < 0.5:
            self._end(key)
            return
        self._say(Accepted(job=key[0], attempt=key[1]))
        self._later(self._random.random() * 0.2, self._end, key)

    def _end(self, key: Key) -> None:
        if key in self._held:
            body = Ended(at=0.0, result=Result.SUCCESS)
            report = Report(job=key[0], attempt=key[1], number=1, body=body)
            self._held[key] = report
            self._say(report)
