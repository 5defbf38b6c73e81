"""`protocol.pb`: the conformance of a carrier, and attacks on PB itself."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import TestCase

from protocol import pb
from protocol.carrier import Line, Peer
from tests.protocol.carrier_conformance import CarrierConformance


class PBCarrierTests(CarrierConformance, TestCase):
    def listen(self, make_peer: Callable[[], Peer]) -> Deferred[IListeningPort]:
        return pb.listen(reactor, "tcp:0:interface=127.0.0.1", make_peer)

    def connect(self, port: int, peer: Peer) -> Deferred[Line]:
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        return pb.connect(reactor, endpoint, peer)
