"""Counts failed joins by the address that they come from, and says when it is too many."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from twisted.logger import Logger

#: Failed joins that an address has at once, and seconds until it has one more again.
BURST = 10
REFILL = 6.0
#: Addresses that are remembered; those that failed longest ago are forgotten first.
MOST_ADDRESSES = 10_000


class Knocks:
    """A bucket of failures for each address. ``seconds`` is a clock that never jumps."""

    log = Logger()

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def are_too_many(self, peer: str) -> bool:
        """Whether nobody at ``peer``, an address with a port, may try just now."""
        return self._level(_address(peer)) > BURST - 1

    def note_failure(self, peer: str) -> None:
        """Somebody at ``peer`` tried with a token that is nobody's."""
        address = _address(peer)
        level = self._level(address) + 1
        self._failures[address] = (level, self._seconds())
        self._failures.move_to_end(address)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        if BURST - 1 < level <= BURST:
            self.log.warn(
                "{address} failed to join {burst} times: it has to wait between tries",
                address=address,
                burst=BURST,
            )

    def _level(self, address: str) -> float:
        level, at = self._failures.get(address, (0.0, 0.0))
        return max(0.0, level - (self._seconds() - at) / REFILL)


def _address(peer: str) -> str:
    host = peer.rpartition(":")[0].strip("[]")
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        # One machine has all of them.
        return str(ipaddress.ip_network((found, 64), strict=False))
    return host
