"""Many workers in one process, on paper: real lines, real hellos, signs of life, no builds.

    python -m benchmarks.protocol_parts.crowd COUNT SLOTS URL [CA_FILE]

Prints one JSON object a line: when all have joined, and at each order when it came, on
the monotonic clock of the machine. Ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from protocol import PROTOCOL_VERSION
from protocol.address import parse_address
from protocol.carrier import CannotConnect, Line
from protocol.messages import (
    Accepted,
    Alive,
    Ended,
    Goodbye,
    Hello,
    Offer,
    PipelineJobEnded,
    PipelineJobStarted,
    Report,
    Start,
    Welcome,
    decode_from_master,
    encode,
)
from protocol.results import Result
from protocol.trust import Trust
from worker.connecting import connect

TOKEN = "a-secret-token"
#: Connections that are being opened at a time.
AT_ONCE = 100


class PaperWorker:
    """Takes every order and says at once that it went well."""

    def __init__(self, name: str, slots: int) -> None:
        self.welcomed: Deferred[None] = Deferred()
        self._name, self._slots = name, slots
        self._line: Line | None = None
        self._beat = LoopingCall(self._alive)

    def opened(self, line: Line) -> None:
        self._line = line
        offer = Offer(isolation="native", architecture="amd64", series=("*",))
        self._say(
            Hello(
                oldest_version=1,
                newest_version=PROTOCOL_VERSION,
                worker=self._name,
                token=TOKEN,
                boot="boot",
                software="paper",
                offers=(offer,),
                slots=self._slots,
            )
        )

    def received(self, frame: bytes) -> None:
        for message in decode_from_master(frame):
            match message:
                case Welcome(heartbeat=heartbeat):
                    self.welcomed.callback(None)
                    self._beat.start(heartbeat, now=False)
                case Goodbye(reason=reason):
                    raise SystemExit(reason)
                case Start(order=order):
                    tell({"start": order.job, "at": time.monotonic()})
                    self._build(order)

    def closed(self, reason: str) -> None:
        if self._beat.running:
            self._beat.stop()
        if not reactor_is_ending():
            tell({"lost": self._name, "reason": reason})

    def _build(self, order: Any) -> None:
        job, attempt = order.job, order.attempt
        self._say(Accepted(job=job, attempt=attempt))
        number = 0
        bodies: list[Any] = []
        for stage in order.stages:
            for name, index in stage:
                at = time.time()
                bodies.append(PipelineJobStarted(name=name, index=index, at=at))
                bodies.append(
                    PipelineJobEnded(
                        name=name, index=index, at=at, result=Result.SUCCESS, exit_status=0
                    )
                )
        bodies.append(Ended(at=time.time(), result=Result.SUCCESS))
        for body in bodies:
            number += 1
            self._say(Report(job=job, attempt=attempt, number=number, body=body))

    def _alive(self) -> None:
        self._say(Alive())

    def _say(self, message: Any) -> None:
        assert self._line is not None
        self._line.send(encode(message))


class _Input(Protocol):
    def connectionLost(self, reason: object = None) -> None:
        reactor.stop()


def reactor_is_ending() -> bool:
    return not reactor.running


def tell(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


async def gather(count: int, slots: int, url: str, trust: Trust) -> None:
    """Let all of them join."""
    address = parse_address(url)
    waiting = [PaperWorker(f"w{number}", slots) for number in range(count)]
    began = time.monotonic()

    async def join() -> None:
        while waiting:
            worker = waiting.pop()
            while True:
                try:
                    await connect(reactor, address, trust, worker)
                    break
                except CannotConnect:
                    await deferLater(reactor, 0.1)
            await worker.welcomed

    joining = [Deferred.fromCoroutine(join()) for _ in range(AT_ONCE)]
    for each in joining:
        await each
    tell({"joined": count, "seconds": time.monotonic() - began})


def fail(failure: Failure) -> None:
    failure.printTraceback()
    reactor.stop()


def main() -> None:
    count, slots, url, *ca_file = sys.argv[1:]
    stdio.StandardIO(_Input())
    trust = Trust(ca_file=ca_file[0] if ca_file else None)
    joining = gather(int(count), int(slots), url, trust)
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(joining).addErrback(fail))
    reactor.run()


if __name__ == "__main__":
    main()
