"""Ends of lines for tests: endpoints on loopback, plain or with TLS."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import (
    HostnameEndpoint,
    SSL4ServerEndpoint,
    TCP4ServerEndpoint,
    wrapClientTLS,
)
from twisted.trial.unittest import TestCase

from protocol.tls import client_options, listener_options, make_certificate
from protocol.trust import Trust


def loopback(port: int = 0) -> Any:
    """Where to listen, on a free port."""
    return TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")


def to(port: int) -> Any:
    """How to reach it."""
    return HostnameEndpoint(reactor, "127.0.0.1", port)


class Secured:
    """A certificate of the test's own, and endpoints that use it."""

    def __init__(self, test: TestCase) -> None:
        folder = Path(mkdtemp(dir="."))
        self.certificate = folder.absolute() / "certificate.pem"
        self.key = folder.absolute() / "key.pem"
        make_certificate(self.certificate, self.key, ["127.0.0.1", "localhost"])
        self.trust = Trust(ca_file=str(self.certificate))

    def loopback(self) -> Any:
        """Where to listen, on a free port."""
        options = listener_options(self.certificate, self.key)
        return SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")

    def to(self, port: int, trust: Trust | None = None, host: str = "127.0.0.1") -> Any:
        """How to reach it, believed to be ``host``."""
        return wrapClientTLS(client_options(host, trust or self.trust), to(port))
