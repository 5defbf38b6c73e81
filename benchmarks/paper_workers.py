"""Workers that only speak: every order is answered at once by the report of success.

A process of its own, so that a master is measured with all of its own code and none of a
worker's: ``python -m benchmarks.paper_workers PORT SLOTS PERFORMS NAME=TOKEN...``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint

from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, pb
from protocol.carrier import Line
from protocol.messages import (
    Alive,
    Ended,
    FromWorker,
    Goodbye,
    Hello,
    Offer,
    Report,
    Start,
    Welcome,
    decode_from_master,
    encode,
    encode_all,
)
from protocol.results import Result


class PaperWorker:
    """A `protocol.carrier.Peer` that performs nothing, and says so as a success."""

    def __init__(
        self,
        clock: Any,
        name: str,
        token: str,
        slots: int,
        performs: str,
        over: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._over = over
        self._line: Line | None = None
        self._hello = Hello(
            oldest_version=OLDEST_PROTOCOL_VERSION,
            newest_version=PROTOCOL_VERSION,
            worker=name,
            token=token,
            boot="paper",
            software="paper",
            offers=(Offer(isolation="native", architecture="amd64", series=("*",)),),
            slots=slots,
            performs=(performs,),
        )

    def opened(self, line: Line) -> None:
        """Introduce itself."""
        self._line = line
        line.send(encode(self._hello))

    def received(self, frame: bytes) -> None:
        """Answer everything that one frame orders in as few frames as possible."""
        answers: list[FromWorker] = []
        for message in decode_from_master(frame):
            if isinstance(message, Start):
                order = message.order
                body = Ended(at=self._clock.seconds(), result=Result.SUCCESS)
                answers.append(
                    Report(job=order.job, attempt=order.attempt, number=1, body=body)
                )
            elif isinstance(message, Welcome):
                self._beat(message.heartbeat)
            elif isinstance(message, Goodbye):
                print(f"the master says goodbye: {message.reason}", file=sys.stderr)
        for piece in encode_all(answers):
            self._send(piece)

    def closed(self, reason: str) -> None:
        """The run is over, or something is wrong: either way there is nothing to do."""
        self._line = None
        self._over()

    def _beat(self, interval: float) -> None:
        if self._line is not None:
            self._send(encode(Alive()))
            self._clock.callLater(interval, self._beat, interval)

    def _send(self, frame: bytes) -> None:
        if self._line is not None:
            self._line.send(frame)


def main(arguments: list[str]) -> None:
    port, slots, performs, *workers = arguments
    lines: list[Deferred[Line]] = []
    for worker in workers:
        name, _, token = worker.partition("=")
        peer = PaperWorker(reactor, name, token, int(slots), performs, _stop)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", int(port))
        lines.append(pb.connect(reactor, endpoint, peer))
    gatherResults(lines).addErrback(_give_up)
    reactor.run()


def _stop() -> None:
    if reactor.running:
        reactor.stop()


def _give_up(failure: Any) -> None:
    print(failure.getTraceback(), file=sys.stderr)
    _stop()


if __name__ == "__main__":
    main(sys.argv[1:])
